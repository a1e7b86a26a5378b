"""Reports become events: ORU^R01, and MDM about an order; their text goes under seal."""

from __future__ import annotations

from collections.abc import Collection

from streams.errors import Reason, Refuse
from streams.events import NumberKind, OrderChanged, ReportReceived
from streams.hl7 import tables
from streams.hl7.studies import Keyed, OfStudies, last_uids, with_order_segments
from streams.hl7.text.message import Group
from streams.identity.studykey import pseudonym
from streams.sealed import ReportText

#: Characters of a report's text that are kept.
_LONGEST = 64 * 1024
#: OBX-2 of what is text (table 0125).
_TEXTS = tables.codes("TX FT ST CE CWE") | {""}
_NUMBERS_OF_DOCUMENTS: tuple[tuple[NumberKind, int], ...] = (("placer", 14), ("filler", 15))


def report_status(order_code: str, result_codes: Collection[str]) -> str:
    """The state of a report; ``none`` where the codes say nothing of one, empty where there is no
    code or an unknown one.

    What errs is open: a report is final only where neither the order's code nor a result's says
    less. An addendum changes nothing in either case, so it stays one. A report of which every
    result was withdrawn is withdrawn.

    Args:
        order_code: OBR-25, upper case; empty where it is missing.
        result_codes: the OBX-11 that are there, upper case.
    """
    said = tables.REPORT_STATUS.get(order_code, "")
    if order_code and not said:
        return "none" if order_code in tables.NO_REPORT else ""
    results = {tables.RESULT_STATUS.get(code, "") for code in result_codes}
    if said == "withdrawn" or results == {"withdrawn"}:
        return "withdrawn"
    if said == "addendum":
        return said
    if said == "preliminary" or "preliminary" in results:
        # Results that are only awaited are no report yet.
        awaited = not said and set(result_codes) <= {"I", "S"}
        return "none" if awaited else "preliminary"
    if said == "corrected" or "corrected" in results:
        return "corrected"
    if said == "final" or "final" in results:
        return "final"
    return "none" if result_codes else ""


class Reports(OfStudies):
    """ORU^R01."""

    def events(self) -> list[Keyed]:
        """One event of each report; nothing is said before all are read."""
        # An ORC before its OBR may hold the order's numbers.
        groups = with_order_segments(self._message.groups("ORC", "OBR"))
        groups = [group for group in groups if group.has("OBR")]
        if not groups:
            raise Refuse(Reason.MISSING_FIELD, "OBR")
        self._envelope.need("PID")
        last = last_uids(groups)
        found = [self._report(group, last) for group in groups]
        return [event for event in found if event is not None]

    def _report(self, group: Group, last: tuple[str, ...]) -> Keyed | None:
        if self._imaging(group) is False or _measured(group):
            return None
        status = self._status(group)
        if status == "none":
            return None
        self._context.need("close", "OBR-25")
        numbers, stamp = self._numbers(group, group.uids() or last), group.text("OBR", 22)
        if status == "reading":
            return self._event(OrderChanged, group, numbers, stamp, reading=True)
        text = text_of(group)
        sealed = self._context.seal(ReportText(text=text))
        secret = self._context.ring.pseudonym
        same = pseudonym(secret, "report", stamp, text) if text else None
        return self._event(
            ReportReceived, group, numbers, stamp, status=status, text=sealed, content=same
        )

    def _status(self, group: Group) -> str:
        code = group.text("OBR", 25).upper()
        if own := self._context.site.codes.report.get(code):
            return own
        status = report_status(code, [s.text(11).upper() for s in group.all("OBX") if s.text(11)])
        if not status:
            raise Refuse(Reason.BAD_FIELD if code else Reason.MISSING_FIELD, "OBR-25")
        return status


class Documents(OfStudies):
    """MDM: a report is a document that names an order; a letter that names none is none of ours."""

    def events(self) -> list[Keyed]:
        """At most one event for each order that the document names."""
        event, document = self._message.header.event, self._message.first("TXA")
        if event not in tables.DOCUMENTS:
            return []
        if document is None:
            raise Refuse(Reason.MISSING_FIELD, "TXA")
        found = list[Keyed]()
        status = self._status(event, document.text(17).upper())
        groups = with_order_segments(self._message.groups("ORC", "OBR")) or [
            Group(self._message.segments, self._message.first("PID"), self._message.first("PV1"))
        ]
        last, text = last_uids(groups), text_of(self._message)
        for group in groups:
            numbers = self._numbers(group, group.uids() or last)
            for kind, field in _NUMBERS_OF_DOCUMENTS if len(groups) == 1 else ():
                numbers += tuple(n for n in self._number(kind, document, field) if n not in numbers)
            named = any(number.kind in ("accession", "placer", "filler") for number in numbers)
            if not named or self._imaging(group) is False:
                continue
            self._context.need("close", "TXA-17")
            sealed, stamp = self._context.seal(ReportText(text=text)), document.text(22, 1)
            stamp = self._envelope.text("EVN", 2) or stamp
            found.append(
                self._event(ReportReceived, group, numbers, stamp, status=status, text=sealed)
            )
        return found

    def _status(self, event: str, code: str) -> str:
        """What MSH-9 and TXA-17 together say; what is not signed yet closes nothing."""
        said = tables.DOCUMENT_STATUS.get(code)
        if code and said is None:
            self._context.doubt("document_status")
        signed = tables.DOCUMENTS[event]
        return signed if signed == "withdrawn" or said == "final" else "preliminary"


def text_of(group: Group) -> str:
    """The text of a report's results, one line each, at most `_LONGEST` characters."""
    lines = [
        line
        for segment in group.all("OBX")
        if segment.text(2).upper() in _TEXTS
        for line in segment.lines(5)
    ]
    return "\n".join(lines)[:_LONGEST]


def _measured(group: Group) -> bool:
    """Whether all results are numbers: a laboratory's, not a report that somebody read."""
    values = {segment.text(2) for segment in group.all("OBX")}
    return bool(values) and values <= tables.NUMERIC
