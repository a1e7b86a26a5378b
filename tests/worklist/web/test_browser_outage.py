"""Database and broker stopped and started under two readers' eyes: what they see is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from infra.embedded import MockKafka
from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, names
from tests.worklist.web_client import wait_for

pytestmark = pytest.mark.needs("chromium")


def cut(engine: Engine, link: Path) -> Path:
    """Takes the database away; returns where it is."""
    real = link.readlink()
    link.unlink()
    with engine.begin() as connection:
        connection.execute(
            text("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE pid <> pg_backend_pid() AND datname IS NOT NULL""")
        )
    return real


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_with_the_database_away_nothing_is_green_and_both_readers_go_on_afterwards(
    opened: Opened,
    engine: Engine,
    fragile_url: tuple[str, Path],
    make: Make,
    feed: Feed,
    lang: str,
) -> None:
    words = {"en": "Stale: the database", "fr": "Périmé : la base de données"}[lang]
    url, link = fragile_url
    screens = opened(open_demo=False, url=url)
    feed(make.series())
    one, other = screens.sign_in(), screens.sign_in("reader", "-2")
    for page in (one, other):
        page.goto(f"{screens.url}/?lang={lang}")
        page.wait_for_selector("tr.study")
    real = cut(engine, link)
    for page in (one, other):
        page.wait_for_selector('#truth[data-state="stale"]')
        page.locator("#truth-text", has_text=words).wait_for()
        assert page.locator("table.stale").count() == 1
    # from the first paint of a page that is loaded meanwhile, and for good
    one.reload()
    assert one.locator("#truth").get_attribute("data-state") == "stale"
    one.wait_for_timeout(2500)
    assert words in one.locator("#truth-text").inner_text()
    assert names(one) == ["NAME, P1"], "the list as it was"
    one.keyboard.press("j")
    one.keyboard.press("c")
    one.locator("#error").wait_for()
    link.symlink_to(real)
    for page in (one, other):
        page.wait_for_selector('#truth[data-state="live"]', timeout=15_000)
    one.keyboard.press("c")
    one.locator("tr.mine").wait_for()
    other.locator("tr.taken").wait_for()


def test_with_the_broker_away_the_line_says_so_and_readers_read_on(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    kafka = MockKafka()
    screens = opened(kafka=kafka.address, kafka_mock=True)
    feed(make.series())
    page = screens.open(screens.context())
    page.wait_for_selector("tr.study")
    kafka.stop()
    page.locator("#truth-text", has_text="kafka is away").wait_for(timeout=40_000)
    page.keyboard.press("n")
    page.wait_for_url("**/studies/**")
    assert "kafka is away" in page.locator("#truth-text").inner_text()
    page.keyboard.press("d")
    page.wait_for_url("**finished=**")
    wait_for(lambda: names(page) == [])
