"""HL7's own tables, as far as they decide what a message means; the site has tables of its own."""

from __future__ import annotations

from typing import Literal

from streams.events import NumberKind


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Table 0119. A control that is in none of the next three leaves the state to ORC-5.
CANCELS = _codes("CA OC CR DC OD DR")
REPLACES = _codes("RP RU RQ")
CHANGES_NOTHING = _codes("DE DF UA UC UD UF UH UM UN UR UX SS SR MC")
CONTROLS = (
    CANCELS
    | REPLACES
    | CHANGES_NOTHING
    | {""}
    | _codes("NW OK XO XR XX SC SN NA OE OF OH OR PA PR PY CH CN RE RF RL RO RR")
    | _codes("HD HR AF FU LI PC OP CP")
)
#: Controls that state that the order stands; the others leave that to ORC-5.
STANDS = _codes("NW OK RL")
#: Controls whose ORC-9 is when the order was given, and not when it was changed.
GIVES = _codes("NW RO") | {""}
#: Table 0038; what is not here says nothing.
ORDER_STATUS = {
    "SC": "scheduled",
    "IP": "in_progress",
    "A": "in_progress",
    "CM": "performed",
    "CA": "cancelled",
    "DC": "cancelled",
    "RP": "replaced",
}
#: Table 0123, OBR-25: what the order's code says of a report.
REPORT_STATUS = {
    "P": "preliminary",
    "R": "preliminary",
    "A": "addendum",
    "F": "final",
    "C": "corrected",
    "K": "corrected",
    "X": "withdrawn",
    "D": "withdrawn",
    "W": "withdrawn",
}
#: The rest of it: they say nothing of a report, or that it is not there yet.
NO_REPORT = _codes("I S O N Y Z M")
#: Table 0085, OBX-11: what a result's code says of its part of the report; others say nothing. I
#: and S: a part is still to come.
RESULT_STATUS = {
    "P": "preliminary",
    "R": "preliminary",
    "I": "preliminary",
    "S": "preliminary",
    "F": "final",
    "U": "final",
    "C": "corrected",
    "X": "withdrawn",
    "D": "withdrawn",
    "W": "withdrawn",
}
#: Table 0074: sections whose orders and results are not imaging.
NOT_IMAGING = _codes(
    "AU BG BLB CG CH CP EC EN GE HM IMM LAB MB MCB MYC NRS OSL OTH PAT PAR PF PHR PHY PT1 RC RT SP "
    "SR TX VR CUS0"
)
#: Table 0125: results that are numbers.
NUMERIC = _codes("NM SN NA MA")
#: ADT events that tell who a patient is and where.
PATIENT_NEWS = _codes("A01 A02 A03 A04 A05 A06 A07 A08 A11 A12 A13 A28 A31")
#: Those that end a visit, or take it back.
ENDS_VISIT = _codes("A03 A11")
#: ADT events about two numbers: what becomes of the old one.
IDENTITY_ACTS: dict[str, Literal["merge", "link", "unlink", "move"]] = {
    "A18": "merge",
    "A30": "merge",
    "A34": "merge",
    "A36": "merge",
    "A40": "merge",
    "A46": "merge",
    "A47": "merge",
    "A43": "move",
    "A44": "move",
    "A45": "move",
    "A24": "link",
    "A37": "unlink",
}
#: What moves from one patient to the other, where it is not the number itself: field of MRG.
MOVED_BY: dict[str, tuple[NumberKind, int]] = {"A44": ("account", 3), "A45": ("visit", 5)}
#: What MSH-9.2 means where a sender leaves it out.
DEFAULT_EVENT = {"ORM": "O01", "ORU": "R01", "OMI": "O23", "OMG": "O19"}
ORDER_MESSAGES = frozenset({("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19")})
