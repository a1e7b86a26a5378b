"""What is damaged and still names its study is listed: kept, and said to be not analysed."""

from __future__ import annotations

import dataclasses
import zlib
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import AE

from streams.dicom import gate, part10
from streams.dicom.damaged import salvage
from streams.dicom.door import DicomDoor
from streams.dicom.headers import facts, merge
from streams.errors import Reason, Refuse
from streams.events import SeriesReceived
from streams.identity.seal import KeyRing
from tests.streams.dicom.senders import raw_store

EXPLICIT = "1.2.840.10008.1.2.1"
DAMAGED = 0xB007


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return head + vr + len(value).to_bytes(2, "little") + value


def broken_at(data: bytes, tag: int) -> bytes:
    """`data` with a VR that is none in front of the element `tag`."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    at = data.index(head)
    return data[:at] + b"\x19\x00\x01\x00\x01\x02\x04\x00abcd" + data[at:]


def taken_apart(dicom: SimpleNamespace, **more: Any) -> tuple[part10.File, bytes]:
    data = dicom.file_of(dicom.image(1, **more))
    file = part10.unwrap(data)
    return file, data[file.start :]


def salvaged(file: part10.File, data: bytes) -> gate.Header:
    named = {"sop_class": file.sop_class, "sop_instance": file.sop_instance}
    with pytest.raises(Refuse) as refusal:
        gate.header(data, file.transfer_syntax, **named)
    return salvage(data, file.transfer_syntax, **named, why=refusal.value)


def send(door: DicomDoor, file: part10.File, data: bytes) -> int:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(file.sop_class, file.transfer_syntax)
    association = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
    status = raw_store(association, file, data)
    association.release()
    return status


def test_a_header_that_breaks_off_behind_its_uids_is_listed_and_not_analysed(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    file, data = taken_apart(dicom)
    assert send(door, file, broken_at(data, gate.ROWS)) == DAMAGED
    (event,) = tap.until(lambda events: len(events) == 1)
    assert isinstance(event, SeriesReceived)
    assert (event.study_uid, event.series_uid, event.damaged, event.readable) == (
        "1.2.3",
        "1.2.3.4",
        True,
        True,
    )
    assert event.patient is not None


def test_pixels_that_are_cut_off_are_listed_and_not_analysed(
    door: DicomDoor, tap: Any, dicom: SimpleNamespace
) -> None:
    file, data = taken_apart(dicom)
    assert send(door, file, data[:-16]) == DAMAGED
    (event,) = tap.until(lambda events: len(events) == 1)
    assert event.damaged


def test_uids_behind_the_damage_are_found(dicom: SimpleNamespace) -> None:
    file, data = taken_apart(dicom)
    header = salvaged(file, broken_at(data, 0x00100010))
    assert (header.study, header.series) == ("1.2.3", "1.2.3.4")


def test_damage_before_the_class_hides_no_study(dicom: SimpleNamespace) -> None:
    file, data = taken_apart(dicom)
    header = salvaged(file, broken_at(data, gate.SOP_CLASS))
    assert (header.study, header.sop_class) == ("1.2.3", file.sop_class)
    too_long = data[:6] + b"\xff\xff" + data[8:]  # the very first element claims 64 KiB
    assert salvaged(file, too_long).study == "1.2.3"
    nowhere = data.replace(b"\x08\0\x16\0UI", b"\x08\0\x17\0UI")
    assert salvaged(file, broken_at(nowhere, gate.STUDY)).sop_class == file.sop_class


def test_patient_and_accession_behind_the_damage_are_found_where_all_say_the_same(
    dicom: SimpleNamespace,
) -> None:
    file, data = taken_apart(dicom, PatientBirthDate="19660102")
    broken = broken_at(data, gate.SOP_CLASS)
    values = salvaged(file, broken).values
    assert (values[gate.PATIENT_ID], values[gate.ACCESSION]) == (b"P1", b"A1")
    assert values[0x00100030] == b"19660102"
    assert values[0x00100010] == "LEFÈVRE^Zoé".encode()
    other = salvaged(file, broken + element(gate.PATIENT_ID, b"LO", b"P2")).values
    assert (gate.PATIENT_ID in other, other[gate.ACCESSION]) == (False, b"A1")


def test_an_object_that_says_another_class_than_its_request_is_no_damage(
    dicom: SimpleNamespace,
) -> None:
    file, data = taken_apart(dicom)
    with pytest.raises(Refuse):
        salvage(
            broken_at(data, gate.ROWS),
            file.transfer_syntax,
            sop_class=dicom.DX,
            sop_instance=file.sop_instance,
            why=Refuse(Reason.BAD_DICOM),
        )


def test_a_deflated_data_set_that_is_damaged_inside_is_listed(dicom: SimpleNamespace) -> None:
    file, data = taken_apart(dicom)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(broken_at(data, gate.ROWS)) + deflater.flush()
    file = dataclasses.replace(file, transfer_syntax="1.2.840.10008.1.2.1.99")
    assert salvaged(file, deflated).study == "1.2.3"
    with pytest.raises(Refuse):  # nothing of it can be read
        salvaged(file, deflated[:40])


def test_uids_that_contradict_each_other_name_no_study(dicom: SimpleNamespace) -> None:
    file, data = taken_apart(dicom)
    other = element(gate.STUDY, b"UI", b"9.9.9")
    with pytest.raises(Refuse) as refusal:
        salvaged(file, broken_at(data + other, 0x00100010))
    assert refusal.value.reason is Reason.BAD_DICOM


def test_numbers_of_a_wrong_kind_are_listed_and_not_analysed(dicom: SimpleNamespace) -> None:
    """`Rows` in an element of VR UN; a number of frames with a point."""
    file, data = taken_apart(dicom, NumberOfFrames=1)
    rows = b"\x28\x00\x10\x00US\x02\x00\x04\x00"
    unknown = b"\x28\x00\x10\x00UN\x00\x00\x02\x00\x00\x00\x04\x00"
    for wrong in (data.replace(rows, unknown), data.replace(b"IS\x02\x001 ", b"IS\x04\x001.0 ")):
        assert wrong != data
        assert salvaged(file, wrong).damaged


def test_a_bomb_is_no_damage(dicom: SimpleNamespace) -> None:
    file, data = taken_apart(dicom, Rows=65535, Columns=65535, BitsAllocated=64)
    with pytest.raises(Refuse) as refusal:
        salvaged(file, data)
    assert refusal.value.reason is Reason.BOMB


def test_one_sound_image_makes_its_series_worth_reading(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    file, data = taken_apart(dicom)
    named = {"sop_class": file.sop_class, "sop_instance": file.sop_instance}
    sound = gate.header(data, file.transfer_syntax, **named)
    broken = salvaged(file, data[:-16])
    both = [
        facts(header, dicom.Sender(), dicom.Site.authorities, ring, now)
        for header in (sound, broken)
    ]
    assert [one.damaged for one in both] == [False, True]
    assert not merge(*both).damaged
    assert not merge(*reversed(both)).damaged


@given(st.binary(max_size=300), st.integers(0, 200), st.booleans())
def test_any_bytes_are_a_header_or_refused(data: bytes, at: int, implicit: bool) -> None:
    whole = b"".join(
        element(tag, b"UI", value)
        for tag, value in (
            (gate.SOP_CLASS, b"1.2"),
            (gate.SOP_INSTANCE, b"1.3"),
            (gate.STUDY, b"1.4"),
            (gate.SERIES, b"1.5"),
        )
    )
    mutated = whole[:at] + data + whole[at:]
    syntax = "1.2.840.10008.1.2" if implicit else EXPLICIT
    named = {"sop_class": "1.2", "sop_instance": "1.3"}
    try:
        header = salvage(mutated, syntax, **named, why=Refuse(Reason.BAD_DICOM))
    except Refuse:
        return
    assert (header.sop_class, header.sop_instance) == ("1.2", "1.3")
    assert gate.uid(header.study.encode(), "") == header.study
