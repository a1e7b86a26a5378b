"""A stream that says nothing, a clock that is set, a browser that somebody else uses now: the page
notices by itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened
from tests.worklist.web_client import TOKENS, wait_for

pytestmark = pytest.mark.needs("chromium")


def test_a_stream_that_stays_open_and_says_nothing_is_opened_anew(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    told = screens.app.state.feed
    told._followers.clear()  # what a path does that was forgotten on the way
    feed(make.series())
    page.wait_for_selector('#truth[data-state="reconnecting"]', timeout=20_000)
    page.wait_for_selector("tr.study", timeout=20_000)
    page.wait_for_selector('#truth[data-state="live"]')
    assert told.followers == 1


def test_a_page_whose_clock_is_set_back_an_hour_still_notices_the_silence(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.watch(screens.context().new_page())
    page.add_init_script("delete window.SharedWorker")
    page.goto(screens.url)
    page.wait_for_selector('#truth[data-state="live"]')
    page.evaluate("() => { const real = Date.now; Date.now = () => real() - 3600_000; }")
    page.wait_for_selector('#truth[data-state="live"]')
    page.route("**/api/v1/**", lambda route: route.abort())
    screens.app.state.feed.close()
    page.wait_for_selector('#truth[data-state="reconnecting"]')
    page.wait_for_selector('#truth[data-state="stale"]', timeout=45_000)


def test_countdowns_follow_the_servers_clock_when_the_browsers_is_set(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    feed(make.order("A", priority="stat"), make.series("1.1", accession="A"))
    page = screens.open(screens.context())
    before = page.locator("td.time time").inner_text()
    page.evaluate("() => { const real = Date.now; Date.now = () => real() + 7200_000; }")
    wait_for(lambda: bool(page.locator("td.time time").inner_text() != before))
    hours = before.split(":")[0]
    wait_for(lambda: bool(page.locator("td.time time").inner_text().startswith(hours)))


def test_a_tab_of_somebody_who_is_logged_in_no_more_becomes_the_new_ones(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    feed(make.series())
    page = screens.sign_in()
    other: Any = screens.watch(page.context.new_page())
    other.goto(screens.url + "/login")
    other.fill('input[name="token"]', TOKENS["lead"])
    other.keyboard.press("Enter")
    other.wait_for_selector('#truth[data-state="live"]')
    page.locator('body[data-me="lead1"]').wait_for(state="attached")
    page.wait_for_selector('#truth[data-state="live"]')
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.locator("tr.mine").wait_for()
    other.locator("tr.mine").wait_for()
    assert screens.complaints == []
