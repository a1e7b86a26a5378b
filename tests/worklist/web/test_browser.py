"""The page in a real browser: it lives by itself, obeys the keys, and can be read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine

from streams.identity.seal import KeyRing
from streams.sealed import Identity
from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import names
from tests.worklist.web_client import wait_for


def hospital(make: Make, ring: KeyRing) -> list[Any]:
    bad = ring.seal_identity(
        Identity(
            patient_id="P9",
            issuer="H",
            name="<img src=x onerror=alert(1)>^EVIL",
            birth_date="19700101",
        )
    )
    events: list[Any] = []
    for i in range(4):
        uid, accession, patient = f"1.2.{i + 1}", f"A{i}", f"P{i}"
        events += [
            make.order(accession, patient=patient, at=i),
            make.series(uid, accession=accession, patient=patient, at=10 + i),
        ]
        events.append(make.exam(uid, at=20 + i, patient=patient))
    return [*events, make.order("B", patient="P9", identity=bad)]


@pytest.mark.needs("chromium")
def test_the_list_lives_in_a_browser(
    engine: Engine, make: Make, feed: Feed, ring: KeyRing, browser_page: tuple[Any, list[str]]
) -> None:
    page, complaints = browser_page
    feed(*hospital(make, ring))
    wait_for(lambda: len(names(page)) == 5)
    assert names(page) == [
        "NAME, P0",
        "NAME, P1",
        "NAME, P2",
        "NAME, P3",
        "<img src=x onerror=alert(1)>, EVIL",
    ]
    assert page.locator("#list img").count() == 0

    # a flagged study rises by itself, and the strip and the title say so
    assert page.locator("#no-models").count() == 1
    feed(make.finding("1.2.4", at=40))
    wait_for(lambda: names(page)[0] == "NAME, P3")
    assert "AI flag" in page.locator("#strip").inner_text()
    assert page.locator("#no-models").count() == 0, "a model has looked by now"
    assert page.title().startswith("(4 · 0)")
    assert page.locator("#flagged").inner_text() == "1"
    assert (
        page.locator('tr.study[data-loud="flagged"] .ai')
        .inner_text()
        .split("\n")[0]
        .endswith("flagged")
    )

    # while somebody is in the table, moves wait and say so; the focused row stays
    page.keyboard.press("j")
    page.keyboard.press("j")
    focused = "document.activeElement.querySelector('.name').textContent"
    assert page.evaluate(focused) == "NAME, P0"
    page.keyboard.press("w")
    assert page.locator("details.why[open] li").all_inner_texts() == [
        "Order priority: routine · target 1 d 00 h\nfrom the order"
    ]
    page.get_by_text("because it is due 1 min earlier").wait_for()
    feed(make.finding("1.2.3", at=41))
    page.wait_for_selector("#pending:not(.empty)")
    assert page.locator("#pending").inner_text() == "0 new, 1 moved, 0 gone: press . to apply"
    assert names(page)[:2] == ["NAME, P3", "NAME, P0"]
    page.keyboard.press(".")
    assert names(page)[:3] == ["NAME, P2", "NAME, P3", "NAME, P0"]
    assert page.evaluate(focused) == "NAME, P0"
    assert page.locator("details.why[open]").count() == 1

    # c and u claim and release the row; n claims and opens what is first
    page.keyboard.press("c")
    page.wait_for_selector("tr.study.mine")
    page.keyboard.press("u")
    page.wait_for_selector('form[data-act="claim"] >> nth=3')
    page.keyboard.press("n")
    page.wait_for_url("**/studies/**")
    assert page.locator("h1").inner_text() == "NAME, P2"
    page.get_by_role("button", name="Finish reading").click()
    page.wait_for_url(re.compile(r"/\?finished="))
    assert names(page)[0] == "NAME, P3"

    # Back shows that it was read, and by whom; what was undone is its reader's again
    page.go_back()
    page.get_by_text("This study was read by demo").wait_for()
    assert page.get_by_role("button", name="Finish reading").count() == 0
    assert page.get_by_role("button", name="Claim").count() == 0
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Finish reading").click()
    page.get_by_role("button", name="Undo").wait_for()
    page.evaluate("document.querySelector('[data-until]').dataset.until = '2026-01-01T00:00Z'")
    page.get_by_role("button", name="Undo").wait_for(state="hidden")
    assert complaints == []


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b]
    .map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const back = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > .99) return c;
    }
    return [0, 0, 0]; };
  const alpha = (e) => {
    let a = 1;
    for (; e; e = e.parentElement) a *= Number(getComputedStyle(e).opacity);
    return a; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (!e.getClientRects().length) continue;
    const b = back(e), a = alpha(e);
    const colour = parse(getComputedStyle(e).color).slice(0, 3);
    const f = colour.map((v, i) => v * a + b[i] * (1 - a));
    const [x, y] = [lum(f), lum(b)].sort((p, q) => q - p);
    const ratio = (x + .05) / (y + .05);
    if (ratio < 4.5)
      bad.push(e.className + ':' + e.textContent.slice(0, 20) + ' ' + ratio.toFixed(2));
  }
  return bad; }"""


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_all_text_has_a_contrast_of_at_least_4_5(
    engine: Engine,
    make: Make,
    feed: Feed,
    ring: KeyRing,
    browser_page: tuple[Any, list[str]],
    theme: str,
) -> None:
    page, _ = browser_page
    feed(
        *hospital(make, ring),
        make.finding("1.2.4", at=40),
        make.order("A2", patient="P2", at=50, priority="stat"),
    )
    page.goto(page.url + f"?theme={theme}")
    page.wait_for_selector('#truth[data-state="live"]')
    assert page.evaluate(CONTRAST) == []
