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
        b"file;truth\n0.png;1\n",
        b"\xff\xfe",
        b"file,truth\n.,1\n",
        b"file,truth\n0\0.png,1\n",
    ],
)
def test_labels_that_are_none_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(EvaluateError, match=r"labels\.csv"):
        read_labels(tmp_path / "labels.csv", tmp_path)
