"""Refusals over HTTP: one table from codes to statuses, and their form for programs."""

from __future__ import annotations

import orjson
from starlette.responses import Response

#: code → HTTP status. A code that is not here is a conflict: the list refused, with its reason.
STATUS = {
    "bad_request": 400,
    "bad_cursor": 400,
    "bad_state": 400,
    "reason_required": 422,
    "not_authenticated": 401,
    "not_authorised": 403,
    "bad_origin": 403,
    "not_found": 404,
    "nothing_to_read": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "too_slow": 408,
    "too_many": 429,
    "claimed": 409,
    "not_readable": 409,
    "wrong_token": 409,
    "finished": 409,
    "not_flagged": 409,
    "bad_code": 422,
    "too_broad": 422,
    "no_such_reader": 422,
    "not_parked": 404,
    "overloaded": 503,
    "database_down": 503,
}


_HEADERS = {
    401: {"www-authenticate": "Bearer"},
    429: {"retry-after": "2"},
    503: {"retry-after": "2"},
}


class Problem(Exception):
    """Refused, with a code of `STATUS`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.status = STATUS.get(code, 409)


def problem(status: int, code: str, detail: str) -> Response:
    """An answer as RFC 9457 has it. `detail` is one of our own sentences, never input."""
    body = orjson.dumps(
        {
            "type": f"urn:vigie:problem:{code}",
            "title": code,
            "status": status,
            "code": code,
            "detail": detail,
        }
    )
    headers = _HEADERS.get(status, {})
    return Response(body, status, headers, media_type="application/problem+json")
