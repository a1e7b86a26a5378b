"""Character sets as senders really declare them."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dicom import part10, text
from streams.dicom.headers import facts
from streams.identity.seal import KeyRing

NAME = "LEFÈVRE"
MISSPELT = [
    b"ISO IR 192",
    b"iso_ir 192",
    b"ISO-IR 192",
    b"UTF8",
    b"UTF-8",
    b"ISO_IR 192\\",
]


@pytest.mark.parametrize("declared", MISSPELT)
def test_a_misspelt_character_set_is_understood_where_it_can_mean_one_only(
    declared: bytes,
) -> None:
    assert text.read(NAME.encode(), declared) == (NAME, False)


@pytest.mark.parametrize("declared", [b"ISO-IR 100", b" ISO_IR 100", b"LATIN1", b"ISO IR 100"])
def test_so_is_a_misspelt_latin_1(declared: bytes) -> None:
    assert text.read(NAME.encode("latin_1"), declared) == (NAME, False)


@pytest.mark.parametrize("declared", [b"ISO_IR 100", b"ISO_2022_IR_6", b"ISO 2022 IR 6\\IS"])
def test_utf_8_under_another_name_is_read_and_marked(declared: bytes) -> None:
    name, doubtful = text.read(NAME.encode(), declared)
    assert name == NAME
    assert doubtful is (declared == b"ISO_IR 100")  # the others declare no byte above 7F


@pytest.mark.parametrize("declared", [b"", b"ISO_IR 192", b"UTF8", b"ISO 2022 IR 6", b"KLINGON"])
def test_bytes_that_nothing_declares_are_the_sender_s_own_and_marked(declared: bytes) -> None:
    assert text.read("Привет".encode("cp1251"), declared, "cp1251") == ("Привет", True)


def test_utf_8_without_a_declaration_is_read() -> None:
    assert text.read(NAME.encode(), b"", "cp1251") == (NAME, False)


@given(st.binary(max_size=64), st.binary(max_size=24), st.sampled_from(["latin_1", "cp1251"]))
def test_any_bytes_give_printable_text(raw: bytes, declared: bytes, fallback: str) -> None:
    name, _ = text.read(raw, declared, fallback)
    assert all(character.isprintable() for character in name)


def test_a_name_s_bytes_never_change_whose_image_it_is(
    dicom: SimpleNamespace, ring: KeyRing, now: datetime
) -> None:
    """Mojibake alone is no conflict: number and birth date decide."""
    sound = dicom.file_of(dicom.image(1, PatientName=NAME))
    odd = sound.replace(b"ISO_IR 192", b"ISO_IR 100")
    assert odd != sound
    found = [
        facts(part10.header_of_file(file), dicom.Sender(), dicom.Site.authorities, ring, now)
        for file in (sound, odd)
    ]
    assert found[0].statement == found[1].statement
    assert found[0].patient == found[1].patient
    names = [ring.open_identity(one.identity) for one in found if one.identity]
    assert [(who.name, who.doubtful) for who in names] == [(NAME, False), (NAME, True)]
