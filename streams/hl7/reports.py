"""What OBR-25 and OBX-11 together say of a report: a table, each of its cells tested."""

from __future__ import annotations

from collections.abc import Collection

from streams.hl7 import tables

_NOT_YET = frozenset({"preliminary"})


def report_status(order_code: str, result_codes: Collection[str]) -> str:
    """The state of a report; ``none`` where the codes say nothing of one, empty where there is no
    code or an unknown one.

    What errs is open: a report is final only where neither the order's code nor a result's says
    less. A report of which every result was withdrawn is withdrawn.

    Args:
        order_code: OBR-25, upper case; empty where it is missing.
        result_codes: the OBX-11 that are there, upper case.
    """
    results = {tables.REPORT_STATUS[c] for c in result_codes if c in tables.REPORT_STATUS}
    all_withdrawn = bool(result_codes) and results == {"withdrawn"}
    all_withdrawn = all_withdrawn and not set(result_codes) & tables.NO_REPORT
    if order_code and order_code not in tables.REPORT_STATUS:
        return "none" if order_code in tables.NO_REPORT else ""
    said = tables.REPORT_STATUS.get(order_code, "")
    if said == "withdrawn" or all_withdrawn:
        return "withdrawn"
    if said == "preliminary" or results & _NOT_YET:
        return "preliminary"
    if said == "addendum" or (not said and "addendum" in results):
        return "addendum"
    if said == "corrected" or "corrected" in results:
        return "corrected"
    if said or "final" in results:
        return "final"
    return "none" if result_codes else ""
