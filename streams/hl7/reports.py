"""What OBR-25 and OBX-11 together say of a report: a table, each of its cells tested."""

from __future__ import annotations

from collections.abc import Collection

from streams.hl7 import tables


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
