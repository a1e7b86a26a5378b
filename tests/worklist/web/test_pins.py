"""The list of pins: who put which study first, why, and how it is taken back."""

from __future__ import annotations

import httpx
import pytest

from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened
from tests.worklist.web_client import TOKENS, as_role, bearer, sign_in, wait_for

OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def pinned(client: httpx.Client, make: Make, feed: Feed) -> dict[str, str]:
    """One study pinned by reader1, one by reader2, one by nobody; by patient."""
    feed(*(make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(3)))
    rows = client.get("/api/v1/worklist", headers=as_role("lead")).json()["items"]
    studies = {row["patient_id"]: row["study"] for row in rows}
    second = bearer(TOKENS["reader"] + "-2")
    for patient, who, why in (("P1", as_role("reader"), "<b>tumour board"), ("P2", second, "call")):
        at = f"/api/v1/studies/{studies[patient]}/pin"
        assert client.post(at, headers=who, json={"reason": why}).is_success
    return studies


@pytest.mark.parametrize(
    ("lang", "undo"), [("en", "Take the pin back"), ("fr", "Retirer l’épingle")]
)
def test_every_pin_is_listed_with_author_and_reason_and_each_reader_takes_back_their_own(
    client: httpx.Client, pinned: dict[str, str], lang: str, undo: str
) -> None:
    csrf = sign_in(client)
    html = client.get(f"/pins?lang={lang}").text
    assert [name in html for name in ("NAME, P0", "NAME, P1", "NAME, P2")] == [False, True, True]
    for told in ("reader1", "&lt;b&gt;tumour board", "reader2", "call"):
        assert told in html
    assert html.count(undo) == 1, "another's pin is a lead's to take back"
    sent = {"csrf": csrf, "from": "pins"}
    done = client.post(f"/studies/{pinned['P1']}/unpin", data=sent, headers=OURS)
    assert done.headers["location"] == "/pins"
    assert "NAME, P1" not in client.get("/pins").text


def test_a_lead_takes_anothers_pin_back_and_says_why(
    client: httpx.Client, pinned: dict[str, str]
) -> None:
    csrf = sign_in(client, "lead")
    assert client.get("/pins").text.count('name="reason" required') == 2
    at, sent = f"/studies/{pinned['P2']}/unpin", {"csrf": csrf, "from": "pins"}
    assert client.post(at, data=sent, headers=OURS).status_code == 422
    done = client.post(at, data=sent | {"reason": "read meanwhile"}, headers=OURS)
    assert done.headers["location"] == "/pins"
    client.post(f"/studies/{pinned['P1']}/unpin", data=sent | {"reason": "x"}, headers=OURS)
    assert "Nothing is pinned." in client.get("/pins").text


def test_an_operator_sees_no_pins(client: httpx.Client) -> None:
    assert client.get("/pins", headers=as_role("ops")).status_code == 403


@pytest.mark.needs("chromium")
def test_the_pins_are_reached_taken_back_and_heard_of_by_keyboard_alone(
    opened: Opened, client: httpx.Client, pinned: dict[str, str]
) -> None:
    screens = opened(open_demo=False)
    page = screens.sign_in("reader")
    page.keyboard.press("p")
    page.wait_for_url("**/pins")
    page.wait_for_selector('#truth[data-state="live"]')
    at = f"/api/v1/studies/{pinned['P0']}/pin"
    client.post(at, headers=as_role("lead"), json={"reason": "the chief waits"})
    page.locator(".pins", has_text="the chief waits").wait_for()
    page.get_by_role("button", name="Take the pin back").focus()
    page.keyboard.press("Enter")
    wait_for(lambda: page.locator(".pins tbody tr").count() == 2)
    assert "tumour board" not in page.locator(".pins").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("tr.study")
    assert screens.complaints == []
