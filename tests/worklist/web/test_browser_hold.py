"""Nothing moves under a pointer or a focus: what a row says is current, where it stands waits."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, names
from tests.worklist.web_client import as_role, wait_for

pytestmark = pytest.mark.needs("chromium")
TOPS = """() => Object.fromEntries([...document.querySelectorAll('#list tr.study')].map(row =>
  [row.querySelector('.name').textContent, Math.round(row.getBoundingClientRect().top)]))"""


def ward(make: Make, count: int) -> list[Any]:
    return [make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(count)]


def test_a_resting_pointer_keeps_every_row_where_it_is_and_hides_no_stat(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    feed(*ward(make, 6))
    page.wait_for_selector("tr.study >> nth=5")
    page.mouse.move(700, 500)
    page.locator("tr.study >> nth=2").hover()
    before = page.evaluate(TOPS)
    feed(
        make.finding("1.5", patient="P5", at=90),
        make.order("S", patient="P9", priority="stat", at=91),
        make.series("1.9", accession="S", patient="P9", at=92),
        make.series("1.8", patient="P8", at=93),
    )
    rows = screens.client.get("/api/v1/worklist", headers=as_role("reader")).json()["items"]
    at = f"/api/v1/studies/{rows[4]['study']}"
    token = screens.client.post(f"{at}/claim", headers=as_role("reader")).json()["lease"]
    screens.client.post(f"{at}/finish", headers=as_role("reader"), json={"token": token["token"]})
    page.locator("#pending", has_text="2 new, 1 moved, 1 gone").wait_for()
    page.locator("tr.left", has_text="read by reader1").wait_for()
    assert page.evaluate(TOPS) == before, "neither order nor strip nor banner moved a row"
    told = page.locator("#strip li").all_inner_texts()
    assert ["Emergent" in told[0], "AI flag" in told[1]] == [True, True], "most urgent first"
    assert "flagged" in page.locator("tr.study >> nth=5").inner_text(), "content is current"
    page.mouse.move(5, 5)
    wait_for(lambda: names(page)[:2] == ["NAME, P9", "NAME, P5"])
    assert page.locator("tr.left").count() == 0
    assert page.locator("td.place").all_inner_texts() == [str(n) for n in range(1, 8)]
    assert screens.complaints == []


def test_next_follows_the_servers_order_whatever_the_screen_holds(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    feed(*ward(make, 3))
    page.wait_for_selector("tr.study >> nth=2")
    page.keyboard.press("j")
    feed(make.finding("1.2", patient="P2", at=90))
    page.locator("#pending", has_text="1 moved").wait_for()
    assert names(page)[0] == "NAME, P0"
    page.keyboard.press("n")
    page.wait_for_url("**/studies/**")
    assert page.locator("h1").inner_text() == "NAME, P2"


@pytest.mark.parametrize("target", ["row", "name", "button", "summary"])
def test_focus_survives_every_change_of_its_row(
    opened: Opened, engine: Engine, make: Make, feed: Feed, target: str
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    feed(*ward(make, 3))
    page.wait_for_selector("tr.study >> nth=2")
    row = "tr.study >> nth=1"
    inside = {"row": "", "name": " >> a.name", "button": " >> button", "summary": " >> summary"}
    page.locator(row + inside[target]).focus()
    tag = page.evaluate("document.activeElement.tagName + document.activeElement.className")
    feed(make.finding("1.1", patient="P1", at=90))
    page.locator("#pending", has_text="1 moved").wait_for()
    for _ in range(2):
        focused = page.evaluate(
            """[document.activeElement.tagName + document.activeElement.className,
                document.activeElement.closest('tr').querySelector('.name').textContent]"""
        )
        assert focused == [
            tag.replace("u-other", "u-flagged").replace("u-unknown", "u-flagged"),
            "NAME, P1",
        ]
        page.keyboard.press(".")
    assert names(page)[0] == "NAME, P1"


def test_rows_of_another_page_are_heard_of_on_every_page(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    feed(make.series("1.1"))
    grow(engine, 250)
    page = screens.open(screens.context())
    page.get_by_role("link", name="More of the list").click()
    page.wait_for_selector('#truth[data-state="live"]')
    assert page.locator("td.place").first.inner_text() == "51"
    feed(
        make.order("S", patient="P9", priority="stat", at=91),
        make.series("1.9", accession="S", patient="P9", at=92),
    )
    page.locator("#strip", has_text="Emergent").wait_for()
    assert page.locator("#unread").inner_text() == "252"
    assert page.locator("#emergent").inner_text() == "1"
    wait_for(lambda: page.locator("td.place").first.inner_text() == "52")
    assert "starts at place 52" in page.locator("#from").inner_text(), "one more stands before it"
    assert page.locator("tr.study").count() == 50


def grow(engine: Engine, count: int) -> None:
    """Copies of the one row, each a second later."""
    with engine.begin() as connection:
        columns = connection.scalars(
            text("""SELECT column_name FROM information_schema.columns
                    WHERE table_name = 'item' AND column_name NOT IN ('name', 'due_at', 'uid')""")
        ).all()
        listed = ", ".join(columns)
        connection.execute(
            text(f"""INSERT INTO item (name, uid, due_at, {listed})
                     SELECT md5(n::text), uid || '.' || n, due_at + n * interval '1 s',
                     {listed}
                     FROM item, generate_series(1, :n) n"""),
            {"n": count},
        )
        connection.execute(
            text("""INSERT INTO member (member, name) SELECT md5(n::text), md5(n::text)
                    FROM generate_series(1, :n) n"""),
            {"n": count},
        )
        connection.execute(
            text(
                "INSERT INTO tally (state, lane, flagged, rows) VALUES ('readable', 2, false, :n)"
            ),
            {"n": count},
        )


def test_ten_thousand_waiting_rows_are_painted_soon_and_kept_in_order(
    opened: Opened, engine: Engine, make: Make, feed: Feed
) -> None:
    screens = opened()
    feed(make.series("1.1"))
    grow(engine, 10_000)
    page = screens.open(screens.context())
    assert page.locator("#unread").inner_text() == "10001"
    assert page.locator("tr.study").count() == 50
    for minute in range(60):  # a page that only grew would be the whole list in the end
        feed(make.series(f"2.{minute}", patient=f"Q{minute}", at=-100 + minute))
    wait_for(lambda: page.locator("#unread").inner_text() == "10061")
    keys = page.evaluate("[...document.querySelectorAll('tr.study')].map(row => row.dataset.key)")
    assert keys == sorted(keys)
    assert len(keys) <= 75
    assert page.locator("td.place").last.inner_text() == str(len(keys))
