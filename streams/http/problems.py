"""Reasons as HTTP statuses and as documents: RFC 9457 problem+json, and FHIR's OperationOutcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.errors import Reason, VigieError

RETRY_AFTER_S = 5
#: What is not here is 422: understood, and not usable as it is.
STATUS = {
    Reason.UNKNOWN_SENDER: 401,
    Reason.BAD_CERTIFICATE: 401,
    Reason.NOT_AUTHORISED: 403,
    Reason.BAD_JSON: 400,
    Reason.BAD_REQUEST: 400,
    Reason.TOO_SLOW: 408,
    Reason.TOO_LARGE: 413,
    Reason.UNSUPPORTED_SYNTAX: 415,
    Reason.OVERLOADED: 429,
    Reason.BROKER_DOWN: 503,
    Reason.STORE_FULL: 503,
    Reason.STORE_FAILED: 503,
    Reason.DATABASE_DOWN: 503,
}
_RETRY = frozenset({429, 503})
#: issue-type of FHIR (R4), for statuses; what is not here is ``invalid``.
_ISSUE = {
    401: "login",
    403: "forbidden",
    408: "timeout",
    413: "too-long",
    415: "not-supported",
    429: "throttled",
    503: "transient",
}
_MISSING = frozenset({Reason.MISSING_FIELD, Reason.NO_STUDY_KEY})


def status_of(error: VigieError) -> int:
    """The status of what was refused."""
    return STATUS.get(error.reason, 422)


def headers_of(status: int) -> dict[str, str]:
    """When to come again, and how to say who one is."""
    if status in _RETRY:
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {"WWW-Authenticate": "Bearer"} if status == 401 else {}


def problem(error: VigieError) -> dict[str, Any]:
    """A problem document. `where` names a field, never a value."""
    reason = error.reason.value
    return {
        "type": f"urn:vigie:reason:{reason}",
        "title": reason.replace("_", " "),
        "status": status_of(error),
        "reason": reason,
        "where": error.where,
    }


def outcome(error: VigieError | None, unknown: Iterable[str] = ()) -> dict[str, Any]:
    """An OperationOutcome; of success where there is no error.

    Args:
        unknown: elements whose patient is not known by what they refer to: a warning each.
    """
    if error is None:
        issues: list[dict[str, Any]] = [
            {"severity": "warning", "code": "not-found", "expression": [element]}
            for element in dict.fromkeys(unknown)
        ]
        issues = issues or [{"severity": "information", "code": "informational"}]
        return {"resourceType": "OperationOutcome", "issue": issues}
    code = _ISSUE.get(status_of(error), "required" if error.reason in _MISSING else "invalid")
    if error.reason is Reason.UNSUPPORTED_MESSAGE:
        code = "not-supported"
    issue: dict[str, Any] = {"severity": "error", "code": code, "diagnostics": error.reason.value}
    if error.where:
        issue["expression"] = [error.where]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
