"""HL7's own tables, as far as they decide what a message means; the site has tables of its own."""

from __future__ import annotations


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
#: Table 0038.
ORDER_STATUS = {
    "IP": "in_progress",
    "A": "in_progress",
    "CM": "performed",
    "CA": "cancelled",
    "DC": "cancelled",
    "RP": "replaced",
}
#: Tables 0123 and 0085.
REPORT_STATUS = {
    "P": "preliminary",
    "R": "preliminary",
    "A": "preliminary",
    "F": "final",
    "C": "corrected",
    "K": "corrected",
    "X": "cancelled",
}
#: The rest of both: they say nothing of a report, or that it is not there yet.
NO_REPORT = _codes("I S O N Y Z D U W V")
#: Table 0074: sections whose orders and results are not imaging.
NOT_IMAGING = _codes(
    "AU BG BLB CG CH CP EC EN GE HM IMM LAB MB MCB MYC NRS OSL OTH PAT PAR PF PHR PHY PT1 RC RT SP "
    "SR TX VR CUS0"
)
#: Table 0125: results that are numbers.
NUMERIC = _codes("NM SN NA MA")
#: ADT events that tell who a patient is and where; A40 merges, and the rest is none of ours.
PATIENT_NEWS = _codes("A01 A02 A04 A05 A06 A07 A08 A28 A31")
#: What MSH-9.2 means where a sender leaves it out.
DEFAULT_EVENT = {"ORM": "O01", "ORU": "R01", "OMI": "O23", "OMG": "O19"}
ORDER_MESSAGES = frozenset({("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19")})
