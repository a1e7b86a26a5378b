"""HL7's own tables, as far as they decide what a message means; the site has tables of its own."""

from __future__ import annotations

import re
from typing import Literal

from streams.events import NumberKind


def codes(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


#: The segments of versions 2.1 to 2.8; a site's own begin with Z.
SEGMENTS = codes(
    "ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI CDM "
    "CDO CER CM0 CM1 CM2 CNS CON CSP CSR CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST "
    "ECD ECR EDU EQL EQP EQU ERQ ERR EVN FAC FHS FT1 FTS GOL GP1 GP2 GT1 IAM IAR IIM ILT IN1 IN2 "
    "IN3 INV IPC IPR ISD ITM IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE MFI MRG MSA MSH NCK NDS "
    "NK1 NPU NSC NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OMC ORC ORG "
    "ORO OVR PAC PAR PCE PCR PD1 PDA PDC PEO PES PID PKG PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH "
    "PSL PSS PTH PV1 PV2 PYE QAK QID QPD QRD QRF QRI RCP RDF RDT RF1 RFI RGS RMI ROL RQ1 RQD RXA "
    "RXC RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT SHP SID SLT SPM STF STZ TCC TCD "
    "TQ1 TQ2 TXA UAC UB1 UB2 URD URS VAR VND VTQ"
)
#: Table 0119, ORC-1: what a control says of an order before ORC-5 is read. *none*: that the order
#: is as it was; empty: whatever ORC-5 says.
ORDER_CONTROL: dict[str, str] = {
    **dict.fromkeys(codes("CA OC CR DC OD DR"), "cancelled"),
    **dict.fromkeys(codes("RP RU RQ"), "replaced"),
    **dict.fromkeys(codes("NW OK RL OE OR RO"), "scheduled"),
    **dict.fromkeys(codes("XO XR XX SC SN NA RE PA CH PR CN HD OH HR OF"), ""),
    **dict.fromkeys(codes("RF RR AF FU LI PC OP CP PY"), ""),
    # Refused requests, questions and errors.
    **dict.fromkeys(codes("DE DF UA UC UD UF UH UM UN UR UX SS SR MC"), "none"),
    "": "",
}
#: What an ORC orders where no OBR follows (§4.4.1): medicines, meals, supplies, blood.
OTHER_ORDERS = codes("RXO RXE RXD RXG RXA ODS ODT RQD RQ1 BPO")
#: Controls whose ORC-9 is when the order was given, and not when it was changed.
GIVES = codes("NW RO") | {""}
#: Controls that change an order, and never give one.
CHANGES = codes("XO XX")
#: Table 0038, ORC-5: where an order stands; empty: that says nothing of it. What is not here counts
#: as missing, and as a doubt.
ORDER_STATUS = {
    "SC": "scheduled",
    "IP": "in_progress",
    "A": "in_progress",
    "CM": "performed",
    "CA": "cancelled",
    "DC": "cancelled",
    "RP": "replaced",
    "HD": "",
    "ER": "",
    "": "",
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
NO_REPORT = codes("I S O N Y Z M")
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
#: Table 0009, PV1-15.
PREGNANT = "B6"
#: Table 0125: results that are numbers.
NUMERIC = codes("NM SN NA MA")
#: ADT events that tell who a patient is and where; Z99 corrects a movement (IHE PAM, France).
PATIENT_NEWS = codes("A01 A02 A03 A04 A05 A06 A07 A08 A11 A12 A13 A28 A31 Z99")
#: Those that end a visit, or take it back.
ENDS_VISIT = codes("A03 A11")
#: ADT events about two numbers: what becomes of the old one.
IDENTITY_ACTS: dict[str, Literal["merge", "link", "unlink", "move"]] = {
    **dict.fromkeys(codes("A18 A30 A34 A36 A40 A46 A47"), "merge"),
    **dict.fromkeys(codes("A43 A44 A45"), "move"),
    "A24": "link",
    "A37": "unlink",
}
#: What moves from one patient to the other, where it is not the number itself: field of MRG.
MOVED_BY: dict[str, tuple[NumberKind, int]] = {"A44": ("account", 3), "A45": ("visit", 5)}
#: MDM events with the text of a document: what they say of one that is signed; of one that is
#: withdrawn in any case.
DOCUMENTS = {
    "T02": "final",
    "T04": "final",
    "T06": "addendum",
    "T08": "final",
    "T10": "corrected",
    "T11": "withdrawn",
}
#: Table 0271, TXA-17.
DOCUMENT_STATUS = {
    "AU": "final",
    "LA": "final",
    "PA": "preliminary",
    "DO": "preliminary",
    "DI": "preliminary",
    "IP": "preliminary",
    "IN": "preliminary",
}
#: SIU events: whether the exam has a time then.
APPOINTMENTS = {
    **dict.fromkeys(codes("S12 S13 S14"), True),
    **dict.fromkeys(codes("S15 S16 S17 S26"), False),
}
#: What MSH-9.2 means where a sender leaves it out.
DEFAULT_EVENT = {"ORM": "O01", "ORU": "R01", "OMI": "O23", "OMG": "O19"}
ORDER_MESSAGES = frozenset({("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19")})
#: Message types that are understood; of their other events it is said that they have no effect.
_EVENTS = {"ADT": r"A\d\d|Z99", "SIU": r"S(?:1[2-9]|2[0-6])", "MDM": r"T(?:0[1-9]|1[01])"}
_UNDERSTOOD = re.compile("|".join(f"{kind}\\^(?:{events})" for kind, events in _EVENTS.items()))


def understood(message_type: str, event: str) -> bool:
    """Whether it is a message of which it is known what it says, be that nothing for the list."""
    return (message_type, event) in ORDER_MESSAGES | {("ORU", "R01")} or bool(
        _UNDERSTOOD.fullmatch(f"{message_type}^{event}")
    )
