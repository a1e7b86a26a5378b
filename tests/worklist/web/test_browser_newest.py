"""What a page shows is never older than what it was told: lists that were read before a change, and
pages that wait while the list goes on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, Screens, names
from tests.worklist.web_client import as_role, serving, sign_in, wait_for, web_settings


def gap(screens: Screens) -> None:
    """Once the feed cannot say what changed: browsers read the list anew."""
    told = screens.app.state.feed
    read, before = told._read, told.id
    told._read = lambda cursor: read(cursor).model_copy(update={"gap": True})
    wait_for(lambda: told.id != before)
    told._read = read


def claim(screens: Screens, uid: str) -> None:
    found = screens.client.get(f"/api/v1/worklist?study_uid={uid}", headers=as_role("reader"))
    study = found.json()["items"][0]["study"]
    answer = screens.client.post(f"/api/v1/studies/{study}/claim", headers=as_role("reader"))
    assert answer.is_success


def ward(make: Make, count: int) -> list[Any]:
    return [make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(count)]


@pytest.mark.needs("chromium")
def test_a_claim_while_a_list_read_anew_waits_for_the_pointer_is_not_forgotten(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    feed(*ward(make, 3))
    page = screens.open(screens.context())
    page.locator("tr.study >> nth=2").hover()
    with page.expect_response(re.compile(r"/list")):
        gap(screens)
    page.wait_for_timeout(300)
    claim(screens, "1.1")
    page.locator("tr.taken", has_text="NAME, P1").wait_for()
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)
    assert page.locator("tr.taken", has_text="NAME, P1").count() == 1
    assert page.locator("tr.study", has_text="Claim").count() == 2
    assert screens.complaints == []


@pytest.mark.needs("chromium")
def test_a_list_that_was_read_before_a_claim_and_comes_after_it_takes_nothing_back(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    feed(*ward(make, 3))
    page = screens.open(screens.context())
    slow: list[str] = []

    def late(route: Any) -> None:
        answer = route.fetch()
        claim(screens, "1.1")
        feed(make.series("1.9", patient="P9", at=50))
        page.wait_for_timeout(1000)
        slow.append(route.request.url)
        route.fulfill(response=answer)

    page.route(re.compile(r"/list"), late)
    gap(screens)
    page.wait_for_timeout(3500)
    assert slow, "the list was read anew, slowly"
    assert page.locator("tr.taken", has_text="NAME, P1").count() == 1
    assert names(page) == ["NAME, P0", "NAME, P1", "NAME, P2", "NAME, P9"]
    assert page.locator("#unread").inner_text() == "4"


@pytest.mark.parametrize("path", ["/", "/list", "/?state=readable", "/mine", "/studies/{study}"])
def test_a_change_while_a_page_is_being_read_is_told_to_it_afterwards(
    database_url: str,
    tmp_path: Path,
    ring: KeyRing,
    engine: Engine,
    make: Make,
    feed: Feed,
    path: str,
) -> None:
    before: list[str] = []
    feed(make.series("1.1", patient="P1"))
    with serving(web_settings(database_url, tmp_path, ring)) as (app, client):
        (row,) = client.get("/api/v1/worklist", headers=as_role("reader")).json()["items"]
        sign_in(client, "lead")
        wait_for(lambda: bool(app.state.feed.up))

        def change(_: Any, __: Any, statement: str, *___: Any) -> None:
            if before or "claimed_by" not in statement:
                return
            before.append(app.state.feed.id)
            feed(make.series("1.2", patient="P2"))
            wait_for(lambda: app.state.feed.id != before[0])

        event.listen(app.state.desk._engine, "after_cursor_execute", change)
        answer = client.get(path.format(study=row["study"]))
    assert answer.is_success
    told = answer.headers.get("x-vigie-frame")
    named = told or re.findall(r'data-stream="([^"]+)"', answer.text)[0]
    assert [named] == before, "the page follows from before it was read"
