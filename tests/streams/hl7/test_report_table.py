"""What OBR-25 and OBX-11 say of a report, cell by cell."""

from __future__ import annotations

import itertools

import pytest

from streams.hl7 import tables
from streams.hl7.reports import report_status

#: Rows: OBR-25 (``-`` missing, ``Q`` unknown). Columns: the OBX-11 of the message (``-`` none).
TABLE = """
     -     F     P     R     C     X     W     D     I     S     U     Q     F,P   F,W   F,C   F,F,P W,D   F,Q   F,I
-    ?     final pre   pre   corr  wdrn  wdrn  wdrn  none  none  final none  pre   final corr  pre   wdrn  final pre
P    pre   pre   pre   pre   pre   wdrn  wdrn  wdrn  pre   pre   pre   pre   pre   pre   pre   pre   wdrn  pre   pre
R    pre   pre   pre   pre   pre   wdrn  wdrn  wdrn  pre   pre   pre   pre   pre   pre   pre   pre   wdrn  pre   pre
F    final final pre   pre   corr  wdrn  wdrn  wdrn  pre   pre   final final pre   final corr  pre   wdrn  final pre
C    corr  corr  pre   pre   corr  wdrn  wdrn  wdrn  pre   pre   corr  corr  pre   corr  corr  pre   wdrn  corr  pre
K    corr  corr  pre   pre   corr  wdrn  wdrn  wdrn  pre   pre   corr  corr  pre   corr  corr  pre   wdrn  corr  pre
A    add   add   add   add   add   wdrn  wdrn  wdrn  add   add   add   add   add   add   add   add   wdrn  add   add
X    wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn
W    wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn
D    wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn  wdrn
I    none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none
S    none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none
O    none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none
Y    none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none
Z    none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none  none
Q    ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?     ?
"""  # noqa: E501 — a table
WORDS = {
    "pre": "preliminary",
    "corr": "corrected",
    "wdrn": "withdrawn",
    "add": "addendum",
    "final": "final",
    "none": "none",
    "?": "",
}
_HEAD, *_ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [
    (row[0].strip("-"), tuple(code for code in column.split(",") if code != "-"), WORDS[cell])
    for row in _ROWS
    for column, cell in zip(_HEAD, row[1:], strict=True)
]


@pytest.mark.parametrize(("order_code", "result_codes", "word"), CELLS)
def test_a_report(order_code: str, result_codes: tuple[str, ...], word: str) -> None:
    for codes in itertools.permutations(result_codes):
        assert report_status(order_code, codes) == word


def test_every_code_of_the_order_s_table_is_in_a_row() -> None:
    assert {row for row, _, _ in CELLS} >= set(tables.REPORT_STATUS)


def test_only_a_code_that_says_final_gives_a_final() -> None:
    """Whatever else stands there: unknown letters, X, W, a part that is missing."""
    letters = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    for order_code in ("", *letters):
        for result_codes in itertools.product(letters, repeat=2):
            if report_status(order_code, result_codes) == "final":
                assert "F" in (order_code, *result_codes) or "U" in result_codes
                assert not {"P", "R", "I", "S"} & set(result_codes)
