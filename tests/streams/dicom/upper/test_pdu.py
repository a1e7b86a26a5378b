"""Protocol data units and command sets, against pynetdicom's own and against any bytes."""

from __future__ import annotations

from contextlib import suppress

import pynetdicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import pdu as oracle
from pynetdicom import sop_class as classes
from pynetdicom.dsutils import decode

from streams.dicom.agreed import SYNTAXES, agree, is_storage
from streams.dicom.upper import commands, pdu
from streams.dicom.upper.pdu import Context
from streams.errors import Refuse
from tests.streams.dicom.upper.caller import context, request

COMMAND = commands.Command(commands.STORE, 7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", True)


def read(data: bytes) -> pdu.Request:
    return pdu.read_request(data[6:])


def test_a_request_is_read_as_it_was_meant() -> None:
    found = read(request(contexts=context(1) + context(3, b"1.2.840.10008.1.1\0", b"1.2", b"1.3")))
    assert (found.called, found.calling, found.max_data) == ("VIGIE", "CT1", 16384)
    assert [(one.number, one.abstract) for one in found.contexts] == [
        (1, "1.2.840.10008.5.1.4.1.1.2"),
        (3, "1.2.840.10008.1.1"),
    ]
    assert found.contexts[1].transfers == ("1.2", "1.3")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    with suppress(Refuse):
        read(data)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_a_request_with_some_bytes_changed_is_a_request_or_refused(at: int, bytes_: bytes) -> None:
    whole = bytearray(request(contexts=context(1) + context(3)))
    whole[at : at + len(bytes_)] = bytes_
    with suppress(Refuse):
        read(bytes(whole))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_refused(data: bytes) -> None:
    with suppress(Refuse):
        commands.read(data)


def test_an_accepted_association_reads_as_one_in_pynetdicom() -> None:
    built = pdu.accept(request()[10:74], {1: (0, "1.2.840.10008.1.2.1"), 3: (3, "")})
    found = oracle.A_ASSOCIATE_AC()
    found.decode(built)
    assert found.user_information.maximum_length == pdu.MAX_DATA
    results = {item.context_id: item.result for item in found.presentation_context}
    assert results == {1: 0, 3: 3}


@pytest.mark.parametrize("longest", [0, 16, 40, 16384])
def test_an_answer_comes_in_pieces_that_the_caller_can_read(longest: int) -> None:
    body = commands.response(COMMAND, commands.Answer(0xA700, "store_full", 0x1234))
    sent, whole = pdu.command(1, body, longest), b""
    while sent:
        length = int.from_bytes(sent[2:6], "big")
        assert not longest or length <= max(longest, 22)
        one = oracle.P_DATA_TF()
        one.decode(sent[: 6 + length])
        for item in one.presentation_data_value_items:
            whole += item.presentation_data_value[1:]
        sent = sent[6 + length :]
    assert whole == body


def test_an_answer_reads_as_one_in_pynetdicom() -> None:
    answer = commands.Answer(0xA700, "why " * 40, 0x1234)
    from io import BytesIO

    found: Dataset = decode(BytesIO(commands.response(COMMAND, answer)), True, True)
    assert found.CommandField == 0x8001
    assert found.MessageIDBeingRespondedTo == 7
    assert found.Status == 0xA700
    assert found.ErrorComment == ("why " * 16).rstrip()
    assert found.ErrorID == 0x1234
    assert found.AffectedSOPInstanceUID == "1.2.3"
    assert found.CommandDataSetType == 0x0101


def test_every_storage_class_of_the_standard_is_taken_and_nothing_else_is() -> None:
    storage = set(classes._STORAGE_CLASSES.values())
    assert len(storage) > 100
    assert {uid for uid in storage if not is_storage(uid)} == set()
    services = {
        str(uid)
        for name in dir(classes)
        if name.startswith("_") and isinstance(getattr(classes, name), dict)
        for keyword, uid in getattr(classes, name).items()
        if str(uid).startswith("1.2.840.10008.") and not str(keyword).endswith("Storage")
    } - storage
    assert len(services) > 50
    assert {uid for uid in services if is_storage(uid)} == set()
    assert is_storage("1.3.6.1.4.1.9999.1")


def test_every_transfer_syntax_of_pynetdicom_that_carries_images_is_taken() -> None:
    over_video_networks = "1.2.840.10008.1.2.7."  # SMPTE ST 2110: nothing that is stored
    known = {
        name
        for name in pynetdicom.ALL_TRANSFER_SYNTAXES
        if not name.startswith(over_video_networks)
    }
    assert known - SYNTAXES == set()
    assert agree(Context(1, "1.2.840.10008.5.1.4.1.1.2", ("1.2.999.1",))) == (4, "")
    assert agree(Context(1, "1.2.840.10008.5.1.4.1.1.2", ("1.2.999.1", "1.2.840.10008.1.2"))) == (
        0,
        "1.2.840.10008.1.2",
    )
