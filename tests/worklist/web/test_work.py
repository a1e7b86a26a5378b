"""Taking work and giving it back: one study at a time, kept from any tab, never doubled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import (
    TOKENS,
    as_role,
    bearer,
    serving,
    sign_in,
    wait_for,
    web_settings,
)

OURS = {"sec-fetch-site": "same-origin"}
READER, SECOND = as_role("reader"), bearer(TOKENS["reader"] + "-2")


def ward(make: Make, count: int) -> list[Any]:
    return [make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(count)]


def rows(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/v1/worklist", headers=READER).json()["items"]
    return found


def expire(engine: Engine, ago: str = "2 minutes") -> None:
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE lease SET expires_at = clock_timestamp() - interval '{ago}'")
        )


def test_next_opens_what_the_reader_still_has_before_it_gives_another(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 3))
    csrf = sign_in(client)

    def press() -> str:
        return str(client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"])

    first = press()
    assert press() == f"{first}?held=1", "a second press is no second study"
    assert "You still have this study" in client.get(f"{first}?held=1").text
    assert [row["claimed_by"] for row in rows(client)] == ["reader1", None, None]


def test_three_presses_of_next_at_one_moment_claim_one_study(
    database_url: str, tmp_path: Path, ring: KeyRing, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 4))
    with serving(web_settings(database_url, tmp_path, ring)) as (_, client):
        csrf = sign_in(client)

        def press(_: int) -> str:
            answer = client.post("/next", data={"csrf": csrf}, headers=OURS)
            return str(answer.headers["location"]).partition("?")[0]

        with ThreadPoolExecutor(3) as hands:
            opened = set(hands.map(press, range(3)))
        assert len(opened) == 1
        assert sum(row["claimed_by"] == "reader1" for row in rows(client)) == 1


def test_finish_and_next_goes_on_with_what_the_reader_still_has(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 3))
    csrf = sign_in(client)
    one, other, third = (row["study"] for row in rows(client))
    for study in (one, other):
        client.post(f"/studies/{study}/claim", data={"csrf": csrf}, headers=OURS)
    done = client.post(f"/studies/{one}/finish-next", data={"csrf": csrf}, headers=OURS)
    assert done.headers["location"] == f"/studies/{other}?finished={one}&held=1"
    assert f'action="/studies/{one}/undo"' in client.get(done.headers["location"]).text
    assert {row["study"]: row["claimed_by"] for row in rows(client)} == {
        other: "reader1",
        third: None,
    }


def test_finish_and_next_is_one_press_and_the_next_page_offers_the_undo(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 2))
    csrf = sign_in(client)
    first = client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"]
    done = client.post(f"{first}/finish-next", data={"csrf": csrf}, headers=OURS)
    second = done.headers["location"]
    assert second.startswith("/studies/")
    study = first.rpartition("/")[2]
    assert second.endswith(f"?finished={study}")
    html = client.get(second).text
    assert f'action="/studies/{study}/undo"' in html
    at = second.partition("?")[0]
    last = client.post(f"{at}/finish-next", data={"csrf": csrf}, headers=OURS).headers["location"]
    assert last == f"/?note=nothing_next&finished={at.rpartition('/')[2]}"
    assert "No free study" in client.get(last).text or "Nothing" in client.get(last).text


def test_a_claim_lives_as_long_as_any_tab_asks_and_revives_if_nobody_took_it(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 2))
    mine = [client.post("/api/v1/next", headers=READER).json()["study"] for _ in range(2)]
    expire(engine)
    assert client.post(f"/api/v1/studies/{mine[1]}/claim", headers=SECOND).is_success
    kept = client.post("/api/v1/renew", headers=READER).json()["leases"]
    assert list(kept) == mine[:1], "what another took since is another's"
    assert rows(client)[0]["claimed_by"] == "reader1"
    expire(engine, "2 hours")
    assert client.post("/api/v1/renew", headers=READER).json()["leases"] == {}


def test_a_study_that_another_had_open_until_a_moment_ago_says_so_and_asks(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 1))
    study = client.post("/api/v1/next", headers=SECOND).json()["study"]
    expire(engine, "5 seconds")
    assert client.post("/api/v1/next", headers=READER).status_code == 404
    refused = client.post(f"/api/v1/studies/{study}/claim", headers=READER)
    assert (refused.status_code, refused.json()["code"]) == (409, "just_opened")
    assert refused.json()["detail"].startswith("reader2 had this study open until a moment ago.")
    csrf = sign_in(client)
    assert "opened by reader2, &lt; 1 min ago" in client.get("/").text
    html = client.get(f"/studies/{study}").text
    assert "reader2 had this study open until a moment ago and may still be reading it." in html
    assert "Claim all the same" in html
    sure = {"csrf": csrf, "sure": "1"}
    taken = client.post(f"/studies/{study}/claim", data=sure, headers=OURS)
    assert taken.headers["location"] == f"/studies/{study}?before=1"
    assert rows(client)[0]["claimed_by"] == "reader1"


def test_what_was_skipped_stays_skipped_after_a_restart_and_three_readers_alarm(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 2))
    with serving(web_settings(database_url, tmp_path, ring)) as (_, client):
        first, second = (row["study"] for row in rows(client))
        skip = f"/api/v1/studies/{first}/skip"
        assert client.post(skip, headers=READER).status_code == 422, "a reason is needed"
        for who in (READER, SECOND, as_role("lead")):
            assert client.post(skip, headers=who, json={"reason": "priors"}).is_success
    with serving(web_settings(database_url, tmp_path, ring)) as (_, client):
        assert [row["study"] for row in rows(client)] == [first, second], "it hides nothing"
        assert client.post("/api/v1/next", headers=READER).json()["study"] == second
        wait_for(lambda: "vigie_worklist_skipped_often 1.0" in client.get("/metrics").text)
        sign_in(client, "lead")
        assert "1 studies were passed by by three readers" in client.get("/").text
        client.cookies.clear()
        sign_in(client)
        assert "passed by by three" not in client.get("/").text


def test_my_studies_are_what_i_have_and_finished_today(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 3))
    csrf = sign_in(client)
    first = client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"]
    client.post(f"{first}/finish-next", data={"csrf": csrf}, headers=OURS)
    client.post("/api/v1/next", headers=SECOND)
    html = client.get("/mine").text
    have, done = html.index("I have"), html.index("Finished today")
    assert have < html.index("NAME, P1") < done < html.index("NAME, P0")
    assert "read by reader1" in html
    assert "NAME, P2" not in html


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_preliminary_report_stands_under_to_validate_and_not_among_the_unread(
    client: httpx.Client, make: Make, feed: Feed, lang: str
) -> None:
    feed(make.order(), make.series(accession="A1"), make.report(status="preliminary"))
    sign_in(client)
    html = client.get(f"/?lang={lang}").text
    assert "NAME, P1" not in html
    assert '<b id="to-validate">1</b>' in html
    assert '<b id="unread">0</b>' in html
    assert "NAME, P1" in client.get("/?state=preliminary").text
    assert [row["state"] for row in rows(client)] == ["preliminary"], "the API lists all of it"


def skip(client: httpx.Client, csrf: str, study: str) -> httpx.Response:
    sent = {"csrf": csrf, "reason": "priors are missing"}
    return client.post(f"/studies/{study}/skip", data=sent, headers=OURS)


def test_a_study_that_next_gave_can_be_passed_by_and_next_gives_another(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 2))
    csrf = sign_in(client)
    first, second = (row["study"] for row in rows(client))
    at = client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"]
    assert at == f"/studies/{first}"
    assert f'action="/studies/{first}/skip"' in client.get(at).text, "offered on what one has"
    assert skip(client, csrf, first).headers["location"] == "/"
    assert [row["claimed_by"] for row in rows(client)] == [None, None]
    at = client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"]
    assert at == f"/studies/{second}"
    assert client.post("/api/v1/next", headers=SECOND).json()["study"] == first, "others get it"
    assert skip(client, csrf, first).headers["location"] == "/"
    assert rows(client)[0]["claimed_by"] == "reader2", "whose it is stays theirs"


def test_a_skip_that_was_undone_is_none(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(*ward(make, 2))
    csrf = sign_in(client)
    first = rows(client)[0]["study"]
    skip(client, csrf, first)
    undone = client.post(f"/studies/{first}/undo", data={"csrf": csrf}, headers=OURS)
    assert undone.is_redirect
    at = client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"]
    assert at == f"/studies/{first}"


def test_who_asks_for_a_study_is_told_on_its_holders_list(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*ward(make, 2))
    csrf = sign_in(client)
    at = client.post("/next", data={"csrf": csrf}, headers=OURS).headers["location"]
    asked = client.post(
        f"/api/v1{at}/take-over", headers=SECOND, json={"reason": "I know the <b>patient</b>"}
    )
    assert asked.json()["code"] == "asked"
    told = "reader2 asks for this study: I know the &lt;b&gt;patient&lt;/b&gt;"
    assert told in client.get("/").text
    assert told in client.get("/mine").text
