"""A value is converted once for all slices that say the same, and is what pydicom makes of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from triage.eligibility import elements
from triage.eligibility.elements import BROKEN_VALUE, numbers_of, value_of

#: Tag and VR of what is asked for below.
_ELEMENTS = {
    "Rows": (0x00280010, "US"),
    "RescaleSlope": (0x00281053, "DS"),
    "InstanceNumber": (0x00200013, "IS"),
    "SeriesDescription": (0x0008103E, "LO"),
    "PixelPaddingValue": (0x00280120, "US"),
    "ViewCodeSequence": (0x00540220, "SQ"),
}
_VALUES = (
    b"",
    b"1 ",
    b"1\\2\\3 ",
    b"NaN ",
    b"1,5 ",
    b"abc ",
    b"\xe9\xe8",
    b"\1\0\2\0",
    b"\0\0\0",
    b"7" * 200,
)


def read(name: str, value: bytes, vr: str = "", *, implicit: bool, charset: bytes = b"") -> Dataset:
    """A dataset as it comes from a file: not converted."""
    parts = [(0x00080005, "CS", charset)] if charset else []
    tag, usual = _ELEMENTS[name]
    raw = b""
    for at, kind, said in [*parts, (tag, vr or usual, value)]:
        raw += struct.pack("<HH", at >> 16, at & 0xFFFF)
        if implicit:
            raw += struct.pack("<L", len(said)) + said
        elif kind in ("SQ", "UN"):
            raw += kind.encode() + struct.pack("<HL", 0, len(said)) + said
        else:
            raw += kind.encode() + struct.pack("<H", len(said)) + said
    return read_dataset(BytesIO(raw), implicit, is_little_endian=True)


def told(ask: Callable[[], object]) -> str:
    try:
        return repr(ask())
    except BROKEN_VALUE as error:
        return type(error).__name__


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("vr", ["", "LO", "US", "UN", "ZZ"])
@pytest.mark.parametrize("name", _ELEMENTS)
def test_each_value_is_what_pydicom_makes_of_it_sound_or_broken(
    name: str, vr: str, implicit: bool
) -> None:
    for value in _VALUES:
        plain = read(name, value, vr, implicit=implicit)
        # Twice: what pydicom could not make whole it answers otherwise when it is asked again.
        expected = [told(partial(plain.get, name, "none")) for _ in range(2)]
        for _ in range(2):  # the second time it may be known already
            ours = read(name, value, vr, implicit=implicit)
            found = [told(partial(value_of, ours, name, "none")) for _ in range(2)]
            assert found == expected, value


def test_what_is_missing_or_no_keyword_has_the_default() -> None:
    dataset = read("Rows", b"\1\0", implicit=False)
    assert value_of(dataset, "Columns", 7) == 7
    assert value_of(dataset, "OWNImageFrameTypeSequence", 7) == 7
    assert numbers_of(dataset, "Columns") is None


def test_the_same_bytes_in_another_character_set_are_another_word() -> None:
    words = [
        value_of(
            read("SeriesDescription", b"\xd0 ", implicit=False, charset=charset),
            "SeriesDescription",
        )
        for charset in (b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 100")
    ]
    assert words[0] == words[2] != words[1]


def test_padding_is_signed_where_the_pixels_are_whatever_another_slice_said() -> None:
    found = []
    for representation in (0, 1, 0):
        dataset = read("PixelPaddingValue", b"\x30\xf8", implicit=True)
        dataset.PixelRepresentation = representation
        found.append(value_of(dataset, "PixelPaddingValue"))
    assert found == [63536, -2000, 63536]


def test_numbers_are_shared_and_cannot_be_changed() -> None:
    one, other = (
        numbers_of(read("RescaleSlope", b"1\\2 ", implicit=False), "RescaleSlope") for _ in range(2)
    )
    assert one is other
    assert one is not None
    with pytest.raises(ValueError, match="read-only"):
        one += 1
    assert np.array_equal(one, [1.0, 2.0])


@pytest.mark.filterwarnings("ignore")
def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    # A decoder lives for months, and each file brings numbers of its own.
    for number in range(3000):
        said = str(number).encode()
        value_of(read("InstanceNumber", said.ljust(6), implicit=False), "InstanceNumber")
    kept = elements._value.cache_info()
    assert kept.maxsize == 2048
    assert kept.currsize <= 2048
    value_of(read("SeriesDescription", b"X" * 4000, implicit=False), "SeriesDescription")
    assert elements._value.cache_info().misses == kept.misses
