"""The HL7 v2 messages of the demo's RIS: orders, reports, ADT, and one that is no message."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from infra.demo.case import Act, Case
from infra.demo.odd.stories import accessions_of

#: The codes that a RIS sends for what we draw: code, text, modality.
PROCEDURES = {
    "head_ct": ("CTHEAD", "CT head without contrast", "CT"),
    "chest": ("XRCHEST", "Chest, frontal", "DX"),
    "knee": ("XRKNEE", "Knee, frontal", "DX"),
    "abdomen": ("XRABDO", "Abdomen, supine", "DX"),
    "picture": ("IMAGE", "Imported image", "OT"),
}

#: How long the RIS was down before it sends what it kept.
DOWNTIME = timedelta(hours=2)
_REPORTS = {"preliminary": "P", "final": "F", "addendum": "A"}
_KINDS = {
    "merge": "ADT^A40^ADT_A39",
    "transfer": "ADT^A02^ADT_A02",
    **dict.fromkeys(_REPORTS, "ORU^R01^ORU_R01"),
}


def build(act: Act, case: Case, control_id: str, now: datetime) -> bytes:
    """The message of one act, stamped `now`. Raises ValueError for an act that is no message."""
    if act == "bad_message":
        return b"MSH|^~\\&|RIS|DEMO\rthis is no HL7 message"
    kind = _KINDS.get(act, "ORM^O01^ORM_O01")
    hospital = "ANNEX" if act == "twin_order" else "DEMO"
    processing = "T" if act == "test_order" else "P"
    said = now - DOWNTIME if act == "backlog" else now
    stamp = said.strftime("%Y%m%d%H%M%S.%f")[:18] + "+0000"
    head = (
        f"MSH|^~\\&|RIS|{hospital}|VIGIE|DEMO|{stamp}||{kind}|{control_id}|{processing}|2.5.1"
        "||||||UNICODE UTF-8"
    )
    if act == "merge":
        return _message(head, f"EVN||{stamp}", _pid(case), f"MRG|{case.patient.id}OLD^^^DEMO^MR")
    if act == "transfer":
        return _message(head, f"EVN||{stamp}", _pid(case), "PV1||I|ICU")
    visit = f"PV1||{case.location or 'U'}"
    if status := _REPORTS.get(act):
        result = f"OBX|1|TX|18782-3^Study observation^LN||Read in the demo.||||||{status}"
        return _message(head, _pid(case), visit, _obr(case, stamp, status), result)
    if act == "status":
        order = f"ORC|SC|P{case.accession}|F{case.accession}||IP||||{stamp}"
        return _message(head, _pid(case), order, f"OBR|1|P{case.accession}|F{case.accession}")
    person = _pid(case, hospital) if act == "twin_order" else _pid(case)
    return _message(head, person, visit, *_orders(act, case, said, stamp))


def _orders(act: Act, case: Case, now: datetime, stamp: str) -> list[str]:
    """Of a trauma several orders, read as one; else one."""
    control, state = ("CA", "CA") if act == "cancel" else ("NW", "SC")
    when = now + timedelta(hours=26) if act == "booking" else now
    priority = "R" if act == "twin_order" else case.priority
    timing = f"^^^{when.strftime('%Y%m%d%H%M%S')}+0000^^{priority}"
    found = []
    for number in accessions_of(case) if act == "trauma" else [case.accession]:
        one = replace(case, accession=number)
        order = f"ORC|{control}|P{number}|F{number}||{state}||{timing}||{stamp}"
        found += [order, _obr(one, stamp, "", timing)]
    if act != "twin_order":
        found.append(f"ZDS|{case.study_uid}^VIGIE^Application^DICOM")
    return found


def _pid(case: Case, hospital: str = "DEMO") -> str:
    """Another hospital gave the same number to somebody else."""
    who = case.patient
    name = f"{who.family}^{who.given}" if hospital == "DEMO" else f"Twin^{hospital}"
    born = who.birth_date if hospital == "DEMO" else "19511102"
    return f"PID|1||{who.id}^^^{hospital}^MR||{name}||{born}|{who.sex}"


def _obr(case: Case, stamp: str, status: str, timing: str = "") -> str:
    code, text, modality = PROCEDURES[case.kind]
    fields = [""] * 31
    fields[1], fields[2], fields[3], fields[4] = (
        "1",
        f"P{case.accession}",
        f"F{case.accession}",
        f"{code}^{text}^DEMO",
    )
    fields[18], fields[22], fields[24], fields[25], fields[27] = (
        case.accession,
        stamp,
        modality,
        status,
        timing,
    )
    return "OBR" + "|".join(fields).rstrip("|")


def _message(*segments: str) -> bytes:
    return "".join(segment + "\r" for segment in segments).encode()
