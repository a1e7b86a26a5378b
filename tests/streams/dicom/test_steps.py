"""MPPS: one fact per performed procedure step, which ends once."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from streams.dicom.door import DicomDoor
from streams.events import ExamProgressed, Number
from tests.streams.dicom.senders import send, with_meta

MPPS = "1.2.840.10008.3.1.2.3.3"
STEP = "1.9.1"
NO_LONGER, FAILED, UNKNOWN = 0x0110, 0x0110, 0x0112


def step(status: str, **more: Any) -> Dataset:
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def scheduled(**more: Any) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.AccessionNumber = "1.2.3", "A1"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def begun(**more: Any) -> Dataset:
    return step(
        "IN PROGRESS",
        ScheduledStepAttributesSequence=[scheduled(**more)],
        PatientID="P1",
        PatientName="X^Y",
        PerformedProcedureStepStartDate="20260314",
        PerformedProcedureStepStartTime="100000",
    )


def completed(dicom: SimpleNamespace) -> Dataset:
    performed, reference = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = dicom.CT, "1.2.3.4.1"
    performed.SeriesInstanceUID, performed.ReferencedImageSequence = "1.2.3.4", [reference]
    return step(
        "COMPLETED",
        PerformedSeriesSequence=[performed],
        PerformedProcedureStepEndDate="20260314",
        PerformedProcedureStepEndTime="101500",
    )


class Console:
    """A modality's console: one association for its steps."""

    def __init__(self, port: int) -> None:
        ae = AE()
        ae.add_requested_context(MPPS)
        self.association = ae.associate("127.0.0.1", port)

    def create(self, what: Dataset | None, uid: str = STEP) -> int:
        return int(self.association.send_n_create(what, MPPS, uid)[0].Status)

    def set(self, what: Dataset, uid: str = STEP) -> int:
        return int(self.association.send_n_set(what, MPPS, uid)[0].Status)


@pytest.fixture
def console(door: DicomDoor) -> Iterator[Console]:
    console = Console(door.port)
    yield console
    console.association.release()


def test_a_step_begins_and_ends(
    door: DicomDoor, console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    assert console.create(begun()) == 0
    assert console.set(completed(dicom)) == 0
    assert console.set(completed(dicom), "1.9.2") == UNKNOWN
    began, done = tap.until(lambda events: len(events) == 2)
    assert isinstance(began, ExamProgressed)
    assert isinstance(done, ExamProgressed)
    assert (began.status, done.status, done.announced_instances) == ("in_progress", "completed", 1)
    assert done.numbers == (
        Number(kind="study", value="1.2.3"),
        Number(kind="accession", authority="RIS1", value="A1"),
        Number(kind="step", value=STEP),
    )
    assert done.patient == began.patient is not None
    send(door.port, with_meta(dicom, dicom.image(1)))
    event = tap.until(lambda events: len(events) == 3)[-1]
    assert (len(event.names()), event.announced) == (1, 1)
    assert len(set(tap.keys)) == 1


def test_a_step_that_ended_stays_so(console: Console, tap: Any, dicom: SimpleNamespace) -> None:
    assert console.create(begun()) == 0
    assert console.set(completed(dicom)) == 0
    assert console.set(completed(dicom)) == 0  # whose answer was lost: the same event again
    assert console.create(begun()) == 0
    assert console.set(step("IN PROGRESS")) == NO_LONGER
    assert console.set(step("DISCONTINUED")) == NO_LONGER
    began, done, again, late = tap.until(lambda events: len(events) == 4)
    assert again.event_id == done.event_id
    assert late.event_id == began.event_id
    assert done.version_key() > late.version_key()  # by the step's own times, not by the receipt


def test_a_second_beginning_with_other_words_is_older_than_the_end(
    console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    assert console.create(begun()) == 0
    assert console.set(completed(dicom)) == 0
    assert console.create(begun(ScheduledProcedureStepDescription="again")) == 0
    assert console.set(step("IN PROGRESS")) == NO_LONGER
    _, done, other = tap.until(lambda events: len(events) == 3)
    assert done.version_key() > other.version_key()


def test_two_steps_of_one_study_are_told_apart(
    console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    for uid in ("1.9.1", "1.9.2"):
        assert console.create(begun(), uid) == 0
    events = tap.until(lambda events: len(events) == 2)
    names = [{n.value for n in event.numbers if n.kind == "step"} for event in events]
    assert names == [{"1.9.1"}, {"1.9.2"}]


def test_a_step_that_names_no_study_is_refused(console: Console) -> None:
    assert console.create(step("IN PROGRESS", PatientID="P1")) == FAILED
    assert console.create(step("")) == FAILED
    assert console.create(None) == FAILED


def test_a_step_with_an_accession_alone_is_taken(console: Console, tap: Any) -> None:
    assert console.create(begun(StudyInstanceUID="")) == 0
    (event,) = tap.until(lambda events: len(events) == 1)
    assert {number.kind for number in event.numbers} == {"accession", "step"}


def test_a_step_s_accession_has_the_authority_that_it_states(console: Console, tap: Any) -> None:
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "CHU"
    assert console.create(begun(IssuerOfAccessionNumberSequence=[issuer])) == 0
    (event,) = tap.until(lambda events: len(events) == 1)
    assert [n.authority for n in event.numbers if n.kind == "accession"] == ["HOSP"]
