"""MPPS: one fact per performed procedure step, which ends once."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from streams.dicom.door import DicomDoor
from streams.dicom.steps import Remembered
from streams.events import ExamProgressed, Number, SeriesReceived
from tests.streams.dicom.senders import send, with_meta

MPPS = "1.2.840.10008.3.1.2.3.3"
STEP = "1.9.1"
NO_LONGER, UNKNOWN, DUPLICATE, MISSING, INVALID = 0x0110, 0x0112, 0x0111, 0x0120, 0x0106


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
        self.association = ae.associate("127.0.0.1", port, ae_title="VIGIE")

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


def test_a_dose_report_is_no_image_that_is_missed(
    console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    done, page, report = completed(dicom), Dataset(), Dataset()
    report.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    report.ReferencedSOPInstanceUID = "1.2.3.5.1"
    page.SeriesInstanceUID = "1.2.3.5"
    page.ReferencedNonImageCompositeSOPInstanceSequence = [report]
    done.PerformedSeriesSequence = [*done.PerformedSeriesSequence, page]
    assert console.create(begun()) == 0
    assert console.set(done) == 0
    event = tap.until(lambda events: len(events) == 2)[1]
    assert (event.announced_instances, event.series) == (1, {"1.2.3.4": 1, "1.2.3.5": 0})


def test_a_step_that_ended_stays_so(
    console: Console, tap: Any, dicom: SimpleNamespace, door: DicomDoor
) -> None:
    assert console.create(begun()) == 0
    assert console.set(completed(dicom)) == 0
    assert console.set(completed(dicom)) == 0  # whose answer was lost: the same event again
    assert console.create(begun()) == 0  # likewise; it says nothing more
    assert console.create(begun(ScheduledProcedureStepDescription="again")) == DUPLICATE
    assert console.set(step("IN PROGRESS")) == NO_LONGER
    assert console.set(step("DISCONTINUED")) == NO_LONGER
    send(door.port, with_meta(dicom, dicom.image(1)))
    _, done, again, images = tap.until(lambda events: len(events) == 4)
    assert again.event_id == done.event_id
    assert isinstance(images, SeriesReceived)


def test_a_beginning_whose_event_was_not_confirmed_is_taken_when_it_comes_again(
    console: Console, tap: Any
) -> None:
    for _ in range(2):
        assert console.create(begun()) == 0
    first, again = tap.until(lambda events: len(events) == 2)
    assert first.event_id == again.event_id


def test_a_second_beginning_with_other_words_begins_nothing(
    console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    assert console.create(begun()) == 0
    assert console.create(begun(ScheduledProcedureStepDescription="again")) == DUPLICATE
    assert console.set(completed(dicom)) == 0
    _, done = tap.until(lambda events: len(events) == 2)
    assert done.status == "completed"


def test_two_steps_of_one_study_are_told_apart(
    console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    for uid in ("1.9.1", "1.9.2"):
        assert console.create(begun(), uid) == 0
    events = tap.until(lambda events: len(events) == 2)
    names = [{n.value for n in event.numbers if n.kind == "step"} for event in events]
    assert names == [{"1.9.1"}, {"1.9.2"}]


def test_a_step_of_two_studies_says_of_each_its_own_numbers(
    console: Console, tap: Any, dicom: SimpleNamespace
) -> None:
    requests = [
        scheduled(StudyInstanceUID="1.2.3", AccessionNumber="A1"),
        scheduled(StudyInstanceUID="1.2.4", AccessionNumber="A2"),
        scheduled(StudyInstanceUID="1.2.3", AccessionNumber="A3"),
    ]
    what = begun()
    what.ScheduledStepAttributesSequence = requests
    assert console.create(what) == 0
    assert console.set(completed(dicom)) == 0
    events = tap.until(lambda events: len(events) == 4)
    named = sorted(sorted(n.value for n in e.numbers if n.kind != "step") for e in events)
    assert named == [["1.2.3", "A1", "A3"]] * 2 + [["1.2.4", "A2"]] * 2
    assert len({event.event_id for event in events}) == 4
    assert sorted(len(event.series) for event in events) == [0, 0, 1, 1]


def test_a_request_without_a_study_is_the_only_study_s(console: Console, tap: Any) -> None:
    what = begun()
    bare = scheduled(AccessionNumber="A2")
    del bare.StudyInstanceUID
    what.ScheduledStepAttributesSequence = [scheduled(), bare]
    assert console.create(what) == 0
    (event,) = tap.until(lambda events: len(events) == 1)
    assert {n.value for n in event.numbers} == {"1.2.3", "A1", "A2", STEP}


def test_a_note_of_an_earlier_release_is_still_read() -> None:
    numbers = [{"kind": "study", "authority": "", "value": "1.2.3"}]
    note = {"numbers": numbers, "sender": "ct", "site": "", "patient": None, "identity": None}
    assert [n.value for part in Remembered(**note).parts for n in part] == ["1.2.3"]


def test_a_step_that_names_no_study_is_refused(console: Console) -> None:
    assert console.create(step("IN PROGRESS", PatientID="P1")) == MISSING
    assert console.create(step("")) == MISSING
    assert console.create(None) == MISSING


def test_a_step_without_a_state_or_in_an_unknown_one_is_refused(console: Console) -> None:
    without, unknown = begun(), begun()
    del without.PerformedProcedureStepStatus
    unknown.PerformedProcedureStepStatus = "ALMOST"
    assert console.create(without) == MISSING
    assert console.create(unknown) == INVALID


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


def test_a_step_without_a_uid_is_given_one(console: Console, tap: Any) -> None:
    """As a console sends it that leaves it to the worklist's side."""
    answers: list[str] = []
    console.association.bind(
        evt.EVT_DIMSE_RECV,
        lambda event: answers.append(event.message.command_set.AffectedSOPInstanceUID),
    )
    assert console.association.send_n_create(begun(), MPPS)[0].Status == 0
    given = str(answers[0])
    assert given.startswith("2.25.")
    assert console.set(step("DISCONTINUED"), given) == 0
    began, ended = tap.until(lambda events: len(events) == 2)
    steps = [[n.value for n in event.numbers if n.kind == "step"] for event in (began, ended)]
    assert steps == [[given], [given]]
    assert ended.status == "discontinued"


class TestNotices:
    """Instance Availability Notification."""

    CLASS = "1.2.840.10008.5.1.4.33"

    @staticmethod
    def notice(*availabilities: str, sop_class: str = "1.2.840.10008.5.1.4.1.1.2") -> Dataset:
        series, ds = Dataset(), Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.3.4", []
        for number, availability in enumerate(availabilities):
            item = Dataset()
            item.ReferencedSOPClassUID = sop_class
            item.ReferencedSOPInstanceUID = f"1.2.3.4.{number}"
            item.InstanceAvailability, item.RetrieveAETitle = availability, "PACS"
            series.ReferencedSOPSequence.append(item)
        ds.ReferencedPerformedProcedureStepSequence = []
        ds.StudyInstanceUID, ds.ReferencedSeriesSequence = "1.2.3", [series]
        return ds

    def tell(self, port: int, what: Dataset, uid: str = "1.9.7") -> int:
        ae = AE(ae_title="PACS")
        ae.add_requested_context(self.CLASS)
        association = ae.associate("127.0.0.1", port, ae_title="VIGIE")
        status = int(association.send_n_create(what, self.CLASS, uid)[0].Status)
        association.release()
        return status

    def test_an_archive_that_has_a_study_makes_it_available(
        self, door: DicomDoor, tap: Any
    ) -> None:
        assert self.tell(door.port, self.notice("ONLINE", "NEARLINE", "OFFLINE")) == 0
        (event,) = tap.until(lambda events: len(events) == 1)
        assert isinstance(event, ExamProgressed)
        assert (event.status, event.announced_instances) == ("available", 2)
        assert event.numbers == (Number(kind="study", value="1.2.3"),)

    def test_what_is_not_at_hand_is_not_available(
        self, door: DicomDoor, tap: Any, dicom: SimpleNamespace
    ) -> None:
        assert self.tell(door.port, self.notice("OFFLINE", "UNAVAILABLE")) == 0
        send(door.port, with_meta(dicom, dicom.image(1)))
        (event,) = tap.until(lambda events: len(events) == 1)
        assert isinstance(event, SeriesReceived)

    def test_reports_and_presentation_states_make_no_study_readable(
        self, door: DicomDoor, tap: Any, dicom: SimpleNamespace
    ) -> None:
        for sop_class in ("88.11", "88.59", "88.67", "11.1", "104.1", "66.4"):
            named = f"1.2.840.10008.5.1.4.1.1.{sop_class}"
            assert self.tell(door.port, self.notice("ONLINE", sop_class=named)) == 0
        send(door.port, with_meta(dicom, dicom.image(1)))
        (event,) = tap.until(lambda events: len(events) == 1)
        assert isinstance(event, SeriesReceived)

    def test_what_an_archive_says_again_after_another_word_is_a_new_word(
        self, door: DicomDoor, tap: Any
    ) -> None:
        one, two = self.notice("ONLINE"), self.notice("ONLINE", "ONLINE")
        for uid, what in (("1.9.1", one), ("1.9.2", two), ("1.9.3", one), ("1.9.3", one)):
            assert self.tell(door.port, what, uid) == 0
        ids = [event.event_id for event in tap.until(lambda events: len(events) == 4)]
        assert len(set(ids[:3])) == 3
        assert ids[2] == ids[3]  # its answer was lost

    def test_a_notice_of_no_study_is_refused(self, door: DicomDoor) -> None:
        without = self.notice("ONLINE")
        del without.StudyInstanceUID
        assert self.tell(door.port, without) == MISSING
