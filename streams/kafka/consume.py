"""The one place where an outcome becomes ack, retry in place, park or stop.

Faust acknowledges an event whose agent raised, so no exception may leave an agent: each hands its
work to `settle`.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import structlog

from streams import metrics
from streams.errors import Fault, Park, Reason, Retry, Stop, Unavailable, VigieError, facts
from streams.events import Parked, encode
from streams.identity.seal import KeyRing
from streams.kafka.topics import PARKED

log = structlog.get_logger()


class Fate(StrEnum):
    """What became of an event."""

    ACK = "ack"
    PARK = "park"
    STOP = "stop"


@dataclass(frozen=True)
class Origin:
    """Where an event came from. A record without a value (a tombstone) has no bytes."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes


@dataclass
class Settler:
    """How one stage settles. One per process: it counts the parked in a row that are our fault.

    What a sender did wrong says nothing of us, however often: one bad sender stops nobody.
    """

    stage: str
    ring: KeyRing
    publish: Callable[[str, str, bytes], Awaitable[None]]
    now: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    attempts: int = 5  # of a transient failure, before it is parked
    park_limit: int = 100  # faults of ours in a row: more, and going on would park everything
    waits_for: str = field(default="", init=False)  # a dependency that is down, by name
    _parked_in_a_row: int = field(default=0, init=False)

    async def settle(
        self, work: Callable[[], Awaitable[None]], origin: Origin, *, may_park: bool = True
    ) -> Fate:
        """Runs `work` until it is done, parked or hopeless; never raises an Exception.

        A batch may not be parked as a whole: with ``may_park=False`` the answer *park* means that
        the caller tries its events one by one.
        """
        attempt = 0
        verdict: Reason | None = None
        while True:
            try:
                if verdict is not None:
                    return await self._park(origin, verdict, attempt) if may_park else Fate.PARK
                attempt += 1
                await work()
            except Unavailable as error:
                # A dependency is down: wait as long as it takes, acknowledge nothing.
                self.waits_for = error.where or error.reason.value
                log.warning(
                    "waiting",
                    stage=self.stage,
                    reason=error.reason.value,
                    attempt=attempt,
                    wanted=error.where,
                )
                await self._pause(attempt)
                continue
            except Retry as error:
                if attempt >= self.attempts:
                    verdict = error.reason
                    continue
                metrics.settled.labels(self.stage, "retry").inc()
                await self._pause(attempt)
                continue
            except Park as error:
                verdict = error.reason
                continue
            except Stop as error:
                log.error("stopping", stage=self.stage, reason=error.reason.value)
                return self._count(Fate.STOP)
            except Exception as error:  # noqa: BLE001 — the one: an unknown failure parks its event
                told = {"stage": self.stage, "error": type(error).__name__, **_where(error)}
                if verdict is not None:  # parking itself failed: going on would lose the event
                    log.error("parking_failed", **told)
                    return self._count(Fate.STOP)
                log.error("unexpected", **told)
                verdict = Reason.UNEXPECTED
                continue
            self.waits_for = ""
            self._parked_in_a_row = 0
            return self._count(Fate.ACK)

    async def _pause(self, attempt: int) -> None:
        await self.sleep(min(5.0, 0.1 * 2 ** min(attempt, 6)) * (0.5 + self.random() / 2))

    def _count(self, fate: Fate) -> Fate:
        metrics.settled.labels(self.stage, fate.value).inc()
        return fate

    async def _park(self, origin: Origin, reason: Reason, attempts: int) -> Fate:
        self._parked_in_a_row += facts(reason).fault is Fault.VIGIE
        if self._parked_in_a_row > self.park_limit:
            log.error("too_many_parked", stage=self.stage, in_a_row=self._parked_in_a_row)
            return self._count(Fate.STOP)
        event = Parked(
            stage=self.stage,
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            key=base64.b64encode(origin.key).decode(),
            reason=reason,
            attempts=attempts,
            parked_at=self.now(),
            original=self.ring.seal(origin.value),
        )
        try:
            await self.publish(PARKED.name, event.key, encode(event))
        except VigieError as error:
            log.error("parking_failed", stage=self.stage, reason=error.reason.value)
            return self._count(Fate.STOP)
        metrics.parked.labels(self.stage, reason.value).inc()
        log.warning(
            "parked",
            stage=self.stage,
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            reason=reason.value,
        )
        return self._count(Fate.PARK)


def _where(error: BaseException) -> dict[str, object]:
    """File and line where `error` rose: what a maintainer needs; its text is left out, as it may
    quote a name.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        {}
        if trace is None
        else {"file": trace.tb_frame.f_code.co_filename.rsplit("/", 2)[-1], "line": trace.tb_lineno}
    )
