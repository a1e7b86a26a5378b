"""What the door agrees to: which SOP classes it takes, in which transfer syntaxes."""

from __future__ import annotations

from streams.dicom.steps import MPPS
from streams.dicom.upper import pdu
from streams.dicom.upper.pdu import Context

VERIFICATION = "1.2.840.10008.1.1"
NOTICE = "1.2.840.10008.5.1.4.33"  # Instance Availability Notification
#: Data sets that are read here, not stored, come in no compressed syntax.
PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
SERVICES = frozenset({VERIFICATION, MPPS, NOTICE})
_STANDARD = "1.2.840.10008."
_IMAGES = "1.2.840.10008.5.1.4.1.1."
#: Storage classes that stand elsewhere in the tree of UIDs (PS3.4 §B.5, §GG.3).
_ELSEWHERE = frozenset(
    f"1.2.840.10008.5.1.4.{part}"
    for part in ("34.1", "34.7", "34.10", "38.1", "39.1", "43.1", "44.1", "45.1")
)
#: Queries for protocols and inventories, which stand among the storage classes (§HH, §JJ).
_QUERIES = frozenset(
    f"{_IMAGES}{part}"
    for part in ("200.4", "200.5", "200.6", "201.2", "201.3", "201.4", "201.5", "201.6")
)
#: What `triage` reads, what it says *no decoder* of, and three private ones that scanners send:
#: each is stored and listed. One that is not here is refused when it is proposed, so that its
#: sender can offer another.
SYNTAXES = frozenset(
    [f"1.2.840.10008.1.2{part}" for part in ("", ".1", ".1.99", ".2", ".5", ".8.1")]
    + [f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70, 80, 81)]
    + [f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 94, 95)]
    + [f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)]
    + [f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112, 201, 202, 203, 204, 205)]
    + [f"1.2.840.10008.1.2.4.{number}.1" for number in range(100, 107)]
    + ["1.2.840.113619.5.2", "1.3.46.670589.33.1.4.1", "1.2.276.0.50.1.2.1"]
    + ["1.2.840.10008.1.20"]
)


def is_storage(sop_class: str) -> bool:
    """Whether instances of the class are stored: all of the standard's and every private one."""
    if sop_class.startswith(_STANDARD):
        return sop_class in _ELSEWHERE or (
            sop_class.startswith(_IMAGES) and sop_class not in _QUERIES
        )
    return bool(sop_class)


def agree(proposed: Context) -> tuple[int, str]:
    """The result of a proposed context and the first transfer syntax that is taken: the caller
    names the best first.
    """
    if proposed.abstract in SERVICES:
        taken: tuple[str, ...] | frozenset[str] = PLAIN
    elif is_storage(proposed.abstract):
        taken = SYNTAXES
    else:
        return pdu.NO_ABSTRACT, ""
    for transfer in proposed.transfers:
        if transfer in taken:
            return pdu.ACCEPTED, transfer
    return pdu.NO_TRANSFER, ""
