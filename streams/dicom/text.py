"""Character sets: bytes of a text element to a string, without a warning that quotes them."""

from __future__ import annotations

import re

# The tables of pydicom, which is careful with them; its decoder is not used because it warns with
# values.
from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings, python_encoding

_ESCAPES = re.compile(
    b"|".join(re.escape(code) for code in sorted(CODES_TO_ENCODINGS, key=len, reverse=True))
)


def codec(character_set: bytes) -> str:
    """Python's name of the first character set of (0008,0005). Unknown and absent are Latin-1,
    which loses nothing.
    """
    first = character_set.split(b"\\")[0].strip(b" \0").decode("ascii", "replace").replace("_", " ")
    known = {name.replace("_", " "): encoding for name, encoding in python_encoding.items()}
    return known.get(first, "latin_1")


def decode(raw: bytes, character_set: bytes) -> str:
    """`raw` under Specific Character Set with code extensions (PS3.5 §6.1.2.5); what cannot be read
    becomes U+FFFD.
    """
    base = codec(character_set)
    marks = list(_ESCAPES.finditer(raw))
    if not marks:
        return _clean(raw.decode(base, "replace"))
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
    return _clean(text)


def _clean(text: str) -> str:
    """Without control characters and without padding."""
    return "".join(
        character for character in text if character.isprintable() or character == " "
    ).strip()
