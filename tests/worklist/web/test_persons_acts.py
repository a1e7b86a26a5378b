"""What persons do by API: who may, with and without a reason; whom a refusal names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.worklist.conftest import T0, Feed, Make
from tests.worklist.web_client import TOKENS, as_role, bearer

READER, LEAD = as_role("reader"), as_role("lead")
SECOND = bearer(TOKENS["reader"] + "-2")
DONE, NO_REASON, FORBIDDEN = 200, 422, 403


class Ward:
    """Studies in the state that an act needs, each of a patient of its own."""

    def __init__(self, client: httpx.Client, make: Make, feed: Feed) -> None:
        self._client, self._make, self._feed = client, make, feed
        self._patients = 0

    def post(self, headers: dict[str, str], study: str, path: str, **body: Any) -> httpx.Response:
        return self._client.post(f"/api/v1/studies/{study}/{path}", headers=headers, json=body)

    def find(self, **query: str) -> list[dict[str, Any]]:
        answer = self._client.get(
            "/api/v1/worklist", headers=READER, params=query | {"state": "all"}
        )
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def study(self, kind: str = "readable", **more: Any) -> str:
        """A new study; returns its id."""
        make, self._patients = self._make, self._patients + 1
        n, said = self._patients, {}
        uid, accession, patient = f"1.9.{n}", f"W{n}", f"P{n}"
        if kind == "historic":
            said = {"kind": "archive", "acquired_at": T0 - timedelta(days=900)}
        else:
            self._feed(make.order(accession, patient=patient, **more))
        self._feed(
            make.series(
                uid,
                patient="P9999" if kind == "borrowing" else patient,
                accession=None if kind == "historic" else accession,
                **said,
            )
        )
        if kind == "flagged":
            self._feed(make.finding(uid))
        if kind == "cancelled":
            self._feed(make.order(accession, patient=patient, at=30, status="cancelled", **more))
        (row,) = self.find(study_uid=uid)
        return str(row["study"])

    def claim(self, headers: dict[str, str], study: str) -> str:
        return str(self.post(headers, study, "claim").json()["lease"]["token"])


@pytest.fixture
def ward(client: httpx.Client, make: Make, feed: Feed) -> Ward:
    return Ward(client, make, feed)


def own(ward: Ward, me: dict[str, str], act: str) -> tuple[str, dict[str, Any]]:
    """A study on which this act makes sense, all that is somebody's being mine; and the body."""
    kinds = {
        "promote": "historic",
        "clear-flag": "flagged",
        "confirm-cancel": "cancelled",
        "link": "borrowing",
        "unlink": "borrowing",
    }
    study, body = ward.study(kinds.get(act, "readable")), {}
    match act:
        case "renew" | "release" | "finish" | "hand-over":
            body["token"] = ward.claim(me, study)
            if act == "hand-over":
                body["to"] = "reader2"
        case "take-over":
            ward.claim(SECOND, study)
        case "reopen":
            ward.post(me, study, "finish", token=ward.claim(me, study))
        case "undo":
            ward.post(me, study, "skip", reason="priors are missing")
        case "unpin":
            assert ward.post(me, study, "pin", reason="surgeon called").status_code == DONE
        case "outcome":
            body["code"] = "referrer_called"
        case "priority":
            body["code"] = "stat"
        case "link" | "unlink":
            (number,) = next(row["borrowed"] for row in ward.find() if row["study"] == study)
            (lender,) = (r for r in ward.find(accession=number) if r["study"] != study)
            body["order"] = lender["study"]
    return study, body


NEVER, ALWAYS = (DONE, DONE), (NO_REASON, DONE)
#: act → status without a reason and with one.
OWN = {
    "claim": NEVER,
    "renew": NEVER,
    "release": (204, 204),
    "finish": NEVER,
    "hand-over": (NO_REASON, 204),
    "take-over": ALWAYS,
    "undo": NEVER,
    "skip": ALWAYS,
    "outcome": NEVER,
    "promote": ALWAYS,
    "reopen": ALWAYS,
    "pin": ALWAYS,
    "unpin": NEVER,
}
LEADS = {
    "clear-flag": ALWAYS,
    "priority": ALWAYS,
    "link": ALWAYS,
    "unlink": ALWAYS,
    "confirm-cancel": ALWAYS,
}


@pytest.mark.parametrize("role", ["reader", "lead"])
def test_who_may_do_what_with_and_without_a_reason(ward: Ward, role: str) -> None:
    me = as_role(role)
    got = {}
    takes_reason = {*OWN, *LEADS} - {"claim", "renew", "finish"}
    for act in (*OWN, *LEADS):
        statuses = []
        for reason in ({}, {"reason": "surgeon called"}):
            study, body = own(ward, me, act)
            more = body | (reason if act in takes_reason else {})
            statuses.append(ward.post(me, study, act, **more).status_code)
        got[act] = tuple(statuses)
    if role == "reader":  # what somebody has, a reader asks for: its holder says yes, or a lead
        assert got["take-over"] == (NO_REASON, 409)
        got["take-over"] = ALWAYS
    expected = LEADS if role == "lead" else dict.fromkeys(LEADS, (FORBIDDEN, FORBIDDEN))
    assert got == OWN | expected


def told(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["code"], body["detail"]


def test_what_is_anothers_is_a_leads_with_a_reason_and_refusals_name_the_holder(
    ward: Ward,
) -> None:
    study = ward.study()
    token = ward.claim(SECOND, study)
    has_it = (409, "wrong_token", "reader2 has this study now.")
    assert told(ward.post(LEAD, study, "claim")) == (409, "claimed", "reader2 has this study.")
    for path in ("finish", "renew"):
        assert told(ward.post(READER, study, path, token="guess")) == has_it
    assert told(ward.post(READER, study, "release", token="guess")) == has_it
    assert told(ward.post(READER, study, "hand-over", token="x", to="lead1", reason="y")) == has_it
    assert ward.post(READER, study, "release", reason="forgotten").status_code == 400
    assert told(ward.post(LEAD, study, "release"))[:2] == (422, "reason_required")
    assert ward.post(LEAD, study, "release", reason="went home").status_code == 204
    assert told(ward.post(SECOND, study, "finish", token=token))[:2] == (409, "wrong_token")

    pinned = ward.study()
    ward.post(SECOND, pinned, "pin", reason="surgeon called")
    assert told(ward.post(READER, pinned, "unpin", reason="mine"))[:2] == (403, "not_authorised")
    assert told(ward.post(LEAD, pinned, "unpin"))[:2] == (422, "reason_required")
    assert ward.post(LEAD, pinned, "unpin", reason="operated").status_code == DONE

    done = ward.post(SECOND, study, "skip", reason="priors are missing").json()
    assert told(ward.post(READER, study, "undo", act_id=done["act_id"]))[0] == 403
    assert told(ward.post(LEAD, study, "undo", act_id=done["act_id"]))[0] == 403


def test_a_study_is_handed_over_to_a_reader_and_taken_over_with_its_token(ward: Ward) -> None:
    study = ward.study()
    token = ward.claim(READER, study)
    nobody = ward.post(READER, study, "hand-over", token=token, to="ops1", reason="night")
    assert told(nobody)[:2] == (422, "no_such_reader")
    assert (
        ward.post(READER, study, "hand-over", token=token, to="reader2", reason="night").status_code
        == 204
    )
    (row,) = ward.find()
    assert row["claimed_by"] == "reader2"
    asked = told(ward.post(READER, study, "take-over", reason="reader2 is called away"))
    assert asked == (409, "asked", "reader2 has this study, and was asked for it.")
    taken = ward.post(LEAD, study, "take-over", reason="reader2 is called away").json()
    assert ward.post(LEAD, study, "finish", token=taken["lease"]["token"]).status_code == DONE
    refused = told(ward.post(SECOND, study, "claim"))
    assert refused == (409, "finished", "This study was read by lead1.")
    assert told(ward.post(SECOND, study, "finish", token=token)) == refused


def test_claims_answer_with_siblings_and_lease_them_when_asked(
    client: httpx.Client, ward: Ward, make: Make, feed: Feed
) -> None:
    feed(make.order("A1"), *(make.series(uid, accession="A1") for uid in ("1.1", "1.2", "1.3")))
    one, two, three = (row["study"] for row in ward.find())
    ward.claim(SECOND, three)
    claimed = ward.post(READER, one, "claim").json()
    assert {s["study"]: (s["claimed_by"], s["lease"]) for s in claimed["siblings"]} == {
        two: (None, None),
        three: ("reader2", None),
    }
    ward.post(READER, one, "release", token=claimed["lease"]["token"])
    claimed = client.post("/api/v1/next", headers=READER, json={"siblings": True}).json()
    siblings = {s["study"]: s for s in claimed["siblings"]}
    assert claimed["study"] == one
    assert siblings[three]["lease"] is None
    lease = siblings[two]["lease"]["token"]
    assert ward.post(READER, two, "finish", token=lease).status_code == DONE
    assert ward.post(READER, one, "finish", token=claimed["lease"]["token"]).status_code == DONE


def test_what_is_read_elsewhere_is_passed_over_and_claimed_when_sure(
    client: httpx.Client, make: Make, feed: Feed, ward: Ward
) -> None:
    study = ward.study()
    now = datetime.now(UTC)
    feed(make.order("W1", bare=True, reading=True, sender="PACS", received_at=now))
    assert ward.find()[0]["in_reading"] == "PACS"
    assert client.post("/api/v1/next", headers=READER).status_code == 404
    refused = ward.post(READER, study, "claim")
    assert told(refused) == (409, "in_reading", "PACS says that it is being read.")
    assert ward.post(READER, study, "claim", sure=True).status_code == DONE


def test_an_undone_finish_is_its_readers_again_until_ten_seconds_are_over(
    client: httpx.Client, engine: Engine, ward: Ward
) -> None:
    study = ward.study()
    done = ward.post(READER, study, "finish", token=ward.claim(READER, study)).json()
    back = ward.post(READER, study, "undo", act_id=done["act_id"]).json()
    assert (back["study"], back["open"]) == (study, True)
    (row,) = ward.find()
    assert (row["claimed_by"], row["finished_by"], row["marks"]) == ("reader1", "", [])
    assert client.post("/api/v1/next", headers=SECOND).status_code == 404
    again = ward.post(READER, study, "finish", token=back["lease"]["token"])
    assert again.status_code == DONE
    undone = ward.post(READER, study, "undo", act_id=done["act_id"])
    assert told(undone)[:2] == (409, "nothing_to_undo"), "it is undone already"
    pinned = ward.study()
    ward.post(READER, pinned, "pin", reason="surgeon called")
    assert ward.post(READER, pinned, "undo").json()["lease"] is None


def test_a_finish_covers_what_its_reader_was_shown_and_no_more(
    client: httpx.Client, ward: Ward, make: Make, feed: Feed
) -> None:
    study = ward.study()
    token = ward.claim(READER, study)
    shown = client.get(f"/api/v1/studies/{study}", headers=READER).json()
    late = make.series("1.9.1", n=2, at=20, patient="P1", accession="W1", series="2")
    feed(late)
    seen = [*shown["fragments"], *shown["reports"]]
    back = ward.post(READER, study, "finish", token=token, seen=seen).json()
    assert back["open"]
    (row,) = ward.find()
    assert (row["state"], row["marks"]) == ("readable", ["new_since_read"])
    assert row["clock_at"] == late.received_at.isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )
    shown = client.get(f"/api/v1/studies/{study}", headers=READER).json()
    seen = [*shown["fragments"], *shown["reports"]]
    token = ward.claim(READER, study)
    assert not ward.post(READER, study, "finish", token=token, seen=seen).json()["open"]


def test_a_row_answers_to_each_of_its_members_names(
    client: httpx.Client, ward: Ward, make: Make, feed: Feed
) -> None:
    feed(make.series("1.1", accession="A1", at=10))
    old = ward.find()[0]["study"]
    feed(make.order("A1", at=0))
    (row,) = ward.find()
    assert row["study"] != old, "it is shown under its earliest member"
    assert client.get(f"/api/v1/studies/{old}", headers=READER).json()["study"] == row["study"]
    token = ward.claim(READER, old)
    assert ward.post(READER, old, "finish", token=token).json()["study"] == row["study"]


@pytest.mark.parametrize("path", ["finish", "release", "renew", "hand-over"])
def test_a_token_of_other_letters_than_ours_is_a_wrong_token(
    client: httpx.Client, make: Make, feed: Feed, path: str
) -> None:
    ward = Ward(client, make, feed)
    study = ward.study()
    assert ward.post(READER, study, "claim").status_code == DONE
    more = {"to": "reader2", "reason": "end of shift"} if path == "hand-over" else {}
    answer = ward.post(READER, study, path, token="clé\u202e", **more)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_token")


@pytest.mark.parametrize("reason", ["", "  ", "\u200b\u200b", "\u202e \u2060"])
@pytest.mark.parametrize("path", ["pin", "skip", "take-over"])
def test_a_reason_that_nobody_can_see_is_none(
    client: httpx.Client, make: Make, feed: Feed, path: str, reason: str
) -> None:
    ward = Ward(client, make, feed)
    answer = ward.post(READER, ward.study(), path, reason=reason)
    assert (answer.status_code, answer.json()["code"]) == (NO_REASON, "reason_required")
