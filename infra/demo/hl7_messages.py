"""The HL7 v2 messages of the demo's RIS: ORM^O01, ADT^A40, ORU^R01, and one that is no message."""

from __future__ import annotations

from datetime import datetime, timedelta

from infra.demo.case import Act, Case

#: The codes that a RIS sends for what we draw: code, text, modality.
PROCEDURES = {
    "head_ct": ("CTHEAD", "CT head without contrast", "CT"),
    "chest": ("XRCHEST", "Chest, frontal", "DX"),
    "knee": ("XRKNEE", "Knee, frontal", "DX"),
    "abdomen": ("XRABDO", "Abdomen, supine", "DX"),
    "picture": ("IMAGE", "Imported image", "OT"),
}


def build(act: Act, case: Case, control_id: str, now: datetime) -> bytes:
    """The message of one act, stamped `now`. Raises ValueError for an act that is no message."""
    stamp = now.strftime("%Y%m%d%H%M%S.%f")[:18] + "+0000"
    if act == "bad_message":
        return b"MSH|^~\\&|RIS|DEMO\rthis is no HL7 message"
    kind = {
        "merge": "ADT^A40^ADT_A39",
        "preliminary": "ORU^R01^ORU_R01",
        "final": "ORU^R01^ORU_R01",
    }.get(act, "ORM^O01^ORM_O01")
    head = f"MSH|^~\\&|RIS|DEMO|VIGIE|DEMO|{stamp}||{kind}|{control_id}|P|2.5.1||||||UNICODE UTF-8"
    if act == "merge":
        return _message(head, f"EVN||{stamp}", _pid(case), f"MRG|{case.patient.id}OLD^^^DEMO^MR")
    visit = f"PV1||{case.location or 'U'}"
    if act in ("preliminary", "final"):
        status = "P" if act == "preliminary" else "F"
        result = f"OBX|1|TX|18782-3^Study observation^LN||Read in the demo.||||||{status}"
        return _message(head, _pid(case), visit, _obr(case, stamp, status), result)
    control, state = {"cancel": ("CA", "CA"), "order_again": ("NW", "SC")}.get(act, ("NW", "SC"))
    when = now + timedelta(hours=26) if act == "booking" else now
    timing = f"^^^{when.strftime('%Y%m%d%H%M%S')}+0000^^{case.priority}"
    order = f"ORC|{control}|P{case.accession}|F{case.accession}||{state}||{timing}||{stamp}"
    return _message(
        head,
        _pid(case),
        visit,
        order,
        _obr(case, stamp, "", timing),
        f"ZDS|{case.study_uid}^VIGIE^Application^DICOM",
    )


def _pid(case: Case) -> str:
    who = case.patient
    return f"PID|1||{who.id}^^^DEMO^MR||{who.family}^{who.given}||{who.birth_date}|{who.sex}"


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
