"""Promises 2, 3, 4 and 7 as programs and browsers see them: whatever messages come and readers do,
in any order, the list that web's own routes give keeps them after each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make, empty
from tests.worklist.web_client import TOKENS, as_role, bearer
from worklist.order.policy import Policy
from worklist.sql.queue import OPEN_STATES

CHECKS = settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.generate,),  # a failure names its steps; to shrink them takes minutes
    derandomize=True,  # the same cases in each run: more of them are tried by hand
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
)
READERS = {
    "reader1": as_role("reader"),
    "reader2": bearer(TOKENS["reader"] + "-2"),
    "lead1": as_role("lead"),
}
WHO, PATIENT = st.sampled_from(list(READERS)), st.integers(0, 4)
RANKED = (1, 2)  # lanes in which the due date decides alone


class ListMachine(RuleBasedStateMachine):
    """One patient, one order, one study each; what is expected of each is kept beside."""

    client: httpx.Client
    engine: Engine
    make: Make
    feed: Feed
    policy: Policy

    def __init__(self) -> None:
        super().__init__()
        empty(self.engine, self.policy)
        self.minute = 0.0
        self.series: dict[int, list[Any]] = {}
        self.done: set[int] = set()  # read or reported since its last image
        self.flagged: set[int] = set()
        self.holder: dict[int, tuple[str, str]] = {}  # who had it last, with which token
        self.held: set[int] = set()
        self.skipped: set[tuple[str, int]] = set()

        for patient in range(5):
            if patient % 2:
                self.order(patient, "routine")
            self.images(patient, 1.0)
        self.seen = self.rows()

    # What is asked.

    def rows(self) -> dict[int, dict[str, Any]]:
        """All rows, by patient, in reading order; no patient twice."""
        answer = self.client.get("/api/v1/worklist?limit=1000&state=all", headers=READERS["lead1"])
        found = [(int(row["patient_id"][1:]), row) for row in answer.json()["items"]]
        assert len(dict(found)) == len(found), "promise 2: once"
        self.seen = dict(found)
        return self.seen

    def open(self) -> dict[int, dict[str, Any]]:
        """The open ones, as seen last."""
        return {n: row for n, row in self.seen.items() if row["state"] in OPEN_STATES}

    def do(self, who: str, patient: int, act: str, **body: Any) -> httpx.Response:
        """One act of a person, which touches no other patient's row (promise 7)."""
        before = self.seen
        study = before[patient]["study"]
        answer = self.client.post(f"/api/v1/studies/{study}/{act}", headers=READERS[who], json=body)
        assert answer.status_code in (200, 204, 409, 403), answer.text
        after = self.rows()
        assert {n: row for n, row in before.items() if n != patient} == {
            n: row for n, row in after.items() if n != patient
        }
        return answer

    def later(self, gap: float) -> float:
        self.minute += gap
        return self.minute

    # What arrives.

    @rule(patient=PATIENT, priority=st.sampled_from(["stat", "urgent", "routine"]))
    def order(self, patient: int, priority: str) -> None:
        at = self.later(1)
        more = {"also": f"f{patient}", "priority": priority, "at": at}
        self.feed(self.make.order(f"A{patient}", patient=f"P{patient}", **more))

    @rule(patient=PATIENT, gap=st.sampled_from([1.0, 30.0, 9_000.0]))
    def images(self, patient: int, gap: float) -> None:
        """Of a new series: what was read comes back."""
        known = self.series.setdefault(patient, [])
        one = self.make.series(
            f"1.{patient}",
            patient=f"P{patient}",
            accession=f"A{patient}",
            series=str(len(known) + 1),
            n=len(known) + 1,
            at=self.later(gap),
        )
        known.append(one)
        self.feed(one)
        self.done.discard(patient)

    @rule(data=st.data(), flagged=st.booleans())
    def finding(self, data: st.DataObject, flagged: bool) -> None:
        """Promise 3: a flag moves up, anything else moves nothing."""
        patient = data.draw(st.sampled_from(sorted(self.series)))
        before = self.seen[patient]
        one = data.draw(st.sampled_from(self.series[patient]))
        self.feed(self.make.finding(of=one, flagged=flagged, at=self.later(1)))
        after = self.rows()[patient]
        if flagged and before["ai"] != "withdrawn":
            self.flagged.add(patient)
        if before["state"] == "readable" == after["state"]:
            assert after["key"] <= before["key"]
            assert flagged or after["key"] == before["key"]

    @rule(patient=PATIENT, status=st.sampled_from(["preliminary", "final"]))
    def report(self, patient: int, status: str) -> None:
        self.feed(self.make.report(f"A{patient}", status, patient=f"P{patient}", at=self.later(1)))
        if status == "final":
            self.done.add(patient)

    @rule(patient=PATIENT)
    def cancelled(self, patient: int) -> None:
        """By the RIS: where images exist it stays."""
        more = {"also": f"f{patient}", "status": "cancelled", "at": self.later(1)}
        self.feed(self.make.order(f"A{patient}", patient=f"P{patient}", **more))
        if patient not in self.series:
            self.done.add(patient)

    # What persons do.

    @rule(who=WHO)
    def next(self, who: str) -> None:
        """The first that is free, of the server's order; what was skipped comes after the rest."""
        free = [n for n, row in self.seen.items() if row["state"] == "readable"]
        free = [n for n in free if not self.seen[n]["claimed_by"]]
        free.sort(key=lambda n: (who, n) in self.skipped)
        answer = self.client.post("/api/v1/next", headers=READERS[who])
        if not free:
            assert answer.status_code == 404
            return
        got = answer.json()
        assert got["row"]["patient_id"] == f"P{free[0]}"
        self._has(who, free[0], got)

    def _has(self, who: str, patient: int, got: dict[str, Any]) -> None:
        self.holder[patient] = (who, got["lease"]["token"])
        self.held.add(patient)

    @rule(data=st.data(), who=WHO)
    def claim(self, data: st.DataObject, who: str) -> None:
        patient = data.draw(st.sampled_from(sorted(self.seen)))
        row = self.seen[patient]
        free = row["state"] in ("readable", "preliminary") and row["claimed_by"] in (None, who)
        answer = self.do(who, patient, "claim")
        assert (answer.status_code == 200) == free, answer.text
        if free:
            self._has(who, patient, answer.json())
        elif row["claimed_by"] and patient in self.open():
            assert row["claimed_by"] in answer.json()["detail"], "it names the holder"

    @precondition(lambda self: self.holder)
    @rule(data=st.data(), who=WHO, act=st.sampled_from(["finish", "finish", "release"]))
    def give_back(self, data: st.DataObject, who: str, act: str) -> None:
        """Only by its holder's token; and nobody finishes in another's name."""
        patient = data.draw(st.sampled_from(sorted(self.holder)))
        reader, token = self.holder[patient]
        there = patient in self.open()
        answer = self.do(who, patient, act, token=token)
        assert answer.is_success == (there and (reader == who or act == "release")), answer.text
        if answer.is_success:
            self.held.discard(patient)
            del self.holder[patient]
            if act == "finish" and not answer.json()["open"]:
                self.done.add(patient)

    @rule()
    def browsers_are_lost(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                text("UPDATE lease SET expires_at = clock_timestamp() - interval '10 minutes'")
            )
        self.held.clear()

    @rule(data=st.data(), act=st.sampled_from(["pin", "unpin", "clear-flag", "reopen", "skip"]))
    def acts(self, data: st.DataObject, act: str) -> None:
        patient = data.draw(st.sampled_from(sorted(self.seen)))
        answer = self.do("lead1", patient, act, reason="because")
        if answer.status_code != 200:
            return
        if act == "clear-flag":
            self.flagged.discard(patient)
        if act == "skip":
            self.skipped.add(("lead1", patient))
        if act == "reopen":
            self.done.discard(patient)

    # What is always so.

    @invariant()
    def holds(self) -> None:
        self.rows()
        self.promise_2_every_study_is_listed_until_it_is_read_or_reported()
        self.promise_3_a_flag_stays_until_a_person_withdraws_it()
        self.promise_4_nobody_is_overtaken_by_what_began_after_the_bound_that_the_row_shows()
        self.promise_7_each_study_is_its_only_readers()

    def promise_2_every_study_is_listed_until_it_is_read_or_reported(self) -> None:
        left = set(self.series) - set(self.open())
        assert left <= self.done
        assert set(self.series) <= set(self.seen)

    def promise_3_a_flag_stays_until_a_person_withdraws_it(self) -> None:
        told = {n: row["ai"] for n, row in self.open().items() if n in self.flagged}
        assert set(told.values()) <= {"flagged"}

    def promise_4_nobody_is_overtaken_by_what_began_after_the_bound_that_the_row_shows(
        self,
    ) -> None:
        listed = [row for row in self.open().values() if row["lane"] in RANKED]
        assert [row["key"] for row in listed] == sorted(row["key"] for row in listed)
        for at, row in enumerate(listed):
            bound = row["overtaken_until"]
            before = (one for one in listed[:at] if one["lane"] == row["lane"])
            assert all(one["clock_at"] <= bound for one in before if bound)

    def promise_7_each_study_is_its_only_readers(self) -> None:
        for patient, row in self.open().items():
            expected = self.holder[patient][0] if patient in self.held else None
            assert row["claimed_by"] == expected


@pytest.mark.slow
def test_promises_2_3_4_and_7_hold_by_webs_own_routes_whatever_comes_and_whoever_acts(
    client: httpx.Client, engine: Engine, make: Make, feed: Feed, policy: Policy
) -> None:
    told = {"client": client, "engine": engine, "make": make, "policy": policy}
    told["feed"] = staticmethod(feed)
    machine: Callable[[], RuleBasedStateMachine] = type("Machine", (ListMachine,), told)
    run_state_machine_as_test(machine, settings=CHECKS)
