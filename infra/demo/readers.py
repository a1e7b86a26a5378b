"""Simulated radiologists: each takes the next study through the API, reads it, finishes it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.demo.api import Api

_IDLE_S = 0.2


@dataclass(frozen=True)
class Read:
    """One read: which row, and when it was taken, in wall seconds of the monotonic clock."""

    study: str
    accession: str
    taken: float


class Readers:
    """Threads that read until `stop`, each as the reader whose token it has.

    Args:
        seconds_of: wall seconds that reading a row takes, from the row.
    """

    def __init__(
        self,
        address: str,
        tokens: Sequence[str],
        seconds_of: Callable[[Mapping[str, Any]], float],
    ) -> None:
        self._address = address
        self._seconds_of = seconds_of
        self._stop = threading.Event()
        self.reads: list[Read] = []
        self._threads = [
            threading.Thread(target=self._read, args=(token,), name=f"reader-{n}", daemon=True)
            for n, token in enumerate(tokens)
        ]

    def start(self) -> None:
        """They sit down."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Each finishes what it has open."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _read(self, token: str) -> None:
        api = Api(self._address, token)
        while not self._stop.is_set():
            try:
                status, body = api.call("POST", "/api/v1/next")
            except (OSError, http.client.HTTPException):
                status, body = 0, None
            if status != 200:
                self._stop.wait(_IDLE_S)
                continue
            row = body["row"]
            self.reads.append(Read(body["study"], row.get("accession") or "", time.monotonic()))
            self._stop.wait(self._seconds_of(row))
            self._finish(api, body["study"], body["lease"]["token"])
        api.close()

    def _finish(self, api: Api, study: str, lease: str) -> None:
        for _ in range(50):
            try:
                status, _body = api.call(
                    "POST", f"/api/v1/studies/{study}/finish", {"token": lease}
                )
            except (OSError, http.client.HTTPException):
                status = 0
            # 4xx: somebody else ended it meanwhile (a final report, a lost lease).
            if status in (200, 204) or 400 <= status < 500:
                return
            time.sleep(_IDLE_S)
