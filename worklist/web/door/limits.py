"""How much of one client at a time: requests and streams, by session first and by address second
(many readers share one). What is over waits its turn, in order, and too much is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from worklist import metrics

#: Requests of one session that are worked on at once; and that may wait; and of one address in all,
#: of those who are not known: their requests that send something apart from those that only ask.
AT_ONCE, WAITING, OF_ADDRESS = 3, 24, 120
#: Streams of one session (a browser has one for all its tabs), and of one address.
STREAMS, STREAMS_OF_ADDRESS = 12, 400
#: So long a failed login is answered late: the first, each further one twice as long, at most.
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 8.0
FORGOTTEN_S = 600.0
FAILURES_WAIT = 8  # failed logins of one address that wait for their answer; more are refused
MOST_KNOWN = 5000  # clients that somebody was recognised by


class TooMany(Exception):
    """More at once than one client gets."""


def client_of(headers: Mapping[bytes, bytes], address: str) -> str:
    """Whose request it is, before anybody looked who that is: what it shows at the door, by its
    digest; without, its address.
    """
    shown = headers.get(b"authorization") or headers.get(b"cookie")
    return hashlib.sha256(shown).hexdigest() if shown else address


class Limits:
    """One process's counts."""

    def __init__(self) -> None:
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(AT_ONCE)
        )
        self._here: Counter[str] = Counter()
        self._known: dict[str, None] = {}
        self._streams: Counter[str] = Counter()

    def know(self, client: str) -> None:
        """Somebody was recognised by what this client shows: strangers of its address do not count
        for it any more.
        """
        self._known.pop(client, None)
        self._known[client] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    @asynccontextmanager
    async def request(
        self, client: str, address: str, *, sends: bool = False
    ) -> AsyncIterator[Callable[[], None]]:
        """While one request is worked on; `sends`: it has a body, which may be slow to come. What
        it yields lets the next one take its turn before it has ended. Raises TooMany.
        """
        crowd = f"at {address} {'sending' if sends else 'asking'}"
        full = self._here[crowd] >= OF_ADDRESS and client not in self._known
        if self._here[client] >= AT_ONCE + WAITING or full:
            metrics.refused.labels("too_many").inc()
            raise TooMany
        names = {client} if client in self._known else {client, crowd}
        for name in names:
            self._here[name] += 1
        try:
            async with self._turn(client) as step_aside:
                yield step_aside
        finally:
            for name in names:
                less(self._here, name)
            if client not in self._here:
                self._turns.pop(client, None)

    @asynccontextmanager
    async def _turn(self, client: str) -> AsyncIterator[Callable[[], None]]:
        turn, aside = self._turns[client], False
        await turn.acquire()

        def step_aside() -> None:
            nonlocal aside
            if not aside:
                aside = True
                turn.release()

        try:
            yield step_aside
        finally:
            step_aside()

    @asynccontextmanager
    async def stream(self, client: str, address: str) -> AsyncIterator[None]:
        """While one stream is open. Raises TooMany."""
        if self._streams[client] >= STREAMS or self._streams[f"at {address}"] >= STREAMS_OF_ADDRESS:
            metrics.refused.labels("too_many_streams").inc()
            raise TooMany
        for name in (client, f"at {address}"):
            self._streams[name] += 1
        try:
            yield
        finally:
            for name in (client, f"at {address}"):
                less(self._streams, name)


def less(counts: Counter[str], name: str) -> None:
    """One less; what is none is not kept."""
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]


class Failures:
    """Failed logins by address: each is answered later than the one before, one at a time. No
    account and no address is ever locked: that would let anybody lock out a reader.
    """

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """One failed login of that address at a time. Raises TooMany."""
        if self._waiting[address] >= FAILURES_WAIT:
            metrics.refused.labels("too_many").inc()
            raise TooMany
        self._waiting[address] += 1
        try:
            async with self._turns[address]:
                yield
        finally:
            less(self._waiting, address)
        if address not in self._failed:
            self._turns.pop(address, None)

    async def failed(self, address: str) -> None:
        """Waits, longer each time."""
        now = asyncio.get_running_loop().time()
        self._failed = {
            name: told for name, told in self._failed.items() if now - told[1] < FORGOTTEN_S
        }
        count, _ = self._failed.get(address, (0, now))
        self._failed[address] = (count + 1, now)
        await asyncio.sleep(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**count))

    def succeeded(self, address: str) -> None:
        """Somebody of that address is known: the next failure waits as the first one did."""
        self._failed.pop(address, None)
