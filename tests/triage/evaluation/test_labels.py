"""The CSV of a labelled set, as spreadsheets write it, and what is wrong with it by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.triage.evaluation.pictures import labelled, pictures
from triage.evaluation.labels import EvaluateError, read_labels


@pytest.mark.parametrize("line", ["missing.png,1,p", "0.png,2,p", "../labels.csv,1,p", ",1,p"])
def test_wrong_labels_are_told_by_line(line: str, tmp_path: Path) -> None:
    labels = labelled(tmp_path)
    labels.write_text(labels.read_text() + line + "\n")
    with pytest.raises(EvaluateError, match="line 8"):
        read_labels(labels, tmp_path)


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    (tmp_path / "link.png").symlink_to(tmp_path.parent / tmp_path.name / "0.png")
    text = (
        '\ufeff File ,Truth, patient_id ,note\r\n"0.png", 1 ,a,"two\r\nlines"\r\n\r\n'
        "link.png,0,,\r\n1.png,2,b,\r\n"
    )
    (tmp_path / "labels.csv").write_bytes(text.encode())
    with pytest.raises(EvaluateError, match="line 6"):
        read_labels(tmp_path / "labels.csv", tmp_path)
    (tmp_path / "labels.csv").write_bytes(text.replace(",2,", ",1,").encode())
    cases = read_labels(tmp_path / "labels.csv", tmp_path)
    assert [(case.file.name, case.truth, case.named) for case in cases] == [
        ("0.png", 1, "labels.csv, line 3"),
        ("link.png", 0, "labels.csv, line 5"),
        ("1.png", 1, "labels.csv, line 6"),
    ]
    assert len({case.patient for case in cases}) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"file,truth\n",
        b"file;truth\n0.png;2\n",
        b"\xff\xfe",
        b"file,truth\n.,1\n",
        b"file,truth\n0\0.png,1\n",
    ],
)
def test_labels_that_are_none_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(EvaluateError, match=r"labels\.csv"):
        read_labels(tmp_path / "labels.csv", tmp_path)


def test_columns_may_be_parted_by_semicolons_as_french_spreadsheets_write_them(
    tmp_path: Path,
) -> None:
    pictures(tmp_path, 2)
    labels = tmp_path / "labels.csv"
    labels.write_text("\ufefffile;truth;patient_id\n0.png;1;a\n1.png;0;b, c\n", "utf-8")
    cases = read_labels(labels, tmp_path)
    assert [(one.file.name, one.truth, one.patient) for one in cases] == [
        ("0.png", 1, "a"),
        ("1.png", 0, "b, c"),
    ]


def test_labels_that_are_not_utf_8_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("file,truth,r\u00e9sultat\n".encode("latin-1"))
    with pytest.raises(EvaluateError, match=r"labels\.csv: no UTF-8; save it as CSV UTF-8"):
        read_labels(tmp_path / "labels.csv", tmp_path)


def test_a_case_with_both_truths_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    (tmp_path / "labels.csv").write_text("file,truth\n0.png,1\n1.png,0\n0.png,0\n", "utf-8")
    with pytest.raises(EvaluateError, match=r"labels\.csv, line 4: 0\.png: has truth 1"):
        read_labels(tmp_path / "labels.csv", tmp_path)
