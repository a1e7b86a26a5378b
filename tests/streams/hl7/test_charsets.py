"""Names in every character set, declared rightly, wrongly or not at all: never a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import OrderChanged
from streams.hl7.envelope import Context
from streams.hl7.mapping import events
from streams.hl7.text.charsets import by_rule, codec_of, decode
from streams.hl7.text.message import parse
from streams.sealed import Identity
from tests.streams.hl7.conftest import order, sent_by


def taken(raw: bytes, context: Context) -> Identity:
    """Who the order in `raw` is for; it keeps its urgency whatever the name's bytes."""
    [(_, event)] = events(parse(raw, context.sender), context)
    assert isinstance(event, OrderChanged)
    assert event.priority == "stat"
    return context.ring.open_identity(event.identity or "")


@pytest.mark.parametrize(
    ("written", "codec"),
    [
        ("ASCII", "ascii"),
        ("US-ASCII", "ascii"),
        ("8859/1", "iso8859-1"),
        ("ISO-8859-1", "iso8859-1"),
        ("8859-15", "iso8859-15"),
        ("ISO 8859/15", "iso8859-15"),
        ("ISO_IR 100", "iso8859-1"),
        ("ISO IR100", "iso8859-1"),
        ("ISO 2022 IR 87", "iso2022_jp_2"),
        ("LATIN1", "iso8859-1"),
        ("UTF8", "utf-8"),
        ("utf-8", "utf-8"),
        ("UNICODE UTF-8", "utf-8"),
        ("UNICODE", "utf-8"),
        ("ISO_IR 192", "utf-8"),
        ("WINDOWS-1252", "cp1252"),
        ("windows1251", "cp1251"),
        ("CP1250", "cp1250"),
        ("1252", "cp1252"),
        ("GB 18030-2000", "gb18030"),
        ("GBK", "gb18030"),
        ("KS X 1001", "euc_kr"),
        ("BIG-5", "big5"),
        ("ISO-2022-JP", "iso2022_jp_2"),
        ("Shift_JIS", "shift_jis"),
        ("KLINGON", None),
        ("ZIP", None),
        ("UTF-16", None),
        ("8859/12", None),
    ],
)
def test_names_of_character_sets_as_senders_write_them(written: str, codec: str | None) -> None:
    assert codec_of(written) == codec


LEFEVRE = "Lef\N{LATIN SMALL LETTER E WITH GRAVE}vre"


@pytest.mark.parametrize(
    ("declared", "codec", "doubtful"),
    [
        ("UNICODE UTF-8", "utf-8", False),
        ("8859/15", "iso8859-15", False),
        ("UTF8", "utf-8", False),
        ("", "utf-8", False),
        ("", "latin-1", False),  # the sender's rule says what that is
        ("ASCII", "utf-8", False),
        ("ASCII", "latin-1", True),
        ("UNICODE UTF-8", "latin-1", True),
        ("KLINGON", "utf-8", True),
        ("KLINGON", "latin-1", True),
    ],
)
def test_a_byte_of_a_name_never_refuses_an_order_and_what_is_unsure_is_marked(
    declared: str, codec: str, doubtful: bool, context: Context
) -> None:
    raw = order(charset=declared, name=f"{LEFEVRE}^Jo").decode().encode(codec)
    who = taken(raw, context)
    assert who.doubtful is doubtful
    assert who.name == f"{LEFEVRE}^Jo"
    assert context.doubts == (["charset"] if doubtful else [])


def test_a_name_in_ascii_is_never_doubtful(context: Context) -> None:
    raw = order(charset="UNICODE UTF-8", name="Doe^Jo") + b"NTE|1||\xe9\r"
    assert not taken(raw, context).doubtful


def test_a_sender_that_always_writes_one_set_is_read_by_it(context: Context) -> None:
    raw = order(charset="8859/1", name="\N{CYRILLIC CAPITAL LETTER PE}etrov").decode()
    there = sent_by(context, charset="cp1251", charset_always=True)
    who = taken(raw.encode("cp1251"), there)
    assert (who.name, who.doubtful) == ("\N{CYRILLIC CAPITAL LETTER PE}etrov", False)


def test_bytes_that_look_like_separators_within_a_letter_split_nothing(context: Context) -> None:
    """In Shift JIS the second byte of a letter may be that of a separator."""
    name = "\N{KATAKANA LETTER SO}^\N{KATAKANA LETTER MI}"  # 83 5C, 83 7E
    raw = order(charset="ISO IR14", name=name).decode().encode("shift_jis")
    assert taken(raw, context).name == name


@given(st.binary(max_size=200), st.lists(st.text(max_size=12), min_size=1, max_size=3))
def test_any_bytes_are_text_by_any_declaration(raw: bytes, declared: list[str]) -> None:
    found = decode(raw, tuple(declared), "iso8859-1", always=False)
    by_rule(found.text, "iso8859-1").encode("utf-8")


@pytest.mark.parametrize("spoilt", ["\x1b$B;3E", "\x1b$B;3\x7f\x1b(B", "\x1b(Z", "\x1b"])
def test_a_broken_japanese_name_spoils_its_own_field_and_the_order_is_taken(
    spoilt: str, context: Context
) -> None:
    raw = order(charset="~ISO IR87", name=f"Yamada^Tarou={spoilt}")
    who = taken(raw, context)
    assert who.doubtful is (not (who.name or "").isascii())
    assert (who.name or "").startswith("Yamada^Tarou")
    assert who.birth_date == "19500102"


@pytest.mark.parametrize("declared", ["8859/1", "8859/15", "WINDOWS-1252"])
def test_utf_8_that_is_declared_as_letters_of_one_byte_is_read_and_marked(
    declared: str, context: Context
) -> None:
    """An upgraded RIS that forgot MSH-18: such bytes make no UTF-8 by chance."""
    who = taken(order(charset=declared, name=f"{LEFEVRE}^Jo"), context)
    assert (who.name, who.doubtful) == (f"{LEFEVRE}^Jo", True)
