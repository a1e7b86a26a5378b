"""Browser sessions as a web process knows them: kept in the database, remembered for seconds.

While the database is away those that were known go on, so that the page can say what is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import EllipsisType

from sqlalchemy import Connection, Engine

from streams.errors import Unavailable
from worklist.sql import audit
from worklist.sql.database import translated
from worklist.sql.people import sessions
from worklist.sql.people.sessions import Kept
from worklist.web.door.auth import AWAY_S, Person

ABSOLUTE = timedelta(hours=12)  # a long shift
IDLE = timedelta(hours=2)
SEEN_AFTER = timedelta(minutes=1)
REMEMBERED_S = 2.0  # a logout elsewhere is known here so soon


def _id(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


class Sessions:
    """Starts, finds and ends sessions; knows the CSRF text of each.

    Args:
        secret: under which CSRF texts are made; the same in each web process.
        now: the wall clock; `ticks`: the monotonic one.
    """

    def __init__(
        self,
        engine: Engine,
        secret: bytes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._secret = secret
        self._now, self._ticks = now, ticks
        self._known: dict[str, tuple[Kept | None, float]] = {}
        self._away_at = -1e9

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    def start(self, person: Person, *, audited: bool = True) -> tuple[str, Kept]:
        """The cookie's value, and the session. Raises Unavailable."""
        cookie = secrets.token_urlsafe(32)
        with self._transaction() as connection:
            kept = sessions.start(connection, _id(cookie), person.key)
            if audited:
                audit.append(connection, "login", "", actor=person.name)
        self._remember(kept.id, kept)
        return cookie, kept

    def read(self, cookie: str, *, used: bool = True) -> Kept | None:
        """The session of `cookie`, if it is within its two lifetimes and was not ended; `used`: by
        its reader, not by a page that only lies open.

        Raises Unavailable when the database is away and this browser was not seen here before.
        """
        if not cookie or len(cookie) > 128 or not cookie.isascii():
            return None
        found, at = self._known.get(_id(cookie), (None, -1e9))
        unseen = used and found and self._now() - found.seen_at >= SEEN_AFTER
        away = self._ticks() - self._away_at < AWAY_S  # it is not asked by each request
        if (unseen or self._ticks() - at >= REMEMBERED_S) and not (found and away):
            try:
                found = self._look(_id(cookie), used)
            except Unavailable:
                self._away_at = self._ticks()
                if found is None:
                    raise
        return found if found and self._alive(found) else None

    def _look(self, session_id: str, used: bool) -> Kept | None:
        before = self._known.get(session_id)
        with self._transaction() as connection:
            found = next(iter(sessions.find(connection, [session_id])), None)
            unseen = found and self._now() - found.seen_at >= SEEN_AFTER
            if found and used and unseen and self._alive(found):
                sessions.see(connection, session_id)
                found = replace(found, seen_at=self._now())
        self._remember(session_id, found, before)
        return found

    def _alive(self, kept: Kept) -> bool:
        now = self._now()
        return now - kept.started_at < ABSOLUTE and now - kept.seen_at < IDLE

    def _remember(
        self,
        session_id: str,
        kept: Kept | None,
        before: tuple[Kept | None, float] | EllipsisType | None = ...,
    ) -> None:
        """With `before`, only if nothing else was noted since: what was read may be older."""
        if before is not ... and self._known.get(session_id) is not before:
            return
        if len(self._known) > 5000:  # cookies of nobody, made up one after another
            self._known.clear()
        self._known[session_id] = (kept, self._ticks())

    def end(self, session: Kept, who: str, *, everywhere: bool = False) -> None:
        """Logged out; `everywhere`: in each browser of that person. Raises Unavailable."""
        with self._transaction() as connection:
            sessions.end(connection, session.id)
            if everywhere:
                sessions.end_all(connection, session.person)
            detail = {"everywhere": True} if everywhere else None
            audit.append(connection, "logout", "", actor=who, detail=detail)
        for name, (kept, _) in list(self._known.items()):
            if name == session.id or (everywhere and kept and kept.person == session.person):
                self._remember(name, None)

    def note_words(self, session: Kept, words: str) -> str:
        """What its reader searches for, in one line; returns its name. Raises Unavailable."""
        known = (name for name, kept in session.searches.items() if kept == words)
        if name := next(known, ""):
            return name
        name = secrets.token_hex(4)
        with self._transaction() as connection:
            kept = sessions.note_words(connection, session.id, name, words)
        self._remember(session.id, replace(session, words=kept))
        return name

    def ended(self, session: Kept) -> bool:
        """Whether it was ended, as known here; `look_again` keeps it true."""
        found, _ = self._known.get(session.id, (session, 0.0))
        return found is None

    def look_again(self) -> None:
        """Asks for all that are known here, so that streams end when a session was."""
        known = {name: told for name, told in list(self._known.items()) if told[0]}
        try:
            with self._transaction() as connection:
                there = {kept.id: kept for kept in sessions.find(connection, list(known))}
        except Unavailable:
            self._away_at = self._ticks()
            return
        self._away_at = -1e9
        for name, before in known.items():
            kept = there.get(name)
            self._remember(name, kept if kept and self._alive(kept) else None, before)

    def csrf(self, session: Kept) -> str:
        """What forms and scripts of this session send with an unsafe verb. Another text each time
        that it is asked for: pages are compressed, and lengths would tell a text that stays.
        """
        token = bytes.fromhex(self._csrf(session))
        mask = secrets.token_bytes(len(token))
        return mask.hex() + bytes(a ^ b for a, b in zip(mask, token, strict=True)).hex()

    def _csrf(self, session: Kept) -> str:
        return hmac.digest(self._secret, f"csrf\n{session.id}".encode(), "sha256").hex()

    def csrf_matches(self, session: Kept, sent: str) -> bool:
        """Whether `sent` is this session's."""
        try:
            raw = bytes.fromhex(sent)
        except ValueError:
            return False
        mask, masked = raw[: len(raw) // 2], raw[len(raw) // 2 :]
        if len(mask) != len(masked):
            return False
        token = bytes(a ^ b for a, b in zip(mask, masked, strict=True))
        return hmac.compare_digest(token.hex(), self._csrf(session))
