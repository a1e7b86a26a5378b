"""The character set of a message: what senders write into MSH-18, and what they mean by it.

No byte of a name is worth an urgent order: what cannot be read as declared is read by the sender's
rule, and marked doubtful.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import NamedTuple

_ISO_IR = {
    "6": "ascii",
    "14": "shift_jis",
    "87": "iso2022_jp_2",
    "100": "iso8859-1",
    "101": "iso8859-2",
    "109": "iso8859-3",
    "110": "iso8859-4",
    "126": "iso8859-7",
    "127": "iso8859-6",
    "138": "iso8859-8",
    "144": "iso8859-5",
    "148": "iso8859-9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "tis-620",
    "192": "utf-8",
}
#: HL7 table 0211, DICOM's terms, and what else is found there, without blanks and signs → Python's
#: codecs. Japanese text of ISO IR87 and IR159 comes with ISO 2022 escapes.
_NAMED = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISO646": "ascii",
    "UNICODE": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "LATIN1": "iso8859-1",
    "LATIN9": "iso8859-15",
    "GB18030": "gb18030",
    "GB180302000": "gb18030",
    "GBK": "gb18030",
    "GB2312": "gb18030",
    "KSX1001": "euc_kr",
    "EUCKR": "euc_kr",
    "CNS116431992": "big5",
    "BIG5": "big5",
    "SHIFTJIS": "shift_jis",
    "SJIS": "shift_jis",
    "ISO2022JP": "iso2022_jp_2",
    "JISX0208": "iso2022_jp_2",
    **{f"ISOIR{number}": codec for number, codec in _ISO_IR.items()},
    **{f"8859{part}": f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))},
    **{f"CP125{last}": f"cp125{last}" for last in range(9)},
}
_SIGNS = re.compile(r"[^A-Z0-9]+")
_BEFORE = re.compile(r"^(?:ISO(?=8859)|WINDOWS(?=125)|WIN(?=125)|ISO2022(?=IR)|(?=125\d$))")
#: Codecs that read any byte above 7F as a letter, and so never contradict their declaration.
_ONE_BYTE = ("iso8859", "cp125")
_UNREAD = re.compile("[\udc80-\udcff]+")


class Text(NamedTuple):
    """A message as text: the codec that it was read by, and whether that may be wrong. Bytes that
    it could not read are lone surrogates (PEP 383), to be read by `by_rule`.
    """

    text: str
    codec: str
    doubtful: bool


def codec_of(charset: str) -> str | None:
    """The codec that a name in MSH-18 means; None where it names none that is known."""
    name = _SIGNS.sub("", charset.upper())
    start = _BEFORE.match(name)
    if start:
        name = ("CP" if "125" in name else "ISO" if "IR" in name else "") + name[start.end() :]
    return _NAMED.get(name)


def decode(raw: bytes, charsets: tuple[str, ...], fallback: str, *, always: bool) -> Text:
    """The text of a message.

    Args:
        charsets: MSH-18 and its repetitions.
        fallback: the sender's own codec, for what declares none and is not UTF-8, or not what it
            declares.
        always: it writes that codec whatever it declares.
    """
    if always:
        return _read(raw, fallback, doubtful=False)
    known = [codec for name in charsets if name and (codec := codec_of(name))]
    # The second repetition is what escape sequences switch to (Japan: ISO IR6, then ISO IR87).
    codec = next((one for one in known if one == "iso2022_jp_2"), known[0] if known else "")
    if codec.startswith(_ONE_BYTE) and not raw.isascii():
        # Bytes above 7F that make UTF-8 by chance are rare; a wrong declaration is not.
        with suppress(UnicodeDecodeError):
            return Text(raw.decode("utf-8"), codec, True)
    if codec and codec != "ascii":
        return _read(raw, codec, doubtful=False)
    unknown = any(charsets) and not codec and not raw.isascii()
    try:
        return Text(raw.decode("utf-8"), "utf-8", unknown)
    except UnicodeDecodeError:
        # Declared as nothing or ASCII, and neither that nor UTF-8: seen in the wild.
        return _read(raw, fallback, doubtful=any(charsets))


def _read(raw: bytes, codec: str, *, doubtful: bool) -> Text:
    with suppress(UnicodeDecodeError):
        return Text(raw.decode(codec), codec, doubtful)
    with suppress(UnicodeDecodeError):
        return Text(raw.decode(codec, "surrogateescape"), codec, True)
    # ISO 2022: a name that does not come back to ASCII may spoil its own field and no other: it is
    # to come back before a separator (MSH-18).
    mark = re.escape(raw[3:4]) if raw.startswith(b"MSH") else b"[|]"
    fields = re.split(rb"([\r\n]|" + mark + rb")", raw)
    return Text("".join(field.decode(codec, "replace") for field in fields), codec, True)


def by_rule(text: str, fallback: str) -> str:
    """`text` with the bytes that could not be read as declared, read by the sender's codec."""
    return _UNREAD.sub(
        lambda run: run[0].encode("ascii", "surrogateescape").decode(fallback, "replace"), text
    )
