"""What an archive is asked for, whichever way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Protocol

WAIT_S = 30.0
MOST = 20_000  # studies of one pass
STUDY, CHARSET, INSTANCES = 0x0020000D, 0x00080005, 0x00201208
MODALITIES = 0x00080061  # Modalities in Study
#: The issuer of the accession number and its parts.
ISSUERS = {0x00080051: (0x00400031, 0x00400032, 0x00400033)}
#: Of each study, beside its UID: those of `streams.dicom.patients`, and what there is of it.
KEYS = (
    0x00080030,  # Study Time
    0x00080050,  # Accession Number
    0x00080051,
    MODALITIES,
    0x00081030,  # Study Description
    0x00100010,  # Patient's Name, ID, Issuer, Birth Date, Sex
    0x00100020,
    0x00100021,
    0x00100030,
    0x00100040,
    INSTANCES,
)


class Archive(Protocol):
    """One archive that can be asked."""

    def studies(self, since: date, until: date) -> Iterator[bytes]:
        """The data sets of its studies dated from `since` to `until`, both included, on its own
        clock; implicit VR little endian.

        Raises:
            Unavailable: `archive_down` where it does not answer, or only in part.
        """
