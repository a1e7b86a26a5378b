"""The API that other programs are written against, on a real server and a real PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import T0, Feed, Make
from tests.worklist.web_client import TOKENS, as_role, bearer, wait_for

ROW = {
    "study",
    "accession",
    "accessions",
    "study_uid",
    "patient_id",
    "patient_name",
    "modality",
    "description",
    "state",
    "ai",
    "ai_reason",
    "ai_unlike",
    "lane",
    "due_at",
    "target_at",
    "received_at",
    "why",
}
READER, LEAD = as_role("reader"), as_role("lead")
SECOND = bearer(TOKENS["reader"] + "-2")


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/worklist", params=query, headers=READER)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def readable(make: Make, n: int = 1, **more: Any) -> list[Any]:
    events: list[Any] = []
    for i in range(n):
        uid, accession, patient = f"1.2.{i + 1}", f"A{i}", f"P{i}"
        events += [
            make.order(accession, patient=patient, **more),
            make.exam(uid, at=12 + i, patient=patient),
        ]
        events.append(make.series(uid, accession=accession, patient=patient, at=10 + i))
    return events


def test_a_row_has_the_promised_fields_and_utc_times(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*readable(make))
    (row,) = listed(client)
    assert set(row) >= ROW
    assert row["received_at"] == "2026-03-14T08:00:00.000Z"
    assert (row["accession"], row["patient_name"], row["ai"], row["lane"]) == (
        "A0",
        "NAME^P0",
        "pending",
        2,
    )
    assert row["why"] == [{"term": "class:routine", "target_s": 86400.0, "source": "order"}]


def test_the_default_lists_what_is_open_and_all_adds_the_rest(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*readable(make), make.report("A0", patient="P0"), make.order("B", patient="PB"))
    assert [row["accession"] for row in listed(client)] == ["B"]
    assert {row["accession"] for row in listed(client, state="all")} == {"A0", "B"}
    assert [row["state"] for row in listed(client, state="final")] == ["final"]
    assert [row["accession"] for row in listed(client, accession="B")] == ["B"]
    assert listed(client, study_uid="9.9") == []


def test_a_row_that_a_reader_finished_says_read_by_whom_and_when(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*readable(make))
    claimed = client.post("/api/v1/next", headers=READER).json()
    token = {"token": claimed["lease"]["token"]}
    client.post(f"/api/v1/studies/{claimed['study']}/finish", headers=READER, json=token)
    for query in ({"state": "all"}, {"state": "read"}):
        (row,) = listed(client, **query)
        assert (row["state"], bool(row["finished_by"]), bool(row["finished_at"])) == (
            "read",
            True,
            True,
        )
    assert listed(client) == []


def test_a_lead_is_told_which_numbers_too_many_name_and_of_whom_by_pseudonym(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    images = [make.series(f"1.{n}", accession="A1", at=n) for n in range(10, 24)]
    feed(*images)
    feed(*(make.order("A2", also=f"f{n}", patient=f"P{n}", at=n) for n in range(13)))
    answer = client.get("/api/v1/shared-numbers", headers=as_role("lead"))
    number = {"kind": "accession", "authority": ""}
    assert images[0].patient is not None
    assert answer.json()["items"] == [
        number
        | {
            "value": "A1",
            "named_by": "studies",
            "count": 14,
            "patient": images[0].patient.model_dump(),
        },
        number
        | {
            "authority": "H",
            "value": "A2",
            "named_by": "patients",
            "count": 13,
            "patient": None,
        },
    ]
    assert "NAME" not in answer.text
    assert '"P1"' not in answer.text
    worst = client.get("/api/v1/shared-numbers?limit=1", headers=as_role("lead")).json()["items"]
    assert [one["value"] for one in worst] == ["A1"]
    for role in ("reader", "service", "ops"):
        assert client.get("/api/v1/shared-numbers", headers=as_role(role)).status_code == 403


def test_pages_of_the_list_are_the_list(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(*readable(make, 7))
    whole = [row["study"] for row in listed(client)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        body = client.get(
            "/api/v1/worklist",
            params={"limit": 3} | ({"cursor": cursor} if cursor else {}),
            headers=READER,
        ).json()
        seen += [row["study"] for row in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert seen == whole
    assert len(whole) == 7


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=9999",
        "state=nice",
        "cursor=x",
        "cursor=%00",
        "accession=%0d",
        "limit=';--",
    ],
)
def test_bad_queries_are_refused_without_repeating_them(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/api/v1/worklist?{query}", headers=READER)
    assert answer.status_code in (400, 422)
    assert code(answer)[1] in ("bad_request", "bad_cursor", "bad_state")
    assert "nice" not in answer.text


def test_next_gives_one_study_to_one_reader_and_404_when_nothing_is_left(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 2), make.order("B", patient="PB"))
    first = client.post("/api/v1/next", headers=READER).json()
    second = client.post("/api/v1/next", headers=SECOND).json()
    assert first["study"] != second["study"]
    assert set(first["lease"]) == {"token", "expires_at"}
    assert code(client.post("/api/v1/next", headers=LEAD)) == (404, "nothing_to_read")
    assert sorted(row["claimed_by"] or "" for row in listed(client)) == ["", "reader1", "reader2"]


def test_claim_renew_finish(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(*readable(make))
    study = listed(client)[0]["study"]
    at = f"/api/v1/studies/{study}"
    lease = client.post(f"{at}/claim", headers=READER).json()["lease"]
    assert code(client.post(f"{at}/claim", headers=SECOND)) == (409, "claimed")
    assert code(client.post(f"{at}/finish", headers=SECOND, json={"token": "guess"})) == (
        409,
        "wrong_token",
    )
    assert code(client.post(f"{at}/finish", headers=READER)) == (400, "bad_request")
    assert (
        client.post(f"{at}/renew", headers=READER, json={"token": lease["token"]}).json()[
            "expires_at"
        ]
        >= lease["expires_at"]
    )
    done = client.post(f"{at}/finish", headers=READER, json={"token": lease["token"]})
    assert done.status_code == 200
    assert done.json() == {
        "act_id": done.json()["act_id"],
        "study": study,
        "open": False,
        "late": False,
        "lease": None,
    }
    assert listed(client) == []
    assert code(client.post(f"{at}/claim", headers=READER)) == (409, "finished")


def test_release_gives_it_back(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(*readable(make))
    claimed = client.post("/api/v1/next", headers=READER).json()
    answer = client.post(
        f"/api/v1/studies/{claimed['study']}/release",
        headers=READER,
        json={"token": claimed["lease"]["token"]},
    )
    assert answer.status_code == 204
    assert client.post("/api/v1/next", headers=SECOND).json()["study"] == claimed["study"]


def test_lane_3_cannot_be_claimed_or_pinned(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(make.order())
    study = listed(client)[0]["study"]
    assert code(client.post(f"/api/v1/studies/{study}/claim", headers=READER)) == (
        409,
        "not_readable",
    )
    assert code(
        client.post(f"/api/v1/studies/{study}/pin", headers=LEAD, json={"reason": "surgeon called"})
    ) == (409, "not_readable")


def test_a_lead_pins_and_clears_a_flag_with_a_reason(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 2), make.finding("1.2.1", at=30))
    flagged, other = listed(client)
    assert (flagged["ai"], flagged["flags"][0]["name"]) == ("flagged", "haemorrhage")
    assert (
        client.post(
            f"/api/v1/studies/{other['study']}/pin", headers=LEAD, json={"reason": "surgeon called"}
        ).status_code
        == 200
    )
    first, second = listed(client)
    assert (first["study"], first["lane"], second["study"]) == (other["study"], 0, flagged["study"])
    at = f"/api/v1/studies/{flagged['study']}/clear-flag"
    assert client.post(at, headers=LEAD, json={"reason": " "}).status_code == 422
    assert client.post(at, headers=LEAD, json={}).status_code == 422
    assert client.post(at, headers=LEAD, json={"reason": "motion artefact"}).status_code == 200
    row = client.get(f"/api/v1/studies/{flagged['study']}", headers=READER).json()
    assert (row["flags"], row["ai"]) == ([], "withdrawn")
    assert (row["cleared_by"], row["cleared_reason"]) == ("lead1", "motion artefact")


def test_promise_4_a_row_says_until_when_it_can_be_overtaken_and_so_it_is(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.series("1.1", at=0), make.order("B", patient="PB"))
    waiting, expected = listed(client)
    bound = datetime.fromisoformat(waiting["overtaken_until"])
    assert expected["overtaken_until"] is None
    for uid, later in (("1.2", -1), ("1.3", 1)):
        begins = (bound - T0).total_seconds() / 60 + later
        # The factory's series is acquired, and its clock starts, five minutes before it comes.
        feed(make.series(uid, at=begins + 5, patient=f"P{uid}"), make.finding(uid, at=begins + 6))
    assert [row["study_uid"] for row in listed(client)] == ["1.2", "1.1", "1.3", ""]


def test_a_skipped_study_comes_last_to_its_reader_and_keeps_its_place(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*readable(make, 2))
    first, second = (row["study"] for row in listed(client))
    assert client.post(
        f"/api/v1/studies/{first}/skip", headers=READER, json={"reason": "priors"}
    ).is_success
    assert [row["study"] for row in listed(client)] == [first, second]
    assert client.post("/api/v1/next", headers=READER).json()["study"] == second
    assert client.post("/api/v1/next", headers=READER).json()["study"] == first


def test_what_is_not_there_is_not_found(client: httpx.Client) -> None:
    assert code(client.get("/api/v1/studies/nobody", headers=READER)) == (404, "not_found")
    assert code(client.post("/api/v1/studies/nobody/claim", headers=READER)) == (404, "not_found")
    assert code(client.get("/api/v1/nothing", headers=READER)) == (404, "not_found")
    assert code(client.get("/api/v1/studies/%00", headers=READER)) == (404, "not_found")
    assert code(client.put("/api/v1/next", headers=READER)) == (405, "method_not_allowed")


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    answer = client.post("/api/v1/studies/x/pin", headers=LEAD, json={"reason": "x" * 100_000})
    assert code(answer) == (413, "too_large")


def test_reading_and_opening_are_audited_without_a_name(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed
) -> None:
    feed(*readable(make))
    study = listed(client)[0]["study"]
    client.get(f"/api/v1/studies/{study}", headers=READER)
    with engine.connect() as connection:
        acts = connection.execute(
            text("""SELECT act, item, actor, detail::text AS detail
                    FROM audit WHERE actor = 'reader1' ORDER BY id""")
        ).all()
    assert [(row.act, row.item) for row in acts] == [("list", ""), ("open", study)]
    assert all("NAME" not in row.detail for row in acts)


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "event" in event:
            yield event
            event = {}
        else:
            event = {}


def until(
    stream: Iterator[dict[str, str]],
    kind: str,
    told: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> dict[str, str]:
    """The first event of that kind (that tells this); the stream beats for ever, we do not."""
    end = time.monotonic() + 15
    for event in stream:
        if event["event"] == kind and told(json.loads(event["data"])):
            return event
        assert time.monotonic() < end, f"{kind} never came"
    raise AssertionError("the stream ended")


def test_the_feed_tells_what_changed_and_resumes_without_a_gap(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    wait_for(lambda: client.get("/readyz").status_code == 200)
    with client.stream("GET", "/api/v1/events", headers=READER) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer.iter_lines())
        until(stream, "hello")
        feed(make.order())
        seen = until(stream, "rows")
    assert [row["accession"] for row in json.loads(seen["data"])["items"]] == ["A1"]
    feed(make.order("A2", patient="P2"))
    with client.stream(
        "GET", "/api/v1/events", headers=READER | {"last-event-id": seen["id"]}
    ) as answer:
        again = until(events(answer.iter_lines()), "rows")
    assert [row["accession"] for row in json.loads(again["data"])["items"]] == ["A2"]
    with client.stream("GET", "/api/v1/events", headers=READER | {"last-event-id": "12"}) as answer:
        assert until(events(answer.iter_lines()), "reload")["id"] != "12"
    polled = client.get("/api/v1/changes", params={"after": seen["id"]}, headers=READER).json()
    assert [row["accession"] for row in polled["frames"][0]["items"]] == ["A2"]
    assert (polled["id"], polled["reload"]) == (again["id"], False)
    unknown = client.get("/api/v1/changes", params={"after": "0a.7"}, headers=READER).json()
    assert (unknown["frames"], unknown["reload"]) == ([], True)


def test_the_feed_says_what_left_the_list(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(*readable(make))
    study = listed(client)[0]["study"]
    wait_for(lambda: client.get("/readyz").status_code == 200)
    with client.stream("GET", "/api/v1/events", headers=READER) as answer:
        stream = events(answer.iter_lines())
        until(stream, "hello")
        feed(make.report("A0", patient="P0"))
        told = until(stream, "rows", lambda data: study in data["gone"])
    data = json.loads(told["data"])
    assert study not in [row["study"] for row in data["items"]]
    assert [(one["study"], one["state"]) for one in data["closed"]] == [(study, "final")]
    assert data["counts"] == {
        "lanes": dict.fromkeys("0123", 0),
        "flagged": 0,
        "to_validate": 0,
    }
