"""The demo's own client of the HTTP API: what a lead's browser could ask, nothing more."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import Any

_TIMEOUT_S = 10.0


class Api:
    """One kept connection; not for several threads. Every call raises OSError or HTTPException when
    the page is away.
    """

    def __init__(self, address: str, token: str) -> None:
        self._host = urllib.parse.urlsplit(address).netloc
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and decoded body of one request."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_S)
        try:
            self._connection.request(
                verb, path, None if body is None else json.dumps(body), self._headers
            )
            answer = self._connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return answer.status, json.loads(raw) if raw else None

    def rows(self, state: str = "all") -> list[dict[str, Any]]:
        """The whole list, page by page. Raises OSError when the API does not answer 200."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"state": state, "limit": "500"} | ({"cursor": cursor} if cursor else {})
            status, body = self.call("GET", f"/api/v1/worklist?{urllib.parse.urlencode(query)}")
            if status != 200:
                raise OSError(f"the list answers {status}")
            rows += body["items"]
            cursor = body["next"]
            if not cursor:
                return rows

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
