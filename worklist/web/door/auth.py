"""Who there is and who may do what: tokens, and the roles that each route is for. `access` applies
them to requests.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.errors import Unavailable
from worklist.sql.people.accounts import Account
from worklist.sql.rights import RIGHTS

SESSION_COOKIE = "vigie_session"
CSRF_HEADER = "x-vigie-csrf"
CSRF_FIELD = "csrf"
ASKED_AGAIN_S = 2.0  # who was added or disabled is known so soon
AWAY_S = 10.0  # a database that did not answer is asked again so late: each asking takes seconds
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


#: What a reader may be called.
NAME = r"[A-Za-z0-9][A-Za-z0-9 ._'@-]{0,63}"


class Role(StrEnum):
    """What a person or a program is here."""

    READER = "reader"
    LEAD = "lead"
    OPS = "ops"
    ADMIN = "admin"
    SERVICE = "service"


_READ = frozenset({Role.READER, Role.LEAD})
_SEE = frozenset({Role.READER, Role.LEAD, Role.SERVICE})
_ALL = frozenset(Role)

#: Route name → who may call it; None is anybody, known or not. A route that is not here is refused
#: to all.
ACCESS: dict[str, frozenset[Role] | None] = {
    "livez": None,
    "readyz": None,
    "metrics": None,
    "login_form": None,
    "login": None,
    "logout": _ALL,
    "list_page": _READ,
    "list_fragment": _READ,
    "study_page": _READ,
    "ops_page": frozenset({Role.LEAD, Role.OPS, Role.ADMIN}),
    "api_worklist": _SEE,
    "api_search": _SEE,
    "search": _READ,
    "mine_page": _READ,
    "pins_page": _READ,
    "places": _READ,
    "page_finish_next": _READ,
    "api_renew_all": _READ,
    "api_study": _SEE,
    "api_key_image": _READ,
    "api_reports": _READ,
    "api_events": _SEE,
    "api_changes": _SEE,
    "words": None,
    "api_truth": _ALL,
    "api_shared_numbers": frozenset({Role.LEAD}),
    "api_workbench": frozenset({Role.LEAD}),
    "api_senders": frozenset({Role.LEAD, Role.OPS}),
    "api_parked": frozenset({Role.LEAD, Role.OPS}),
    "api_parked_one": frozenset({Role.LEAD, Role.OPS}),
    "api_parked_open": frozenset({Role.LEAD}),
    "api_off_list": frozenset({Role.LEAD}),
    "api_workbench_rows": frozenset({Role.LEAD}),
}
#: Acts on rows: what the list's own table of rights says, by API and by form. A form renews
#: nothing: the page's script does.
ACCESS |= {
    f"{door}_{act}": frozenset(Role(role) for role in right.own | right.others)
    for act, right in RIGHTS.items()
    for door in ("api", "page")
    if (door, act) != ("page", "renew")
}


@dataclass(frozen=True)
class Person:
    """Who is asking. `key` names the token without being it."""

    name: str
    role: Role
    key: str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME}$")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _ReadersFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: tuple[_Entry, ...] = ()


def digest(token: str) -> str:
    """What the readers file holds in place of the token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Readers:
    """Everybody who may enter, by the digest of the token: those of the site's file and, asked
    again every few seconds, those that were added, or disabled, since.

    Args:
        entries: name, role and token's digest of each.
        listed: the accounts of the database; raises Unavailable while it is away, and then those
            that were known last stand.
    """

    def __init__(
        self,
        entries: Iterable[tuple[str, Role, str]],
        listed: Callable[[], Iterable[Account]] = tuple,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = [Person(name, role, sha256[:32]) for name, role, sha256 in entries]
        self._listed, self._ticks = listed, ticks
        self._asked_at: float | None = None
        self._asking = Lock()
        self._by_key = {person.key: person for person in self._given}

    def _people(self) -> dict[str, Person]:
        """By key. One at a time asks, and nobody but the first waits for that: a database that does
        not answer is asked every few seconds, not by each request.
        """
        first = self._asked_at is None
        lately = not first and self._ticks() - (self._asked_at or 0.0) < ASKED_AGAIN_S
        if lately or not self._asking.acquire(blocking=first):
            return self._by_key
        try:
            self._take(list(self._listed()))
            self._asked_at = self._ticks()
        except Unavailable:
            self._asked_at = self._ticks() + AWAY_S - ASKED_AGAIN_S
        finally:
            self._asking.release()
        return self._by_key

    def _take(self, accounts: list[Account]) -> None:
        out = {account.name for account in accounts if account.disabled_at}
        added = [
            Person(account.name, Role(account.role), account.sha256[:32])
            for account in accounts
            if account.sha256 and not account.disabled_at
        ]
        new = {person.name for person in added}
        given = [person for person in self._given if person.name not in out | new]
        self._by_key = {person.key: person for person in [*given, *added]}

    def by_token(self, token: str) -> Person | None:
        """Whose token this is. Looked up by digest, so timing tells nothing about the token."""
        return self._people().get(digest(token)[:32])

    def by_key(self, key: str) -> Person | None:
        """The person behind a session, if the token is still in force."""
        return self._people().get(key)

    def known(self, key: str) -> bool:
        """Whether a token was still in force at the last asking; asks nobody."""
        return key in self._by_key

    def look_again(self) -> None:
        """Asks anew, if it is time."""
        self._people()

    def add(self, person: Person) -> None:
        """One more, known by key alone (the open demo's lead has no token)."""
        self._given.append(person)
        self._by_key[person.key] = person

    def names(self) -> tuple[str, ...]:
        """Of all who may read."""
        return tuple(sorted({p.name for p in self._people().values() if p.role in _READ}))

    def named(self, name: str) -> bool:
        """Whether there is a reader of that name who may read."""
        return name in self.names()

    def __len__(self) -> int:
        return len(self._people())


def read_readers(
    file: Path, tokens: str, listed: Callable[[], Iterable[Account]] = tuple
) -> Readers:
    """The readers of the site's `file`, if it is there, and of `tokens`: entries
    ``name:role:token`` with commas or white space between them.

    Raises:
        ValueError: the file or `tokens` is not well formed. The message holds no token.
    """
    entries: list[tuple[str, Role, str]] = []
    if file.is_file():
        try:
            found = _ReadersFile.model_validate(tomllib.loads(file.read_text()))
        except (tomllib.TOMLDecodeError, ValidationError):
            raise ValueError(
                f"{file.name}: each [[reader]] has name, role and sha256 (64 hex digits)"
            ) from None
        entries += [(entry.name, entry.role, entry.sha256) for entry in found.reader]
    for item in tokens.replace(",", " ").split():
        name, _, rest = item.partition(":")
        role, _, token = rest.partition(":")
        if not name or len(token) < 16 or role not in tuple(Role):
            raise ValueError(
                "VIGIE_TOKENS: entries are name:role:token, the token at least 16 characters"
            )
        entries.append((name, Role(role), digest(token)))
    return Readers(entries, listed)


def same_origin(headers: dict[str, str], ours: str) -> bool:
    """Whether a browser says that our own page sent this; `ours`: its origin, scheme://host:port.

    ``Referrer-Policy: no-referrer`` makes form posts carry ``Origin: null``, so ``Sec-Fetch-Site``
    is asked first.
    """
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if origin is not None and origin != "null" and origin != ours:
        return False
    if site is not None:
        return site == "same-origin"
    return origin is not None and origin != "null"


def is_loopback_host(host: str) -> bool:
    """Whether `host` (an address or ``localhost``, a port allowed) is this machine."""
    name = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host
    if name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def allowed(route: str, person: Person | None) -> bool:
    """Whether `person` may call the route of that name."""
    if route not in ACCESS:
        return False
    roles = ACCESS[route]
    return roles is None or (person is not None and person.role in roles)
