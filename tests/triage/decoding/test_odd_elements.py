"""One element that is not what it claims to be: its file may be lost, no other, and no decoder."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword

from tests.triage.decoding.heads import MakeCt, stack, written
from triage.decoding.limits import Limits
from triage.decoding.protocol import Request
from triage.decoding.series import read_series
from triage.packages.load import load_package
from triage.settings import shipped_models

HEAD = load_package(shipped_models() / "head-ct-ich").wanted
SLICES = 3
#: What is asked of a header on a slice's way.
ASKED = """
    Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel
    PhotometricInterpretation NumberOfFrames RescaleSlope RescaleIntercept RescaleType
    WindowCenter WindowWidth ImagePositionPatient ImageOrientationPatient PixelSpacing
    PixelAspectRatio SliceThickness AcquisitionNumber InstanceNumber PixelPaddingValue
    PixelPaddingRangeLimit Modality SOPClassUID ImageType BodyPartExamined SeriesDescription
    PatientAge PatientBirthDate ContrastBolusAgent ContrastBolusAgentSequence ConvolutionKernel
    ContrastBolusIngredient ContrastBolusVolume ContrastBolusTotalDose
    ViewPosition ViewCodeSequence PatientOrientation PresentationIntentType SpecificCharacterSet
    PerFrameFunctionalGroupsSequence SharedFunctionalGroupsSequence ModalityLUTSequence
    VOILUTSequence PixelData
"""
KINDS = "AE AS CS DS FD IS LO OW SH SQ SS UI UN US"
LONG = frozenset({"OB", "OW", "SQ", "UN", "UT"})
SHORT_ITEM = b"\xfe\xff\x00\xe0\x08\x00\x00\x00\x08\x00\x00\x01SH\x00\x00"
VALUES = st.sampled_from(
    [
        *(b"", b"\\\\", b"12\\12 ", b"1,0 ", b"abc ", b"1e999 ", b"nan ", b"-5", b"9" * 20),
        *(b"\xff\xfe\x00\x81", b"\x10\x00\x10\x00", b"\xff" * 8, SHORT_ITEM),
        *(b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"ORIGINAL\\PRIMARY"),
    ]
) | st.binary(max_size=12).map(lambda value: value + b" " * (len(value) % 2))


def element(keyword: str, representation: str, value: bytes) -> bytes:
    tag = tag_for_keyword(keyword) or 0
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + representation.encode()
    if representation in LONG:
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def with_element(whole: bytes, keyword: str, made: bytes) -> bytes:
    """The file `whole` with `made` where its element stood, or would stand."""
    (length,) = struct.unpack_from("<L", whole, 140)
    at, tag = 144 + length, tag_for_keyword(keyword) or 0
    while at < len(whole):
        group, number = struct.unpack_from("<HH", whole, at)
        long = whole[at + 4 : at + 6].decode() in LONG
        (size,) = struct.unpack_from("<L" if long else "<H", whole, at + (8 if long else 6))
        end = at + (12 if long else 8) + size
        if (here := (group << 16) + number) >= tag:
            return whole[:at] + made + whole[end if here == tag else at :]
        at = end
    return whole + made


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=3 * settings.default.max_examples // 5)
@given(
    keyword=st.sampled_from(ASKED.split()),
    representation=st.sampled_from(KINDS.split()),
    value=VALUES,
)
@example("BitsStored", "DS", b"12\\12 ")
@example("ImageType", "US", b"\x10\x00")
@example("Modality", "IS", b"1e999 ")
@example("PerFrameFunctionalGroupsSequence", "LO", b"abc ")
@example("SharedFunctionalGroupsSequence", "UN", b"\xff\xfe\x00\x81")
@example("ContrastBolusAgentSequence", "UN", b"\xff\xfe\x00\x81")
@example("ModalityLUTSequence", "UN", b"\xff\xfe\x00\x81")
def test_an_odd_element_costs_no_more_than_its_own_slice(
    make_ct: MakeCt, keyword: str, representation: str, value: bytes
) -> None:
    with TemporaryDirectory() as name:
        paths = written(stack(make_ct, SLICES), Path(name))
        odd = with_element(
            Path(paths[1]).read_bytes(), keyword, element(keyword, representation, value)
        )
        Path(paths[1]).write_bytes(odd)
        read = read_series(Request(paths, HEAD), Limits()).read
    assert SLICES - 1 <= read.read <= read.there
