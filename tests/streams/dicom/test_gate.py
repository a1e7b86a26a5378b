"""Any bytes become a header or a refusal; no claim costs memory."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dicom import gate, part10, steps
from streams.errors import Reason, Refuse
from streams.senders.authorities import Authorities

IMPLICIT, EXPLICIT, BIG, DEFLATED, J2K = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.90",
)
SYNTAXES = st.sampled_from(
    [IMPLICIT, EXPLICIT, BIG, DEFLATED, J2K, "1.2.840.10008.1.2.5", "1.3.6.1.4.1.9999"]
)
CT = "1.2.840.10008.5.1.4.1.1.2"
MANY = settings(max_examples=3 * settings.default.max_examples, deadline=None)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def smallest(**changes: bytes) -> bytes:
    fields = {
        "cls": CT.encode(),
        "sop": b"1.2.3.4.1",
        "study": b"1.2.3",
        "series": b"1.2.3.4",
    } | changes
    return (
        element(0x00080016, b"UI", fields["cls"])
        + element(0x00080018, b"UI", fields["sop"])
        + element(0x0020000D, b"UI", fields["study"])
        + element(0x0020000E, b"UI", fields["series"])
        + fields.get("more", b"")
    )


def check(data: bytes, transfer_syntax: str = EXPLICIT) -> gate.Header:
    return gate.header(data, transfer_syntax, sop_class=CT, sop_instance="1.2.3.4.1")


def refusal(data: bytes, transfer_syntax: str = EXPLICIT) -> Reason:
    with pytest.raises(Refuse) as refused:
        check(data, transfer_syntax)
    return refused.value.reason


def expect_refusal_or_none(act: Callable[[], object]) -> None:
    """Any other exception fails the test by itself."""
    reasons = {Reason.BAD_DICOM, Reason.BAD_UID, Reason.UID_MISMATCH, Reason.BOMB, Reason.TOO_LARGE}
    refusals: list[Reason] = []
    try:
        act()
    except Refuse as refused:
        refusals.append(refused.reason)
    assert set(refusals) <= reasons


def refuses_or_reads(data: bytes, transfer_syntax: str) -> None:
    expect_refusal_or_none(lambda: check(data, transfer_syntax))


@MANY
@given(data=st.binary(max_size=600), transfer_syntax=SYNTAXES)
def test_any_bytes(data: bytes, transfer_syntax: str) -> None:
    refuses_or_reads(data, transfer_syntax)


@MANY
@given(
    cut=st.integers(0, 400),
    place=st.integers(0, 2000),
    junk=st.binary(max_size=8),
    transfer_syntax=SYNTAXES,
    data=st.data(),
)
def test_mutated_images(
    dicom: SimpleNamespace, cut: int, place: int, junk: bytes, transfer_syntax: str, data: Any
) -> None:
    file = dicom.file_of(dicom.image())
    whole = bytearray(file[part10.unwrap(file).start :])
    whole[place % len(whole) : place % len(whole) + data.draw(st.integers(0, 8))] = junk
    refuses_or_reads(bytes(whole[: len(whole) - cut]), transfer_syntax)
    if data.draw(st.booleans()):
        refuses_or_reads(zlib.compress(bytes(whole), wbits=-15), DEFLATED)


@MANY
@given(data=st.binary(max_size=400), preamble=st.booleans())
def test_any_file(data: bytes, preamble: bool) -> None:
    expect_refusal_or_none(
        lambda: part10.header_of_file(bytes(128) + b"DICM" + data if preamble else data)
    )


@MANY
@given(data=st.binary(max_size=400), transfer_syntax=st.sampled_from([IMPLICIT, EXPLICIT]))
def test_any_mpps_bytes(dicom: SimpleNamespace, data: bytes, transfer_syntax: str) -> None:
    expect_refusal_or_none(lambda: steps.read(data, transfer_syntax, dicom.Sender(), Authorities()))


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_a_good_image_passes_in_each_encoding(dicom: SimpleNamespace, transfer_syntax: str) -> None:
    header = part10.header_of_file(dicom.file_of(dicom.image(NumberOfFrames=1), transfer_syntax))
    assert (header.study, header.series, header.has_pixels, header.transfer_syntax) == (
        "1.2.3",
        "1.2.3.4",
        True,
        transfer_syntax,
    )


def icon_short_by(short: int) -> bytes:
    """An image in JPEG 2000 after a compressed icon whose lengths are `short` bytes too small."""
    fragment = b"\xff\xd8\xff" + bytes(101)
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in (b"", fragment)]
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    pixels = struct.pack("<HH4sL", 0x7FE0, 0x0010, b"OB\0\0", 0xFFFFFFFF)
    item = element(0x00280010, b"US", b"\x08\0") + pixels + b"".join(items) + end
    inner = struct.pack("<HHL", 0xFFFE, 0xE000, len(item) - short) + item
    icon = struct.pack("<HH4sL", 0x0088, 0x0200, b"SQ\0\0", len(inner) - short) + inner
    return smallest(more=icon + pixels + b"".join(items) + end)


@pytest.mark.parametrize("short", [0, 24])
def test_an_icon_that_is_longer_than_it_says_hides_no_image(short: int) -> None:
    found = check(icon_short_by(short), J2K)
    assert (found.has_pixels, found.values[0x0020000E]) == (True, b"1.2.3.4")
    assert 0x00280010 not in found.values  # the icon's own


def test_a_data_set_in_the_other_value_representation_than_was_agreed_on_is_read(
    dicom: SimpleNamespace,
) -> None:
    for written, agreed in ((EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)):
        data = dicom.file_of(dicom.image(1), written)
        file = part10.unwrap(data)
        named = {"sop_class": file.sop_class, "sop_instance": file.sop_instance}
        found = gate.header(data[file.start :], agreed, **named)
        assert (found.study, found.transfer_syntax) == ("1.2.3", agreed)


def test_icons_inside_icons_are_not_walked_into() -> None:
    nested = b""
    for _ in range(3000):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HH4sL", 0x0088, 0x0200, b"SQ\0\0", len(item)) + item
    assert not check(smallest(more=nested)).has_pixels


@pytest.mark.parametrize(
    "bad",
    [
        b"../../x",
        b"/etc/passwd",
        b"1.2\0.3",
        b"1" * 65,
        b"1..2",
        b".1",
        b"1.",
        b"",
        "1.é".encode(),
        b"1.2\\1.3",
    ],
)
def test_uids_are_uids(bad: bytes) -> None:
    assert refusal(smallest(study=bad)) is Reason.BAD_UID


def test_the_data_set_must_be_what_the_request_says() -> None:
    assert refusal(smallest(sop=b"1.2.3.4.2")) is Reason.UID_MISMATCH
    assert refusal(smallest(cls=b"1.2.840.10008.5.1.4.1.1.4")) is Reason.UID_MISMATCH


def size(rows: int, columns: int, bits: int = 16, frames: bytes = b"1") -> bytes:
    return (
        element(0x00280008, b"IS", frames)
        + element(0x00280010, b"US", struct.pack("<H", rows))
        + element(0x00280011, b"US", struct.pack("<H", columns))
        + element(0x00280100, b"US", struct.pack("<H", bits))
    )


def test_claims_that_no_image_makes_are_bombs() -> None:
    assert (
        refusal(smallest(more=size(65535, 65535))) is Reason.BOMB
    )  # the 690-byte RLE file that took 4.1 GB
    assert refusal(smallest(more=size(4096, 4096, frames=b"2147483647"))) is Reason.BOMB
    assert check(smallest(more=size(4096, 4096, frames=b"100"))).frames == 100


@pytest.mark.parametrize(
    "more",
    [
        element(0x00280010, b"UL", struct.pack("<L", 512)),  # CVE-2026-5442
        element(0x00280010, b"US", b"\1\0\1\0"),
        element(0x00280008, b"IS", b"-1"),
        element(0x00280008, b"IS", b"1e9"),
        element(0x00280100, b"US", struct.pack("<H", 4096)),
        size(4, 4) + size(4, 4),
    ],
)
def test_dimensions_of_a_wrong_kind_are_refused(more: bytes) -> None:
    assert refusal(smallest(more=more)) is Reason.BAD_DICOM


@pytest.mark.slow
def test_a_deflate_bomb_costs_no_memory() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(
        smallest() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 600_000_000)
    )
    for _ in range(600):
        bomb += compressor.compress(bytes(1_000_000))
    bomb += compressor.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(bomb, DEFLATED) is Reason.BOMB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.slow
def test_a_header_that_never_ends_is_a_bomb() -> None:
    nested = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    assert refusal(nested * 5000) is Reason.BOMB
    assert refusal(smallest(more=element(0x00290010, b"LO", b"") * 1_000_001)) is Reason.BOMB


@pytest.mark.parametrize("cut", [1, 5, 9, 20])
def test_a_cut_compressed_stream_is_refused(cut: int) -> None:
    """pydicom answers such a file with an empty data set and a warning."""
    item = (
        struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL", 0xFFFE, 0xE000, 16) + bytes(16)
    )
    whole = smallest(
        more=struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
        + item
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    assert check(whole, J2K).has_pixels
    assert check(whole[:-8], J2K).has_pixels  # a forgotten delimiter loses nothing
    if cut != 8:
        assert refusal(whole[:-cut], J2K) is Reason.BAD_DICOM


@pytest.mark.slow
@MANY
@given(uids=st.tuples(*[st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,6}){0,6}", fullmatch=True)] * 3))
def test_the_wrapper_is_read_back(uids: tuple[str, str, str]) -> None:
    file = part10.unwrap(part10.wrapper(*uids) + b"data")
    assert (file.transfer_syntax, file.sop_class, file.sop_instance) == uids
    assert (part10.wrapper(*uids) + b"data")[file.start :] == b"data"
