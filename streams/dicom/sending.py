"""A small sender for integrators: DICOM files by C-STORE, as they are, and what was answered."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE
from pynetdicom.association import Association

_ANSWER_S = 30.0
_CONTEXTS = 128  # an association proposes no more
_MAGIC = slice(128, 132)


class Stored(NamedTuple):
    """What was answered to one file: `status` is None where nothing was; `says`, why."""

    file: Path
    study_uid: str
    status: int | None
    says: str

    @property
    def positive(self) -> bool:
        """Whether the image was taken, with a warning or without."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)


def is_dicom(file: Path) -> bool:
    """Whether it is a file as DICOM's part 10 has it. Raises OSError."""
    with file.open("rb") as start:
        return start.read(132)[_MAGIC] == b"DICM"


def send(
    files: Sequence[Path], host: str, port: int, called: str, calling: str
) -> Iterator[Stored]:
    """Sends each file, in one association for all that it can carry.

    Raises:
        OSError: nobody listens, or the association is refused.
    """
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes values
    with socket.create_connection((host, port), timeout=_ANSWER_S):
        pass  # pynetdicom leaves a socket open where nobody listens
    for start in range(0, len(files), _CONTEXTS):
        yield from _send(files[start : start + _CONTEXTS], host, port, called, calling)


def _send(
    files: Sequence[Path], host: str, port: int, called: str, calling: str
) -> Iterator[Stored]:
    found = [(file, _read(file)) for file in files]
    wanted = {(_class_of(image), _syntax_of(image)) for _, image in found if image is not None}
    client = AE(ae_title=calling)
    client.acse_timeout = client.dimse_timeout = client.network_timeout = _ANSWER_S
    for kind, syntax in sorted(wanted):
        client.add_requested_context(kind, syntax)
    association = client.associate(host, port, ae_title=called) if wanted else None
    if association is not None and not association.is_established:
        raise OSError("the association was refused: titles, or the caller, are not known there")
    for file, image in found:
        if image is None or association is None:
            yield Stored(file, "", None, "it names no SOP class, instance or transfer syntax")
        else:
            yield _store(association, file, image)
    if association is not None:
        association.release()


def _store(association: Association, file: Path, image: FileDataset) -> Stored:
    study = str(image.get("StudyInstanceUID", ""))
    try:
        answer = association.send_c_store(image)
    except (ValueError, RuntimeError, AttributeError) as error:
        return Stored(file, study, None, f"not sent ({type(error).__name__}): {error}")
    status = answer.get("Status")
    return Stored(file, study, status, str(answer.get("ErrorComment", "")) or _silence(status))


def _silence(status: int | None) -> str:
    return "no answer" if status is None else ""


def _read(file: Path) -> FileDataset | None:
    """The file; None where it does not say what it is."""
    try:
        image = dcmread(file)
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return None
    return image if _class_of(image) and _syntax_of(image) and image.get("SOPInstanceUID") else None


def _class_of(image: FileDataset) -> str:
    return str(image.get("SOPClassUID", ""))


def _syntax_of(image: FileDataset) -> str:
    return str(image.file_meta.get("TransferSyntaxUID", ""))
