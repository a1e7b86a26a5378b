"""What is live in a browser: one stream for all tabs, rows as data that read as the server's, what
becomes of a stream that is lost, held back or slow.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine

from streams.identity.seal import KeyRing
from streams.sealed import Identity, OrderDetails
from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, names
from tests.worklist.web_client import as_role, wait_for

pytestmark = pytest.mark.needs("chromium")
#: A row's words and marks, cell by cell, without what ticks.
READ = """() => [...document.querySelectorAll('tr.study')].map(row => [row.className,
  row.dataset.key, row.dataset.loud || '', ...[...row.cells].map(cell => [cell.className,
  cell.innerHTML
    .replace(/\\s+/g, ' ').replace(/> /g, '>').replace(/ </g, '<').trim()
    .replace(/value="[0-9a-f]+"/g, '')
    .replace(/<p class="above">.*?<\\/p>/g, '')])])"""

FOREIGN = {"outcome": "not_analysed", "reason": "out_of_distribution", "unlike": "skull"}


def asked(ring: KeyRing) -> str:
    told = OrderDetails(
        indication="fall, <b>anticoagulated</b>", referrer="NOEL^Eva", call_back="4711"
    )
    return ring.seal(told.model_dump_json().encode())


def zoo(make: Make, ring: KeyRing) -> list[Any]:
    """A row of each kind."""
    evil = Identity(
        patient_id="P9\u202e<b>", issuer="H", name="<img src=x>^{{7*7}}^\u202eB", birth_date="2025"
    )
    events: list[Any] = [
        make.order("A1", priority="stat", location="emergency", details=asked(ring)),
        make.series("1.1", accession="A1"),
        make.finding("1.1"),
        make.order("A2", patient="P2/20260110/Lefèvre^Zoé", at=1, modality="DX", body_part="CHEST"),
        make.series("1.2", accession="A2", patient="P2/20260110/Lefèvre^Zoé", at=20, n=3),
        make.order("A7", patient="P7", priority="stat", at=2),
        make.series("1.7", accession="A7", patient="P8", at=21),
        make.order("A9", patient="P9", identity=ring.seal_identity(evil), at=3),
        make.order("B", patient="PB", at=4, scheduled_at=make.order(at=600).received_at),
        make.series("1.5", patient="P5", at=30),
        make.finding(
            "1.5", flagged=False, at=31, outcome="not_analysed", findings=(), reason="unsure"
        ),
        make.series("1.6", patient="P6", at=32),
        make.finding("1.6", flagged=False, at=33),
        make.series("1.8", patient="P10", at=34),
        make.finding("1.8", flagged=False, at=35, **FOREIGN),
    ]
    return events


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_row_that_came_as_data_reads_as_the_one_that_came_as_a_page(
    opened: Opened, engine: Engine, make: Make, feed: Feed, ring: KeyRing, lang: str
) -> None:
    screens = opened()
    page = screens.open(screens.context(), f"/?lang={lang}")
    feed(*zoo(make, ring))
    client = screens.client
    for uid, headers in (("1.1", as_role("reader")), ("1.2", as_role("lead"))):
        (row,) = client.get(f"/api/v1/worklist?study_uid={uid}", headers=as_role("reader")).json()[
            "items"
        ]
        client.post(f"/api/v1/studies/{row['study']}/claim", headers=headers)
    for uid in ("1.6",):
        (row,) = client.get(f"/api/v1/worklist?study_uid={uid}", headers=as_role("reader")).json()[
            "items"
        ]
        pin = {"reason": "the <b>surgeon</b> called"}
        client.post(f"/api/v1/studies/{row['study']}/pin", headers=as_role("lead"), json=pin)
    page.locator("tr.u-pinned").wait_for()
    wait_for(lambda: len(names(page)) == 9 and page.locator("tr.taken").count() == 2)
    came = page.evaluate(READ)
    page.reload()
    page.wait_for_selector('#truth[data-state="live"]')
    painted = page.evaluate(READ)
    assert len(came) == len(painted) == 9
    for one, other in zip(came, painted, strict=True):
        assert one == other
    page.locator("details.why summary").first.click()
    assert page.locator("details.why[open] .above").inner_text()
    assert screens.complaints == []


def test_eight_tabs_share_one_stream_and_all_of_them_live(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    context = screens.context()
    tabs = [screens.open(context) for _ in range(8)]
    assert screens.app.state.feed.followers == 1
    feed(make.series())
    for tab in tabs:
        tab.wait_for_selector("tr.study")
    tabs[0].close()
    feed(make.series("1.9", patient="P9"))
    for tab in tabs[1:]:
        tab.wait_for_selector("tr.study >> nth=1")
    assert screens.app.state.feed.followers == 1


def test_a_change_brings_the_row_itself_and_a_renewal_brings_nothing(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    feed(make.series())
    page.wait_for_selector("tr.study")
    (row,) = screens.client.get("/api/v1/worklist", headers=as_role("reader")).json()["items"]
    at = f"/api/v1/studies/{row['study']}"
    lease = screens.client.post(f"{at}/claim", headers=as_role("reader")).json()["lease"]
    page.get_by_text("being read by reader1").wait_for()
    told = screens.app.state.feed.id
    for _ in range(3):
        assert screens.client.post(
            f"{at}/renew", headers=as_role("reader"), json={"token": lease["token"]}
        ).is_success
    page.wait_for_timeout(500)
    assert screens.app.state.feed.id == told
    assert asked == []


def test_a_stream_that_was_lost_comes_back_with_what_was_missed(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    context = screens.context()
    page = screens.open(context)
    screens.app.state.feed.close()  # as a restart of a proxy does
    feed(make.series())
    page.wait_for_selector("tr.study")
    page.wait_for_selector('#truth[data-state="live"]')


def test_another_process_is_noticed_and_the_list_read_anew(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    told = screens.app.state.feed
    told._epoch, told._number = "beef", 0  # what another process would call its frames
    feed(make.series())
    page.wait_for_selector("tr.study")


def test_a_stream_that_a_proxy_holds_back_is_replaced_by_asking_and_that_is_said(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    context = screens.context()
    page = screens.watch(context.new_page())
    page.add_init_script("delete window.SharedWorker")  # its requests cannot be held back here
    page.route("**/api/v1/events?*", lambda _route: None)
    page.goto(screens.url)
    page.wait_for_selector('#truth[data-state="polling"]', timeout=15_000)
    assert "live by asking every few seconds" in page.locator("#truth-text").inner_text()
    feed(make.series())
    page.wait_for_selector("tr.study")


def test_a_list_that_could_not_be_fetched_is_fetched_again(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    failed: list[str] = []

    def refuse(route: Any) -> None:
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    page.route(re.compile(r"/list"), refuse)
    told = screens.app.state.feed
    with page.expect_event("requestfailed"):
        read, told._read = told._read, lambda cursor: read(cursor).model_copy(update={"gap": True})
        page.wait_for_timeout(500)
        told._read = read
    wait_for(lambda: bool(failed))
    feed(make.series())
    page.wait_for_selector("tr.study")


def test_a_reader_who_logged_out_elsewhere_is_told_in_each_tab(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    page = screens.sign_in()
    other = screens.open(page.context)
    other.get_by_role("button", name="Log out").click()
    other.wait_for_url("**/login")
    page.locator("#truth-text", has_text="You are logged out").wait_for(timeout=20_000)
    assert page.locator("#truth").get_attribute("data-state") == "stale"
