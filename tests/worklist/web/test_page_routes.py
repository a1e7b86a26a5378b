"""What the page says of a row: the four words of AI, urgency, clocks, names as text, both languages
alike.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from streams.errors import Reason
from streams.events import Identity
from streams.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role, sign_in
from worklist.web.i18n import (
    LANGUAGES,
    birth_date,
    catalogue,
    choose,
    clean,
    countdown,
    person_name,
    span,
    speaker,
)
from worklist.web.row_view import ai_detail, urgency, view
from worklist.web.schema import Flag, Row, Why

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
T = speaker("en")
FORBIDDEN = re.compile(
    r"\b(negative|normal|low risk|négatif|normale?|faible risque)\b", re.IGNORECASE
)


def row(**more: Any) -> Row:
    fields: dict[str, Any] = {
        "study": "s1",
        "accession": "A1",
        "accessions": ("A1",),
        "study_uid": "1.2",
        "patient_id": "P1",
        "patient_name": "DOE^JANE",
        "birth_date": "19600102",
        "sex": "F",
        "modality": "CT",
        "body_part": "",
        "description": "CT head",
        "priority": "routine",
        "location": "",
        "site": "",
        "subspecialty": "",
        "state": "readable",
        "ai": "pending",
        "ai_reason": None,
        "looked_for": (),
        "flags": (),
        "lane": 2,
        "due_at": NOW,
        "target_at": NOW + timedelta(minutes=12),
        "received_at": NOW,
        "clock_at": NOW,
        "scheduled_at": None,
        "last_image_at": None,
        "report_at": None,
        "why": (Why(term="class:routine", target_s=3600, source="order"),),
        "policy": "p",
        "marks": (),
        "claimed_by": None,
        "claimed_until": None,
        "opened_by": None,
        "finished_at": None,
    }
    return Row(**(fields | more))


def test_both_catalogues_have_the_same_sentences_with_the_same_gaps() -> None:
    one, two = (catalogue(lang) for lang in LANGUAGES)
    assert set(one) == set(two)
    for key in one:
        assert set(re.findall(r"{(\w+)}", one[key])) == set(re.findall(r"{(\w+)}", two[key])), key


def test_every_reason_of_the_closed_list_that_a_series_can_have_is_translated() -> None:
    series = list(Reason)[list(Reason).index(Reason.NO_MODEL) :]
    assert all(
        f"reason_{reason.value}" in catalogue(lang) for lang in LANGUAGES for reason in series
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_promise_3_no_word_on_the_page_calls_anything_negative(lang: str) -> None:
    templates = [file.read_text() for file in (files("worklist") / "templates").iterdir()]
    assert not [text for text in [*catalogue(lang).values(), *templates] if FORBIDDEN.search(text)]


def test_ai_is_said_in_the_four_words() -> None:
    words = catalogue("en")
    assert [words[f"ai_{ai}"] for ai in ("flagged", "not_flagged", "not_analysed", "pending")] == [
        "flagged",
        "not flagged",
        "not analysed",
        "pending",
    ]
    assert (
        ai_detail(row(ai="not_flagged", looked_for=("haemorrhage",)), T, words)
        == "for: haemorrhage"
    )
    assert (
        ai_detail(row(ai="not_analysed", ai_reason="no_model"), T, words)
        == "no model for this study"
    )
    assert (
        ai_detail(
            row(ai="flagged", flags=(Flag(package="p", code="c", name="haemorrhage"),)), T, words
        )
        == "haemorrhage"
    )
    assert ai_detail(row(), T, words) == ""


def test_urgency_agrees_with_the_rank_that_was_kept() -> None:
    flag = (Why(term="flag:RID4700", target_s=900, source="p"),)
    assert urgency(row(lane=3, why=flag)) == "expected"
    assert urgency(row(lane=0)) == "pinned"
    assert urgency(row(lane=1)) == "emergent"
    assert urgency(row(why=flag)) == "flagged"
    assert urgency(row(ai="flagged")) == "routine"  # a package in shadow changes nothing
    assert urgency(row(priority="unknown")) == "unknown"
    assert urgency(row(priority="timed")) == "other"


def test_the_countdown_is_signed() -> None:
    assert countdown(NOW + timedelta(minutes=12, seconds=5), NOW, T) == "−00:12 left"
    assert countdown(NOW - timedelta(minutes=3, seconds=5), NOW, T) == "+00:03 over"
    assert span(timedelta(days=2, hours=3, minutes=59).total_seconds(), T) == "2 d 03 h"


def test_names_and_dates() -> None:
    assert person_name("MARTIN^Anne^B") == "MARTIN, Anne B"
    assert person_name("") == ""
    assert birth_date("19610412", "fr") == "12/04/1961"
    assert birth_date("1961", "en") == "1961"
    assert clean("a\u202eb\x00c\n") == "abc"
    assert len(clean("x" * 10_000)) == 120


def test_the_language_is_what_was_chosen_else_what_the_browser_asks() -> None:
    assert choose("fr", "en") == "fr"
    assert choose("xx", "de-DE,fr-FR;q=0.8") == "fr"
    assert choose(None, "") == "en"


def test_a_row_in_words() -> None:
    shown = view(row(lane=1, priority="stat", claimed_by="anne"), NOW, "en", T, "anne")
    assert (shown["word"], shown["order_class"], shown["mine"], shown["target_text"]) == (
        "Emergent",
        "STAT",
        True,
        "−00:12 left",
    )
    assert shown["why"] == [
        {"term": "Order priority: routine", "target": "01:00", "source": "from the order"}
    ]


def test_the_page_shows_the_list_without_scripts(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accessions=("A1",)), make.exam(), make.order("B", patient="PB"))
    sign_in(client)
    html = client.get("/").text
    assert (
        html.index("NAME, P1") < html.index("Expected: not yet readable") < html.index("NAME, PB")
    )
    assert "does not rule out disease" in html
    assert "(1 · 0) Reading list" in html
    assert "Liste de lecture" in client.get("/?lang=fr").text
    assert 'lang="fr"' in client.get("/").text  # remembered


def test_a_form_alone_claims_finishes_and_comes_back(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accessions=("A1",)), make.exam())
    csrf = sign_in(client)
    ours = {"sec-fetch-site": "same-origin"}
    where = client.post("/next", data={"csrf": csrf}, headers=ours).headers["location"]
    opened = client.get(where).text
    assert "NAME, P1" in opened
    assert "1960-01-01" in opened
    assert f'action="{where}/finish"' in opened
    assert (
        client.post(f"{where}/finish", data={"csrf": csrf}, headers=ours).headers["location"] == "/"
    )
    assert "Nothing waits to be read." in client.get("/").text


def test_promise_3_a_flag_stays_on_the_page_until_a_lead_says_why_it_goes(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series(), make.finding())
    feed(make.finding(flagged=False, at=30, package_version="2"))
    feed(
        make.finding(
            flagged=False,
            at=31,
            outcome="not_analysed",
            reason=Reason.LATE,
            findings=(),
            input_digest="ab" * 16,
        )
    )
    csrf = sign_in(client, "lead")

    def shown() -> tuple[str, str]:
        html = client.get("/").text
        where = "/studies/" + html.partition('data-study="')[2].partition('"')[0]
        ai = html.partition('class="ai ai-')[2].partition("</td>")[0]
        return where, " ".join(re.sub(r"<[^>]*>", " ", ai.partition(">")[2]).split())

    where, said = shown()
    assert said == "◆ flagged haemorrhage"

    def clear(reason: str) -> int:
        data = {"csrf": csrf, "reason": reason}
        return client.post(
            f"{where}/clear-flag", data=data, headers={"sec-fetch-site": "same-origin"}
        ).status_code

    assert clear(" ") == 422
    assert shown()[1] == "◆ flagged haemorrhage"
    assert clear("motion artefact") == 303
    assert shown()[1] == "– not flagged for: haemorrhage"
    with engine.connect() as connection:
        acts = connection.execute(
            text("SELECT actor, reason FROM audit WHERE act = 'clear_flag'")
        ).all()
    assert [tuple(act) for act in acts] == [("lead1", "motion artefact")]
    feed(
        make.finding(at=40, package="chest-opacity", code="RID5350")
    )  # another flag is another word
    assert shown()[1] == "◆ flagged haemorrhage"


def test_promise_7_a_study_that_somebody_had_open_says_so_to_the_next_reader(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accessions=("A1",)), make.exam())
    client.post("/api/v1/next", headers=as_role("lead"))
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE study SET lease_expires_at = now() - interval '1 s' WHERE claimed_by IS NOT NULL"
            )
        )
    csrf = sign_in(client)
    where = client.post(
        "/next", data={"csrf": csrf}, headers={"sec-fetch-site": "same-origin"}
    ).headers["location"]
    assert "Another reader had this study open before you" in client.get(where).text


def test_a_hostile_name_is_text(
    client: httpx.Client, make: Make, feed: Feed, ring: KeyRing
) -> None:
    bad = ring.seal_identity(
        Identity(patient_id="P1", issuer="H", name="<img src=x onerror=alert(1)>^{{7*7}}")
    )
    feed(make.order(identity=bad))
    sign_in(client)
    html = client.get("/").text
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "{{7*7}}" in html
    assert "<img src=x" not in html
