"""`vigie send` with DICOM files: each status shown, and images and messages in one call."""

from __future__ import annotations

from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from streams.commands import app
from streams.dicom.door import DicomDoor
from streams.dicom.sending import Stored, is_dicom
from tests.streams.dicom.conftest import DX, file_of, image


def write(folder: Path, name: str, data: bytes) -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


def send(door: DicomDoor, *files: Path, called: str = "VIGIE", calling: str = "SCU") -> Result:
    where = ["--images-to", f"{called}@127.0.0.1:{door.port}", "--calling", calling]
    return CliRunner().invoke(app, ["send", *where, *map(str, files)])


def lines(done: Result) -> list[str]:
    """What the command says; the door's log, which is of this process here, apart."""
    return [line for line in done.stdout.splitlines() if "[warning" not in line]


def test_each_file_is_sent_as_it_is_and_its_status_shown(door: DicomDoor, tmp_path: Path) -> None:
    first = write(tmp_path, "first.dcm", file_of(image(1)))
    film = image(1, series="1.2.3.5", sop_class=DX, modality="DX")
    second = write(tmp_path, "second", file_of(film, "1.2.840.10008.1.2"))
    done = send(door, first, second)
    assert done.exit_code == 0, done.output
    assert lines(done) == [f"0000 {first}", f"0000 {second}"]
    assert door.store.has_study("1.2.3")


def test_a_refusal_says_why_and_fails_and_the_others_are_sent(
    door: DicomDoor, tmp_path: Path
) -> None:
    bad = write(tmp_path, "bad.dcm", file_of(image(1, study="")))
    nameless = image(2)
    whole = file_of(nameless)
    cut = write(tmp_path, "cut.dcm", whole[:140])
    good = write(tmp_path, "good.dcm", whole)
    done = send(door, bad, cut, good)
    assert done.exit_code == 1
    told = lines(done)
    assert told[0].startswith(f"C000 {bad} ")
    assert len(told[0]) > len(f"C000 {bad} ")  # the door's own comment
    assert told[1].startswith(f"---- {cut} it names no")
    assert told[2] == f"0000 {good}"
    assert "not taken: 2;" in done.stderr


def test_a_caller_that_is_not_known_and_a_door_that_is_not_there_are_said_in_one_line(
    door: DicomDoor, tmp_path: Path
) -> None:
    file = write(tmp_path, "one.dcm", file_of(image(1)))
    refused = send(door, file, called="OTHER")
    assert refused.exit_code == 1
    assert "association was refused" in refused.stderr
    words = ["send", "--images-to", "VIGIE@127.0.0.1:1", str(file)]
    away = CliRunner().invoke(app, words)
    assert away.exit_code == 1
    assert "--images-to" in away.stderr


def test_what_is_dicom_is_told_by_its_bytes(tmp_path: Path) -> None:
    assert is_dicom(write(tmp_path, "order.hl7", file_of(image(1))))
    assert not is_dicom(write(tmp_path, "image.dcm", b"MSH|^~\\&|RIS\r"))
    assert not is_dicom(write(tmp_path, "empty", b""))


def test_a_warning_is_taken_and_silence_is_not() -> None:
    taken = {status: Stored(Path("x"), "", status, "").positive for status in (0, 0xB007, 0xA700)}
    assert taken == {0: True, 0xB007: True, 0xA700: False}
    assert not Stored(Path("x"), "", None, "").positive
