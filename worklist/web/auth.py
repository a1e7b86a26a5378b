"""Who there is and who may do what: tokens, browser sessions, and the roles that each route is for.
`access` applies them to requests.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import tomllib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worklist.sql.rights import RIGHTS

SESSION_COOKIE = "vigie_session"
CSRF_HEADER = "x-vigie-csrf"
CSRF_FIELD = "csrf"
ABSOLUTE = timedelta(hours=12)  # a long shift
IDLE = timedelta(hours=2)
RENEW_AFTER = timedelta(minutes=1)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


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
    "api_study": _SEE,
    "api_events": _SEE,
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

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._'@-]{0,63}$")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _ReadersFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: tuple[_Entry, ...] = ()


def digest(token: str) -> str:
    """What the readers file holds in place of the token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Readers:
    """Everybody who may enter, by the digest of the token."""

    def __init__(self, entries: Iterable[tuple[str, Role, str]]) -> None:
        self._by_digest = {
            sha256: Person(name, role, sha256[:32]) for name, role, sha256 in entries
        }
        self._by_key = {person.key: person for person in self._by_digest.values()}

    def by_token(self, token: str) -> Person | None:
        """Whose token this is. Looked up by digest, so timing tells nothing about the token."""
        return self._by_digest.get(digest(token))

    def by_key(self, key: str) -> Person | None:
        """The person behind a session, if the token is still in force."""
        return self._by_key.get(key)

    def add(self, person: Person) -> None:
        """One more, known by key alone (the open demo's lead has no token)."""
        self._by_key[person.key] = person

    def names(self) -> tuple[str, ...]:
        """Of all who may read."""
        return tuple(sorted({p.name for p in self._by_key.values() if p.role in _READ}))

    def named(self, name: str) -> bool:
        """Whether there is a reader of that name who may read."""
        return name in self.names()

    def __len__(self) -> int:
        return len(self._by_key)


def read_readers(file: Path, tokens: str) -> Readers:
    """The readers of the site's `file`, if it is there, and of `tokens`: entries
    ``name:role:token`` with commas or white space between them.

    Raises:
        ValueError: the file or `tokens` is not well formed. The message holds no token.
    """
    entries: list[tuple[str, Role, str]] = []
    if file.is_file():
        try:
            listed = _ReadersFile.model_validate(tomllib.loads(file.read_text()))
        except (tomllib.TOMLDecodeError, ValidationError):
            raise ValueError(
                f"{file.name}: each [[reader]] has name, role and sha256 (64 hex digits)"
            ) from None
        entries += [(entry.name, entry.role, entry.sha256) for entry in listed.reader]
    for item in tokens.replace(",", " ").split():
        name, _, rest = item.partition(":")
        role, _, token = rest.partition(":")
        if not name or len(token) < 16 or role not in tuple(Role):
            raise ValueError(
                "VIGIE_TOKENS: entries are name:role:token, the token at least 16 characters"
            )
        entries.append((name, Role(role), digest(token)))
    return Readers(entries)


@dataclass(frozen=True)
class Session:
    """A browser in which a token was entered once. It lives in a signed cookie, and holds neither
    the token nor a role. Times are seconds since 1970.
    """

    id: str
    key: str
    started: int
    seen: int

    @staticmethod
    def start(person: Person, now: datetime) -> Session:
        at = int(now.timestamp())
        return Session(secrets.token_urlsafe(12), person.key, at, at)


class Sessions:
    """Signs and checks session cookies; remembers those that were logged out."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._ended: dict[str, int] = {}

    def _mac(self, purpose: str, text: str) -> str:
        raw = hmac.digest(self._secret, f"{purpose}\n{text}".encode(), "sha256")
        return urlsafe_b64encode(raw).decode().rstrip("=")

    def cookie(self, session: Session) -> str:
        """The cookie's value."""
        body = f"{session.id}|{session.key}|{session.started}|{session.seen}"
        return f"{urlsafe_b64encode(body.encode()).decode()}.{self._mac('session', body)}"

    def read(self, cookie: str, now: datetime) -> Session | None:
        """The session of `cookie`, if it is ours, still within its two lifetimes, and was not
        logged out.
        """
        packed, _, mac = cookie.partition(".")
        try:
            body = urlsafe_b64decode(packed.encode()).decode()
        except ValueError:
            return None
        if not hmac.compare_digest(mac.encode(), self._mac("session", body).encode()):
            return None
        name, key, started, seen = body.split("|")
        session = Session(name, key, int(started), int(seen))
        at = now.timestamp()
        alive = (
            at - session.started < ABSOLUTE.total_seconds()
            and at - session.seen < IDLE.total_seconds()
        )
        return session if alive and session.id not in self._ended else None

    def end(self, session: Session) -> None:
        """Logged out: the same cookie opens nothing any more."""
        self._ended[session.id] = session.started
        oldest = session.seen - int(ABSOLUTE.total_seconds())
        self._ended = {name: started for name, started in self._ended.items() if started > oldest}

    def ended(self, session: Session) -> bool:
        """Whether it was logged out (an open event stream asks)."""
        return session.id in self._ended

    def renewed(self, session: Session, now: datetime) -> Session | None:
        """The session as seen now, or None while that would change little."""
        at = int(now.timestamp())
        if at - session.seen < RENEW_AFTER.total_seconds():
            return None
        return Session(session.id, session.key, session.started, at)

    def csrf(self, session: Session) -> str:
        """What forms and scripts of this session send with an unsafe verb."""
        return self._mac("csrf", session.id)

    def csrf_matches(self, session: Session, sent: str) -> bool:
        """Whether `sent` is this session's."""
        return hmac.compare_digest(sent.encode(), self.csrf(session).encode())


def same_origin(headers: dict[str, str], scheme: str) -> bool:
    """Whether a browser says that our own page sent this.

    ``Referrer-Policy: no-referrer`` makes form posts carry ``Origin: null``, so ``Sec-Fetch-Site``
    is asked first.
    """
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if (
        origin is not None
        and origin != "null"
        and origin != f"{scheme}://{headers.get('host', '')}"
    ):
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
