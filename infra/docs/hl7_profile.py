"""The HL7 profile as code: ``infra/docs/hl7.md`` is written from the tables that the door reads.

By hand are only its words: what a message does, the right that it needs, where a field is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from streams.errors import Fault, Reason, Refuse, facts
from streams.hl7 import tables
from streams.hl7.answers import REFUSALS, code_of
from streams.hl7.orders import order_said
from streams.hl7.reports import report_status
from streams.hl7.text.charsets import codec_of

PAGE = Path(__file__).with_name("hl7.md")
_STATES = {None: "refused", "": "·", "none": "no effect"}
_WHO = {Fault.SENDER: "the sender", Fault.SITE: "the site", Fault.VIGIE: "Vigie"}
_CHARSETS = (
    *("ASCII", "8859/1", "8859/15", "ISO-8859-1", "ISO_IR 100", "UNICODE UTF-8", "UTF8", "UNICODE"),
    *("WINDOWS-1252", "CP1251", "GB 18030-2000", "ISO IR87", "ISO-2022-JP", "ISO IR14"),
    *("KS X 1001", "BIG-5"),
)
_FIELDS = (
    (
        "accession",
        "`accession` of the sender: by default the first of IPC-1, OBR-18, OBR-3, ORC-3, "
        "OBR-2, ORC-2 that is no dummy (`authorities.toml`)",
    ),
    ("order numbers", "ORC-2/OBR-2 (placer), ORC-3/OBR-3 (filler), with their authorities"),
    ("study UID", "IPC-3, ZDS-1"),
    (
        "patient",
        "PID-3 (of several: `patient_authority`, else type PI, MR, the first), PID-5, 7, "
        "8; the others with PID-32",
    ),
    (
        "priority",
        "the most urgent of ORC-7.6, OBR-27.6, TQ1-9, OBR-5, each with its repetitions, by "
        "`codes.toml`; in no table: "
        "*unknown*, never routine",
    ),
    ("time of the exam", "OBR-36, TQ1-7, ORC-7.4, OBR-27.4"),
    ("exam", "OBR-4, OBR-24, IPC-5, OBR-44 by `codes.toml`"),
    ("place", "PV1-3, PV1-2 by `codes.toml`; of the visit in PV1-19, the account in PID-18"),
    (
        "beside, under seal",
        "indication (OBR-13, OBR-31, DG1), referrer (OBR-16, ORC-12), call-back "
        "(OBR-17, ORC-14), pregnancy (PV1-15), isolation (OBR-12)",
    ),
    ("when it was said", "ORC-9, OBR-22, EVN-2, else MSH-7; then MSH-13, the receipt"),
)

_WIRE = """
## The wire

- Several messages may be under way on a connection (64); answers come in their order.
- Taken: `\\n` for `\\r`, empty lines, blanks before a segment, NULs and line ends between frames,
  a missing last CR. A line that begins no segment goes on where the field before it stopped; one
  that looks like a segment of no standard (`CTA|`) is refused, unless the sender lists it
  (`segments`).
- Separators are those of MSH-1 and MSH-2, in the answer too; MSH-3, MSH-4 and MSH-10 come back byte
  for byte. Batches (FHS, BHS) are answered as a batch, message by message. An ACK is not answered.
- A frame that begins before the one before it ended makes that one a half: refused, not answered.
- MSH-11: T and D are answered and make no row, also when they are sent again from *parked*.
- Who may say what: `addresses`, `certificates` and `rights` in `senders.toml`
  ([decision](../decisions/0036-a-sender-is-who-proves-it.md)).
- What is no imaging by the sender's `not_imaging` stays off the list until an image, a step, a
  report or a person names its number.
- `vigie send` shows an answer, `vigie senders` what each sender did, `vigie parked show` why.
"""


def page() -> str:
    """The text of `PAGE`."""
    parts = [
        "# HL7 v2: what is taken, and what is answered",
        "",
        "Written by `python -m infra.docs.build` from the tables that the door reads; changes by",
        "hand are lost. Versions 2.1 to 2.8; MLLP, in clear or by TLS 1.2 and newer with client",
        "certificates. A message asserts what it mentions: what is absent says nothing, two",
        "quotes empty.",
        *_messages(),
        *_section("Fields", ("what", "from"), _FIELDS),
        *_orders(),
        *_reports(),
        *_refusals(),
        *_charsets(),
    ]
    return "\n".join(parts) + "\n" + _WIRE


def _section(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], *before: str
) -> list[str]:
    lines = ["", f"## {title}", "", *([*before, ""] if before else [])]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _events(kind: str, events: Iterable[str]) -> str:
    """``ADT^A24 A37``"""
    return f"{kind}^{' '.join(sorted(events))}"


def _messages() -> list[str]:
    acts, times = tables.IDENTITY_ACTS, tables.APPOINTMENTS
    by_act = {
        act: _events("ADT", (event for event in acts if acts[event] == act))
        for act in ("merge", "move", "link", "unlink")
    }
    moved, gone = (
        _events("SIU", (event for event in times if times[event] is has)) for has in (True, False)
    )
    ends = " and ".join(sorted(tables.ENDS_VISIT))
    moves = "; ".join(
        f"{event}: the {kind}'s orders (MRG-{field})"
        for event, (kind, field) in tables.MOVED_BY.items()
    )
    scheduled = "only with SCH-26, SCH-27 or ORC"
    rows = (
        (
            ", ".join(map("^".join, sorted(tables.ORDER_MESSAGES))),
            "orders: the table of ORC-1 and ORC-5",
            "order, cancel",
        ),
        ("ORU^R01", "reports: the table of OBR-25 and OBX-11; the text is kept, sealed", "close"),
        (
            _events("MDM", tables.DOCUMENTS),
            "a report, where the document names an order: by TXA-17; else no effect",
            "close",
        ),
        (moved, f"the exam's time is moved, {scheduled}", "order"),
        (gone, f"the exam's time is taken away, {scheduled}; the order stays", "order"),
        (
            _events("ADT", tables.PATIENT_NEWS),
            f"who a patient is and where; {ends} end the visit; with ZBE-5 = Y no place of now",
            "order",
        ),
        (by_act["merge"], "one number instead of another (MRG)", "merge"),
        (by_act["move"], f"a number moves; {moves}", "merge"),
        (by_act["link"], "two numbers are one person's", "merge"),
        (by_act["unlink"], "two numbers are no longer one person's", "merge"),
        ("other ADT, SIU, MDM", "none here: AA, counted under the event's name", "order"),
    )
    return _section("Messages", ("message", "effect", "right that it needs"), rows)


def _orders() -> list[str]:
    """ORC-1 × ORC-5; controls that say the same in every column share a row."""
    statuses = ["", *sorted(filter(None, tables.ORDER_STATUS)), "other"]
    alike: dict[tuple[str, ...], list[str]] = {}
    for control in (*sorted(tables.ORDER_CONTROL), "other"):
        said = (order_said(control, status) for status in statuses)
        cells = tuple(_STATES.get(word, word or "") for word in said)
        alike.setdefault(cells, []).append(control or "missing")
    rows = [(" ".join(controls), *cells) for cells, controls in alike.items()]
    head = ("ORC-1 \\ ORC-5", *(status or "missing" for status in statuses))
    return _section("Orders: ORC-1 and ORC-5", head, rows, "·: the order's state stays as it was.")


def _reports() -> list[str]:
    """OBR-25 × OBX-11, of one result."""
    results = ["", *sorted({*tables.RESULT_STATUS, *"ISU"})]
    rows = [
        (code or "missing", *(_report(code, result) for result in results))
        for code in ("", *sorted({*tables.REPORT_STATUS, *tables.NO_REPORT}))
    ]
    head = ("OBR-25 \\ OBX-11", *(result or "none" for result in results))
    return _section(
        "Reports: OBR-25 and OBX-11", head, rows, "Of several results the least counts."
    )


def _report(code: str, result: str) -> str:
    said = report_status(code, [result] if result else [])
    return {"none": "no effect", "": "refused"}.get(said, said)


def _refusals() -> list[str]:
    rows = []
    for reason, told in REFUSALS.items():
        known, code = facts(reason), code_of(Refuse(reason))
        rows.append(
            (
                code,
                f"`{reason.value}`",
                str(told.number),
                _WHO[known.fault],
                _kept(reason),
                told.says,
            )
        )
    before = (
        "AA: durable, or no effect here (counted). In enhanced mode CA, CE, CR by MSH-15, then AA,",
        "AE, AR by MSH-16 (AL, NE, ER, SU). A message that comes again is answered alike and taken",
        "once; another one with its MSH-10 is taken, and counted.",
    )
    head = ("MSA-1", "reason", "ERR", "who mends it", "parked", "what the sender reads")
    return _section("Answers", head, rows, *before)


def _kept(reason: Reason) -> str:
    if reason is Reason.TOO_LARGE:
        return "no"
    return "no" if facts(reason).retryable else "once"


def _charsets() -> list[str]:
    rows = [(f"`{name}`", f"`{codec_of(name)}`") for name in _CHARSETS]
    before = (
        "No byte of a name refuses a message. What is not as MSH-18 declares is read by the",
        "sender's `charset` and marked doubtful; nothing declared: UTF-8, else `charset`.",
    )
    return _section("Character sets", ("MSH-18, for instance", "read as"), rows, *before)
