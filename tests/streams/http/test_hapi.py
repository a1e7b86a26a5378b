"""HAPI FHIR, the client of most Java systems, talks to the door and understands what it answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.events import (
    ExamProgressed,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
)
from streams.identity.seal import KeyRing
from tests.streams.http.conftest import TOKEN
from tests.streams.java import class_path, run

pytestmark = [pytest.mark.needs("java", "javac", "mvn"), pytest.mark.slow]

#: What it prints of each answer: its status and the issues of the OperationOutcome that it read.
WELL = "information informational"
ANSWERS = {
    "capabilities": "ok 4.0.1",
    "patient": f"ok 200 {WELL}",
    "order": f"ok 201 {WELL}",
    "changed": f"ok 200 {WELL}",
    "study": f"ok 201 {WELL}",
    "report": f"ok 201 {WELL}",
    "merge": f"ok {WELL}",
    "transaction": "ok 2",
    "no accession": "422 error required no_study_key",
    "no status": "422 error invalid bad_field",
    "another type": "422 error not-supported unsupported_message",
    "to read": "405 error invalid bad_request",
    "in XML": "415 error not-supported unsupported_transfer_syntax",
    "stranger": "401 error login unknown_sender",
}


async def test_hapi_fhir_understands_each_answer(
    door: Any, broker: Any, ring: KeyRing, tmp_path: Path
) -> None:
    path = await asyncio.to_thread(class_path, Path(__file__).parent / "hapi", tmp_path)
    words = ("java", "-Dstdout.encoding=UTF-8", "-cp", path, "Send", f"{door.url}/fhir", TOKEN)
    said = await asyncio.to_thread(run, *words)
    assert dict(line.split(": ", 1) for line in said.splitlines()) == ANSWERS
    changed, order, stat, study, report, merged, *transaction = broker.events
    assert isinstance(changed, PatientChanged)
    assert ring.open_identity(changed.identity or "").name == "LEFÈVRE^Zoé"
    assert isinstance(order, OrderChanged)
    assert (order.status, stat.priority) == ("scheduled", "stat")
    assert isinstance(study, ExamProgressed)
    assert (study.status, study.announced_instances) == ("available", 3)
    assert isinstance(report, ReportReceived)
    assert report.status == "final"
    assert isinstance(merged, PatientMerged)
    assert {type(event) for event in transaction} == {PatientChanged, OrderChanged}
    assert len(transaction) == 2
