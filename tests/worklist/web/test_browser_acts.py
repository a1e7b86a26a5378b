"""Acts whose answer is lost or strange, and a study's page while others act on it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, Screens
from tests.worklist.web_client import as_role, wait_for

pytestmark = pytest.mark.needs("chromium")
CLAIM = 'form[data-act="claim"] button'
FINISH = 'form[data-act="finish"] button'


def ward(make: Make, count: int) -> list[Any]:
    return [make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(count)]


def listed(screens: Screens) -> list[dict[str, Any]]:
    answer = screens.client.get("/api/v1/worklist", headers=as_role("lead"))
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


@pytest.mark.parametrize(("lang", "words"), [("en", "Nothing came back"), ("fr", "Aucune réponse")])
def test_a_proxys_own_error_page_in_answer_to_a_claim_is_said(
    opened: Opened, engine: Engine, make: Make, feed: Feed, lang: str, words: str
) -> None:
    screens = opened()
    feed(*ward(make, 2))
    page = screens.open(screens.context(), f"/?lang={lang}")
    bad = {"status": 502, "body": "<html>Bad gateway</html>", "content_type": "text/html"}
    page.route("**/claim", lambda route: route.fulfill(**bad))
    page.locator(CLAIM).first.click()
    page.locator("#error", has_text=words).wait_for()
    page.unroute("**/claim")
    page.locator(CLAIM).first.click()
    page.locator("tr.mine").wait_for()
    assert [told for told in screens.complaints if "502" not in told] == []


def test_a_claim_that_is_never_answered_is_said_and_shuts_no_other_act_out(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    feed(*ward(make, 2))
    page = screens.open(screens.context())
    page.route("**/claim", lambda _route: None)
    page.locator(CLAIM).first.click()
    page.locator("#error", has_text="Nothing came back").wait_for(timeout=20_000)
    page.unroute("**/claim")
    page.locator(CLAIM).nth(1).click()
    page.locator("tr.mine").wait_for()


def test_finished_in_one_tab_the_other_says_by_whom_and_offers_the_undo(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    feed(*ward(make, 1))
    page = screens.sign_in()
    page.keyboard.press("n")
    page.locator(FINISH).wait_for()
    other = screens.open(page.context, page.url.removeprefix(screens.url))
    page.locator(FINISH).click()
    other.get_by_text("reader1").first.wait_for()
    other.locator('[data-live="finished"]', has_text="reader1").wait_for()
    assert other.locator(FINISH).count() == 0
    assert other.locator("#lease-lost").is_hidden(), "it was finished, not lost"
    other.locator('form[data-act="undo"] button').click()
    wait_for(lambda: [row["claimed_by"] for row in listed(screens)] == ["reader1"])


def test_a_study_that_gets_another_name_meanwhile_stays_live_on_its_page(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    feed(make.order("A", at=1), make.series("1.1", at=10))
    (image,) = (row for row in listed(screens) if row["study_uid"])
    page = screens.sign_in()
    page.goto(f"{screens.url}/studies/{image['study']}")
    page.locator(CLAIM).click()
    page.locator(FINISH).wait_for()
    feed(make.series("1.1", series="2", accession="A", at=20))
    (row,) = listed(screens)
    assert row["study"] != image["study"], "it is called by its order now"
    page.locator(f'article[data-study="{row["study"]}"]').wait_for()
    taken = {"reason": "the reader is called away"}
    at = f"/api/v1/studies/{row['study']}/take-over"
    assert screens.client.post(at, headers=as_role("lead"), json=taken).is_success
    page.get_by_text("being read by lead1").wait_for()
    assert page.locator(FINISH).count() == 0


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_skip_by_keyboard_is_said_and_can_be_taken_back(
    opened: Opened, engine: Engine, make: Make, feed: Feed, lang: str
) -> None:
    said, undo = {"en": ("Passed by", "Undo"), "fr": ("Laissé de côté", "Défaire")}[lang]
    screens = opened()
    feed(*ward(make, 2))
    page = screens.open(screens.context(), f"/?lang={lang}")
    page.keyboard.press("j")
    page.keyboard.press("s")
    page.locator("#skip-reason").fill("priors are missing")
    page.keyboard.press("Enter")
    page.locator("#error", has_text=said).wait_for()
    page.locator("#error").get_by_role("button", name=undo).click()
    page.locator("#error").wait_for(state="hidden")
    first = listed(screens)[0]["study"]
    page.keyboard.press("n")
    page.wait_for_url(f"**/studies/{first}")
