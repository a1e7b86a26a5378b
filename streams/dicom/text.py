"""Character sets: bytes of a text element to a string, without a warning that quotes them."""

from __future__ import annotations

import re
from contextlib import suppress

# The tables of pydicom, which is careful with them; its decoder is not used because it warns with
# values.
from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings, python_encoding

#: What reads ASCII as ASCII.
_PLAIN = {None, "utf_8", "UTF8", "latin_1", "iso8859"}
_ESCAPES = re.compile(
    b"|".join(re.escape(code) for code in sorted(CODES_TO_ENCODINGS, key=len, reverse=True))
)


#: Terms that are misspelt in one way only, and what others than DICOM call the same.
_KNOWN = {name.replace("_", " "): encoding for name, encoding in python_encoding.items() if name}
_KNOWN |= {"UTF 8": "utf_8", "UTF8": "utf_8", "LATIN1": "latin_1", "LATIN 1": "latin_1"}
_KNOWN |= {f"ISO 8859 {part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)}
_KNOWN |= {"WINDOWS 1252": "cp1252", "CP1252": "cp1252"}
_ONE_BYTE = re.compile(r"latin_?1|iso8859|iso_ir_|cp125")
_ASCII, _UTF_8 = "iso8859", {"UTF8", "utf_8"}


def codec(character_set: bytes) -> str | None:
    """Python's name of the first character set of (0008,0005); None where it is absent or none that
    is known.
    """
    first = character_set.split(b"\\")[0].strip(b" \0").decode("ascii", "replace").upper()
    words = " ".join(re.split(r"[ _-]+", first))
    return _KNOWN.get(words) or _KNOWN.get(words.replace("ISO IR", "ISO IR ").replace("  ", " "))


def decode(raw: bytes, character_set: bytes, fallback: str = "latin_1") -> str:
    """`raw` under Specific Character Set with code extensions (PS3.5 §6.1.2.5); what cannot be read
    becomes U+FFFD.

    Args:
        fallback: the sender's own character set, where (0008,0005) says nothing that is known.
    """
    return read(raw, character_set, fallback)[0]


def read(raw: bytes, character_set: bytes, fallback: str = "latin_1") -> tuple[str, bool]:
    """As `decode`, and whether it is doubtful: the bytes contradict what is declared, or nothing is
    and they are no UTF-8 either.
    """
    declared = codec(character_set)
    if declared == _ASCII and not raw.isascii() and b"\x1b" not in raw:
        declared = None  # it says that there is no such byte
    if raw.isascii() and b"\x1b" not in raw and declared in _PLAIN:
        return _clean(raw.decode("ascii")), False
    one_byte = declared is None or _ONE_BYTE.match(declared)
    if one_byte and b"\x1b" not in raw:
        # Bytes above 7F that make UTF-8 by chance are rare; a wrong declaration is not.
        with suppress(UnicodeDecodeError):
            return _clean(raw.decode("utf_8")), declared is not None and not raw.isascii()
    if declared in _UTF_8:  # and is not: a byte of the sender's own set
        with suppress(UnicodeDecodeError):
            return _clean(raw.decode("utf_8")), False
        return _clean(raw.decode(fallback, "replace")), True
    text = _decoded(raw, declared or fallback)
    unread = any(character == "\ufffd" or "\x80" <= character < "\xa0" for character in text)
    return _clean(text), unread or (declared is None and not raw.isascii())


def _decoded(raw: bytes, base: str) -> str:
    marks = list(_ESCAPES.finditer(raw))
    if not marks:
        return raw.decode(base, "replace")
    text = raw[: marks[0].start()].decode(base, "replace")
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        end = following.start() if following else len(raw)
        encoding = CODES_TO_ENCODINGS[mark.group()]
        keeps_escape = encoding in handled_encodings  # Python's codec wants to see it
        if (
            mark.group() == b"\x1b(B"
        ):  # back to ASCII in G0; what G1 held stays, so the base set reads it
            encoding, keeps_escape = base if base not in handled_encodings else "latin_1", False
        text += raw[mark.start() if keeps_escape else mark.end() : end].decode(encoding, "replace")
    return text


def _clean(text: str) -> str:
    """Without control characters and without padding."""
    return "".join(
        character for character in text if character.isprintable() or character == " "
    ).strip()
