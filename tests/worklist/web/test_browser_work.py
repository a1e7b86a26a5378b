"""Two readers at work in browsers: what one does the other sees, by keyboard and by mouse."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, Screens, names
from tests.worklist.web_client import wait_for

pytestmark = pytest.mark.needs("chromium")


def ward(make: Make, count: int) -> list[Any]:
    return [make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(count)]


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_study_page_loses_finish_with_the_lease_and_says_who_has_it(
    opened: Opened, engine: Engine, make: Make, feed: Feed, lang: str
) -> None:
    words = {"en": ("being read by lead1", "Finish"), "fr": ("en lecture par lead1", "Terminer")}
    taken, finish = words[lang]
    screens = opened(open_demo=False)
    feed(*ward(make, 2))
    reader, lead = screens.sign_in(), screens.sign_in("lead")
    for page in (reader, lead):
        page.goto(f"{screens.url}/?lang={lang}")
        page.wait_for_selector('#truth[data-state="live"]')
    reader.keyboard.press("n")
    reader.wait_for_url("**/studies/**")
    assert reader.get_by_role("button", name=finish).count() == 2
    lead.goto(reader.url)
    form = lead.locator('form[action$="/take-over"]')
    form.locator("input[name=reason]").fill("reader1 is called away")
    form.locator("button").click()
    reader.locator("#lease-lost").wait_for()
    reader.get_by_text(taken).wait_for()
    assert reader.get_by_role("button", name=finish).count() == 0
    reader.keyboard.press("d")
    assert screens.complaints == []


def test_a_double_click_claims_once_and_both_readers_see_it(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    feed(*ward(make, 3))
    one, other = screens.sign_in(), screens.sign_in("reader", "-2")
    one.get_by_role("button", name="Next study").dblclick()
    one.wait_for_url("**/studies/**")
    other.locator("tr.taken", has_text="being read by reader1").wait_for()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM lease")) == 1
    other.locator("tr.study >> nth=1").get_by_role("button", name="Claim").dblclick()
    other.locator("tr.mine").wait_for()
    assert other.locator("tr.mine").count() == 1


def test_skipping_asks_why_by_keyboard_alone(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    feed(*ward(make, 2))
    page.wait_for_selector("tr.study >> nth=1")
    page.keyboard.press("j")
    page.keyboard.press("s")
    page.keyboard.type("priors are missing")
    page.keyboard.press("Enter")
    page.locator("#skip").wait_for(state="hidden")
    wait_for(lambda: skipped(engine) == ["priors are missing"])
    page.keyboard.press("n")
    page.wait_for_url("**/studies/**")
    assert page.locator("h1").inner_text() == "NAME, P1"


def skipped(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT reason FROM audit WHERE act = 'skip'")))


@pytest.mark.slow
def test_a_night_of_sixty_studies_by_keyboard_alone_none_lost_none_moved_none_shown_wrongly(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    page, other = screens.sign_in(), screens.sign_in("reader", "-2")
    chance = random.Random(7)
    read: list[str] = []
    for number in range(60):
        night(make, feed, number, chance)
    page.locator("#unread", has_text="60").wait_for()
    page.keyboard.press("n")
    for number in range(60):
        page.wait_for_selector('[data-live="acts"] form[data-act="finish-next"]')
        study = page.locator("article.one").get_attribute("data-study")
        assert study not in read, "a study that was read does not come again"
        assert page.locator("#truth").get_attribute("data-state") != "stale"
        read.append(str(study))
        if number % 10 == 3:
            watch_the_list(screens, other, engine)
        page.keyboard.press("f")
        page.locator(f'article.one[data-study="{study}"]').wait_for(state="detached")
    page.get_by_text("No free study").or_(page.get_by_text("Nothing waits")).first.wait_for()
    with engine.connect() as connection:
        done = connection.scalars(text("SELECT name FROM closed WHERE state = 'read'")).all()
    assert sorted(done) == sorted(read)
    assert len(set(read)) == 60
    wait_for(lambda: names(other) == [])
    assert screens.complaints == []


def night(make: Make, feed: Feed, number: int, chance: random.Random) -> None:
    """One study comes, perhaps with a STAT order, perhaps flagged."""
    uid, patient = f"1.{number}", f"P{number}"
    priority = chance.choice(["stat", "urgent", "routine"])
    feed(make.order(f"N{number}", patient=patient, priority=priority, at=number))
    feed(make.series(uid, patient=patient, accession=f"N{number}", at=number))
    if chance.random() < 0.3:
        feed(make.finding(uid, at=number + 0.5))


def watch_the_list(screens: Screens, other: Any, engine: Engine) -> None:
    """The other reader's list, while its pointer rests: each row says what is so."""
    wait_for(
        lambda: other.locator("tr.taken").count() == 1 and other.locator("tr.left").count() == 0
    )
    with engine.connect() as connection:
        held = connection.scalars(text("SELECT name FROM lease WHERE ended = ''")).all()
        listed = connection.scalars(
            text("SELECT name FROM item ORDER BY lane, due_at, received_at, name")
        ).all()
    assert [other.locator("tr.taken").get_attribute("data-study")] == list(held)
    shown = other.evaluate("[...document.querySelectorAll('tr.study')].map(r => r.dataset.study)")
    assert shown == list(listed)


def test_who_asks_for_a_study_gets_it_by_its_holders_yes(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened(open_demo=False)
    feed(*ward(make, 1))
    holder, asking = screens.sign_in(), screens.sign_in("reader", "-2")
    holder.keyboard.press("n")
    holder.wait_for_url("**/studies/**")
    asking.goto(holder.url)
    form = asking.locator('form[action$="/take-over"]')
    form.locator("input[name=reason]").fill("I know the patient")
    form.locator("button").click()
    asking.get_by_text("reader1 has this study, and was asked for it").wait_for()
    told = holder.locator('[data-live="acts"] form.notice')
    told.get_by_text("reader2 asks for this study: I know the patient").wait_for()
    told.get_by_role("button", name="Hand over").click()
    holder.get_by_text("being read by reader2").first.wait_for()
