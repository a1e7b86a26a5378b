"""The forms of a study's page: which are offered to whom, what they offer, and what they do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import TOKENS, as_role, bearer, sign_in

OURS = {"sec-fetch-site": "same-origin"}
SECOND = bearer(TOKENS["reader"] + "-2")


class Desk:
    """A browser that is signed in, at the page of the only study with images."""

    def __init__(self, client: httpx.Client, role: str) -> None:
        self._client = client
        client.cookies.clear()
        self.csrf = sign_in(client, role)
        rows = client.get("/api/v1/worklist", headers=as_role("lead")).json()["items"]
        self.study = next(row["study"] for row in rows if row["study_uid"])
        self.path = f"/studies/{self.study}"

    def html(self) -> str:
        return self._client.get(self.path).text

    def post(self, act: str, **fields: str) -> httpx.Response:
        data = {"csrf": self.csrf} | fields
        return self._client.post(f"{self.path}/{act}", data=data, headers=OURS)

    def form(self, act: str) -> str:
        """The inside of an act's form; empty: it is not offered."""
        found = re.search(
            rf'<form[^>]*action="{self.path}/{act}".*?</form>', self.html(), re.DOTALL
        )
        return found[0] if found else ""

    def offered(self) -> set[str]:
        return set(re.findall(rf'action="{self.path}/([a-z-]+)"', self.html()))


def options(form: str) -> list[tuple[str, str]]:
    return re.findall(r'<option value="([^"]+)">([^<]*)</option>', form)


def hidden(form: str, name: str) -> str:
    return form.partition(f'name="{name}" value="')[2].partition('"')[0]


def conflict(make: Make) -> list[Any]:
    """A typing error: the order is P1's, the images say P9."""
    return [
        make.order("A7", priority="stat"),
        make.series("1.1", patient="P9", accession="A7"),
    ]


@pytest.mark.parametrize(
    ("role", "acts"),
    [
        ("reader", {"claim", "skip", "pin", "outcome"}),
        ("lead", {"claim", "skip", "pin", "outcome", "priority", "link", "unlink"}),
    ],
)
def test_a_study_offers_what_its_reader_may_do(
    client: httpx.Client, make: Make, feed: Feed, role: str, acts: set[str]
) -> None:
    feed(*conflict(make))
    assert Desk(client, role).offered() == acts


def test_a_row_says_which_order_it_may_be_and_a_lead_chooses_by_number(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*conflict(make), make.order("A7", patient="P2", also="f8", at=1))
    desk = Desk(client, "lead")
    listed = client.get("/").text
    assert f'href="{desk.path}#acts" title="It is this order' in listed, "what resolves it"
    html = desk.html()
    assert "identity conflict" in html
    assert "may be order 8, A7" in html
    assert "NAME, P1" not in html, "another patient's order is shown without a name"
    link = options(desk.form("link"))
    assert [words for _, words in link] == ["A7 · scheduled", "8, A7 · scheduled"]
    assert options(desk.form("unlink")) == link
    order, _ = link[0]
    assert desk.post("unlink", order=order, reason="P1 has not come yet").status_code == 303
    assert "may be order 8<" in desk.html()
    where = desk.post("link", order=order, reason="typed wrongly").headers["location"]
    joined = client.get(where).text
    assert "NAME, P9" in joined
    assert "Emergent" in joined


def test_priority_and_outcome_are_chosen_from_short_lists(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"))
    desk = Desk(client, "lead")
    classes = [value for value, _ in options(desk.form("priority"))]
    assert classes == ["stat", "urgent", "routine", "unknown"]
    assert desk.post("priority", code="stat", reason="called").status_code == 303
    assert "Emergent" in desk.html()
    chosen, words = options(desk.form("outcome"))[0]
    assert desk.post("outcome", code=chosen).status_code == 303
    assert f"<dd>{words}</dd>" in desk.html()
    assert client.get(f"{desk.path}?lang=fr").text.count("résultat critique transmis") == 2


def test_a_study_changes_hands_by_forms(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(make.order(), make.series(accession="A1"))
    desk = Desk(client, "reader")
    claimed = client.post(f"/api/v1{desk.path}/claim", headers=SECOND).json()["lease"]["token"]
    assert "being read by reader2" in desk.html()
    assert not desk.offered() & {"claim", "finish", "release", "hand-over"}
    assert "reader2 has this study." in desk.post("claim").text
    assert desk.post("take-over").status_code == 422
    asked = desk.post("take-over", reason="reader2 is called away")
    assert asked.status_code == 409
    assert "reader2 has this study, and was asked for it." in asked.text
    row = client.get(f"/api/v1{desk.path}", headers=SECOND).json()
    assert (row["asked_by"], row["asked_reason"]) == ("reader1", "reader2 is called away")
    given = {"token": claimed, "to": "reader1", "reason": row["asked_reason"]}
    assert client.post(f"/api/v1{desk.path}/hand-over", headers=SECOND, json=given).is_success
    assert {"finish", "release", "hand-over"} <= desk.offered()
    assert [name for name, _ in options(desk.form("hand-over"))] == ["lead1", "reader2"]
    assert desk.post("hand-over", to="nobody", reason="night").status_code == 422
    assert desk.post("hand-over", to="lead1", reason="night").status_code == 303
    assert "being read by lead1" in desk.html()
    assert "lead1 has this study now." in desk.post("release").text
    lead = Desk(client, "lead")
    assert lead.post("hand-over", to="reader2", reason="night").status_code == 303
    assert lead.post("release").status_code == 422
    assert lead.post("release", reason="went home").headers["location"] == "/"
    assert "claim" in lead.offered()


def test_a_finish_covers_what_the_page_had_shown_and_no_late_image(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"))
    desk = Desk(client, "reader")
    desk.post("claim")
    seen = hidden(desk.form("finish"), "seen")
    feed(make.series(accession="A1", series="2", n=2, at=20))
    assert desk.post("finish", seen=seen).status_code == 303
    html = desk.html()
    assert "new since read" in html
    assert "claim" in desk.offered()
    desk.post("claim")
    desk.post("finish", seen=hidden(desk.form("finish"), "seen"))
    assert "This study was read by reader1" in desk.html()


def test_a_finished_study_says_by_whom_and_can_be_undone_for_ten_seconds(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"))
    desk = Desk(client, "reader")
    desk.post("claim")
    after = desk.post("finish", seen=hidden(desk.form("finish"), "seen")).headers["location"]
    listed = client.get(after).text
    undo = re.search(r'<form class="notice".*?</form>', listed, re.DOTALL)
    assert undo
    assert re.search(r"This study was read by reader1, \d{4}-", desk.html())
    assert desk.offered() == {"undo", "reopen", "outcome"}
    assert "Time to target" not in desk.html()
    assert hidden(undo[0], "act_id") == hidden(desk.form("undo"), "act_id")
    assert desk.post("undo", act_id=hidden(undo[0], "act_id")).headers["location"] == desk.path
    assert {"finish", "release"} <= desk.offered(), "it is the reader's again"

    desk.post("finish", seen=hidden(desk.form("finish"), "seen"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE closed SET finished_at = finished_at - interval '10 s'"))
    assert desk.offered() == {"reopen", "outcome"}
    assert "undo" not in client.get(after).text
    assert desk.post("reopen", reason="second look").status_code == 303
    assert "claim" in desk.offered()


def test_what_somebody_reads_elsewhere_is_said_and_claimed_when_sure(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    now = datetime.now(UTC)
    feed(make.order(), make.series(accession="A1"))
    feed(make.order(bare=True, reading=True, sender="PACS", received_at=now))
    desk = Desk(client, "reader")
    assert "said to be in reading by PACS" in client.get("/").text
    assert "PACS says that somebody reads this study elsewhere." in desk.html()
    refused = desk.post("claim")
    assert refused.status_code == 409
    assert "PACS says that it is being read." in refused.text
    assert desk.post("claim", sure=hidden(desk.form("claim"), "sure")).status_code == 303
    assert "finish" in desk.offered()


def test_what_belongs_with_a_study_stands_on_its_page_and_is_claimed_there(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(
        make.order(priority="stat"),
        make.series("1.2.1", accession="A1"),
        make.series("1.2.2", accession="A1", at=20, modality="PT", description="PET whole body"),
        make.series("1.2.3", at=30, modality="DX", description="Chest of another day"),
        make.series("1.2.4", patient="P2", at=31, description="Of somebody else"),
    )
    desk = Desk(client, "reader")
    section = desk.html().partition('class="siblings"')[2].partition("</section>")[0]
    assert "Also of this patient" in section
    assert "Chest of another day" in section
    assert "Of somebody else" not in section
    (pet,) = re.findall(r'href="/studies/(\w+)"><b class="mod">PT', section)
    claimed = client.post(f"/studies/{pet}/claim", data={"csrf": desk.csrf}, headers=OURS)
    assert claimed.headers["location"] == f"/studies/{pet}"
    assert "being read by you" in desk.html().partition('class="siblings"')[2]
    assert client.post(f"/studies/{pet}/finish", data={"csrf": desk.csrf}, headers=OURS).is_redirect
    section = desk.html().partition('class="siblings"')[2]
    assert "This study was read by" in section
    assert "Aussi de ce patient" in client.get(f"{desk.path}?lang=fr").text


def test_a_study_that_has_nothing_beside_it_says_nothing_of_it(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"), make.series("1.3", patient="P2", at=40))
    assert 'class="siblings"' not in Desk(client, "reader").html()
