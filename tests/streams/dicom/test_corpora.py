"""Every file of the corpora has the outcome that `corpora_outcomes.csv` states."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pynetdicom import AE, _config

from streams.dicom import part10
from streams.dicom.door import DicomDoor
from streams.errors import Refuse
from tests.streams.dicom.senders import raw_store

OUTCOMES = Path(__file__).with_name("corpora_outcomes.csv")
#: What may stand in the table, beside statuses: it is no file of PS3.10, or no class that is sent.
APART = {"no file", "not proposed"}


def outcomes_of(door: DicomDoor, folder: Path) -> dict[str, str]:
    """File → status of its C-STORE, sent byte for byte as a sender would."""
    found: dict[str, str] = {}
    by_context: dict[tuple[str, str], list[tuple[str, part10.File, bytes]]] = {}
    for path in sorted(folder.glob("*.dcm")):
        data = path.read_bytes()
        try:
            file = part10.unwrap(data)
        except Refuse:
            found[path.name] = "no file"
            continue
        context = (file.sop_class, file.transfer_syntax)
        by_context.setdefault(context, []).append((path.name, file, data[file.start :]))
    for context, files in by_context.items():
        ae = AE()
        ae.add_requested_context(*context)
        association = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
        for name, file, data in files:
            accepted = bool(association.accepted_contexts)
            status = f"{raw_store(association, file, data):04X}" if accepted else "not proposed"
            found[name] = status
        association.release()
    return found


@pytest.mark.needs("corpora")
def test_every_file_of_the_corpora_ends_as_the_table_says(
    door: DicomDoor, corpora_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)
    with OUTCOMES.open() as table:
        stated = {row["file"]: row["outcome"] for row in csv.DictReader(table)}
    found = outcomes_of(door, corpora_dir / "dicom")
    assert {name for name in stated if name.startswith("broken")} <= set(found)
    assert {name: (stated.get(name), one) for name, one in found.items()} == {
        name: (one, one) for name, one in found.items()
    }
    assert set(stated.values()) <= APART | {"0000", "B007", "A900", "C000"}
