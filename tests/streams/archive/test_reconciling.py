"""An archive that does not push is asked, and what it has is said once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from infra.embedded import free_port
from streams import metrics
from streams.archive.reconciling import Pass
from streams.errors import Reason, Unavailable
from streams.events import ExamProgressed
from streams.identity.seal import KeyRing
from tests.streams.archive.conftest import Make

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def study(uid: str = "1.2.3", count: int = 3, **more: object) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyInstanceUID, ds.AccessionNumber, ds.PatientID = uid, "A1", "P1"
    ds.PatientName, ds.NumberOfStudyRelatedInstances = "LEFÈVRE^Zoé", count
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture(scope="module")
def archive() -> Iterator[SimpleNamespace]:
    """pynetdicom's C-FIND SCP: half a second to stop, so there is one."""
    held = SimpleNamespace()

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        held.asked.append(event.identifier)
        for one in held.studies:
            yield 0xFF00, one
        yield held.status, None

    ae = AE(ae_title="PACS")
    ae.add_supported_context(FIND)
    ae.maximum_associations = 1000  # it counts those that have ended a while ago
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    held.port = server.socket.getsockname()[1]
    yield held
    server.shutdown()


@pytest.fixture
def pacs(archive: SimpleNamespace) -> SimpleNamespace:
    """An archive with the studies that a test puts in."""
    archive.studies, archive.asked, archive.status = [], [], 0x0000
    return archive


def test_a_dry_pass_counts_and_says_nothing(pacs: Any, make: Make) -> None:
    reconciler, said, _ = make(f"PACS@127.0.0.1:{pacs.port}")
    pacs.studies = [study(), study("1.2.4")]
    for _ in range(2):
        assert reconciler.once(dry=True) == Pass(found=2, missing=2, changed=2)
    assert said.values == []
    assert pacs.asked[0].StudyDate == "20260313-20260314"


def test_each_study_is_said_once_and_again_when_it_changes(
    pacs: Any, make: Make, ring: KeyRing
) -> None:
    reconciler, said, _ = make(f"PACS@127.0.0.1:{pacs.port}")
    pacs.studies = [study()]
    assert reconciler.once(dry=False).changed == 1
    assert reconciler.once(dry=False).changed == 0
    pacs.studies = [study(count=5), study("1.2.4")]
    assert reconciler.once(dry=False).changed == 2
    first, more, other = said.events
    assert isinstance(first, ExamProgressed)
    assert (first.status, first.announced_instances, more.announced_instances) == (
        "available",
        3,
        5,
    )
    assert {number.value for number in other.numbers} == {"1.2.4", "A1"}
    assert ring.open_identity(first.identity or "").name == "LEFÈVRE^Zoé"
    assert (
        make(f"PACS@127.0.0.1:{pacs.port}")[0].once(dry=False).changed == 0
    )  # also after a restart


def test_what_is_said_again_after_something_else_is_a_new_event(pacs: Any, make: Make) -> None:
    reconciler, said, _ = make(f"PACS@127.0.0.1:{pacs.port}")
    for count in (3, 5, 3, 5):  # images were put in and taken out
        pacs.studies = [study(count=count)]
        assert reconciler.once(dry=False).changed == 1
    assert len({event.event_id for event in said.events}) == 4


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"ModalitiesInStudy": "SR"}, 0),
        ({"ModalitiesInStudy": ["KO", "PR"]}, 0),
        ({"ModalitiesInStudy": ["CT", "SR"]}, 1),
        ({"ModalitiesInStudy": ""}, 1),
        ({"count": 0}, 0),
    ],
)
def test_a_study_without_an_image_is_neither_readable_nor_missing(
    pacs: Any, make: Make, more: dict[str, Any], found: int
) -> None:
    reconciler, said, _ = make(f"PACS@127.0.0.1:{pacs.port}")
    pacs.studies = [study(**more)]
    assert reconciler.once(dry=False) == Pass(found=found, missing=found, changed=found)
    assert len(said.events) == found


def test_what_has_arrived_is_not_missing(pacs: Any, make: Make) -> None:
    reconciler, _, store = make(f"PACS@127.0.0.1:{pacs.port}")
    pacs.studies = [study(), study("1.2.4")]
    store.put(store.folder("1.2.3", "1.2.3.4"), "ab" * 8, b"x", lambda _: b"m")
    assert reconciler.once(dry=True).missing == 1
    assert metrics.archive_missing._value.get() == 1


def test_an_answer_that_names_no_study_is_passed_over(pacs: Any, make: Make) -> None:
    reconciler, said, _ = make(f"PACS@127.0.0.1:{pacs.port}")
    pacs.studies = [study(""), study("1.2.4", PatientName="", NumberOfStudyRelatedInstances="")]
    assert reconciler.once(dry=False).found == 1
    assert said.events[0].announced_instances is None


def test_an_archive_that_fails_says_nothing_about_what_it_has(pacs: Any, make: Make) -> None:
    reconciler, said, _ = make(f"PACS@127.0.0.1:{pacs.port}")
    pacs.studies, pacs.status = [study()], 0xA700
    with pytest.raises(Unavailable) as error:
        reconciler.once(dry=False)
    assert error.value.reason is Reason.ARCHIVE_DOWN
    pacs.status = 0x0000
    reconciler.once(dry=False)
    assert len({event.event_id for event in said.events}) == 1
    with pytest.raises(Unavailable):
        make(f"PACS@127.0.0.1:{free_port()}")[0].once(dry=False)


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (datetime(2026, 3, 14, 22, 30, tzinfo=UTC), "20260313-20260314"),
        (datetime(2026, 3, 14, 23, 30, tzinfo=UTC), "20260314-20260315"),
    ],
)
def test_days_are_those_of_the_archive_s_own_clock(
    pacs: Any, make: Make, now: datetime, asked: str
) -> None:
    make(f"PACS@127.0.0.1:{pacs.port}", now=now)[0].once(dry=True)  # Europe/Paris
    assert pacs.asked[0].StudyDate == asked
