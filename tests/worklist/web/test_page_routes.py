"""The page by its routes: the list without scripts, forms that act, what rows and studies say."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from streams.errors import Reason
from streams.identity.seal import KeyRing
from streams.sealed import Identity
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role, sign_in


def test_the_page_shows_the_list_without_scripts(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"), make.exam(), make.order("B", patient="PB"))
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
    feed(make.order(), make.series(accession="A1"), make.exam())
    csrf = sign_in(client)
    ours = {"sec-fetch-site": "same-origin"}
    where = client.post("/next", data={"csrf": csrf}, headers=ours).headers["location"]
    opened = client.get(where).text
    assert "NAME, P1" in opened
    assert "1960-01-01" in opened
    assert f'action="{where}/finish"' in opened
    study = where.rpartition("/")[2]
    after = client.post(f"{where}/finish", data={"csrf": csrf}, headers=ours).headers["location"]
    assert after == f"/?finished={study}"
    assert "Nothing waits to be read." in client.get(after).text


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
    assert shown()[1] == "◇ flag withdrawn by lead1: motion artefact"
    assert "not flagged" not in client.get("/").text.partition("<table")[2]
    assert "flag withdrawn" in client.get(where).text
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
    feed(make.order(), make.series(accession="A1"), make.exam())
    client.post("/api/v1/next", headers=as_role("lead"))
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE lease SET expires_at = clock_timestamp() - interval '2 min'")
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


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"constancy": False}, "the model fails its daily check: no effect on the order"),
        ({"package": "never heard of"}, "the model is in shadow: no effect on the order"),
        (
            {"flagged": False, "outcome": "not_analysed", "reason": Reason.OUT_OF_DISTRIBUTION},
            "unlike what the model learned on",
        ),
        ({"flagged": False}, "for: haemorrhage"),
    ],
)
def test_the_row_and_the_page_say_why_there_is_no_flag_and_what_was_looked_for(
    client: httpx.Client, make: Make, feed: Feed, said: dict[str, Any], words: str
) -> None:
    images = make.series(patient=None)
    feed(images, make.finding(of=images, **said))
    sign_in(client)
    html = client.get("/").text
    assert words in html
    study = html.partition('data-study="')[2].partition('"')[0]
    assert words in client.get(f"/studies/{study}").text


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", "unlike what the model learned on (no skull is seen)"),
        ("fr", "différent de ce que le modèle a appris (aucun crâne visible)"),
    ],
)
def test_the_row_and_the_page_say_what_told_that_a_series_is_foreign(
    client: httpx.Client, make: Make, feed: Feed, lang: str, words: str
) -> None:
    images = make.series()
    said = {"outcome": "not_analysed", "reason": Reason.OUT_OF_DISTRIBUTION, "unlike": "skull"}
    feed(images, make.finding(of=images, flagged=False, **said))
    sign_in(client)
    html = client.get(f"/?lang={lang}").text
    assert words in html
    study = html.partition('data-study="')[2].partition('"')[0]
    assert words in client.get(f"/studies/{study}").text
    (row,) = client.get("/api/v1/worklist", headers=as_role("reader")).json()["items"]
    assert (row["ai_reason"], row["ai_unlike"]) == ("out_of_distribution", "skull")


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", "A study whose wait begins after"),
        ("fr", "Un examen dont l’attente commence après le"),
    ],
)
def test_promise_4_the_list_and_the_study_say_until_when_it_can_be_overtaken(
    client: httpx.Client, make: Make, feed: Feed, lang: str, words: str
) -> None:
    feed(make.series(), make.order("B", patient="PB"))
    sign_in(client)
    html = client.get(f"/?lang={lang}").text
    assert html.count(words) == 1  # what cannot be read yet has no bound
    study = html.partition('data-study="')[2].partition('"')[0]
    bound = client.get(f"/studies/{study}").text.partition(words)[2]
    assert re.match(r" [-/0-9]{10} \d\d:\d\d ", bound)


def test_a_studys_page_names_the_models_of_now_whoever_looked_at_the_list_last(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.series())
    sign_in(client)
    where = "/studies/" + client.get("/").text.partition('data-study="')[2].partition('"')[0]
    assert "head-ct-ich" not in client.get(where).text
    feed(make.finding())
    assert "head-ct-ich 1" in client.get(where).text.partition("<footer>")[2]
