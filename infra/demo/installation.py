"""All of Vigie on one machine: Kafka, PostgreSQL and the four processes, started and stopped."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.demo.site import make_site
from infra.embedded import MockKafka, Postgres, StartError, free_port
from infra.supervisor import Supervisor
from streams.health import write_whole
from streams.identity.seal import KeyRing, new_ring, write_ring
from streams.kafka.admin import make_topics
from streams.settings import StreamsSettings

AE_TITLE = "VIGIE"
#: Who reads, beside whoever looks at the page.
READERS = ("Dr.Aubert", "Dr.Benoit", "Dr.Caron")
_ROLES = ("gateway", "triage", "worklist", "web")
_HURRY_S, _PATIENT_S = 0.5, 15.0  # for the processes, and again for the database, to end


class Installation:
    """Doors and page serve once it is entered, the rest when `supervisor.wait` returns; stops on
    exit, leaves nothing behind. Everything listens on loopback alone.

    Args:
        kafka: an address, or empty for the embedded mock.
        database: a URL, or empty for the embedded PostgreSQL.
        ready: written whole when everything serves and again after each restart.
        historic: whether old studies go to their own list.
        speed: so many times as fast do the targets run out that readers see counting down.
    """

    def __init__(
        self,
        *,
        kafka: str = "",
        database: str = "",
        ready: Path | None = None,
        historic: bool = True,
        speed: float = 1.0,
    ) -> None:
        self._kafka, self._database, self._ready, self._historic = kafka, database, ready, historic
        self._speed = speed
        self._stack = ExitStack()
        self._hurried = self._kept = False
        self.token = secrets.token_urlsafe(24)
        self.readers = {name: secrets.token_urlsafe(24) for name in READERS}
        self.folder = Path(tempfile.mkdtemp(prefix="vigie-demo-"))
        self.kafka = self.database = self._owner = self._sealer = ""
        self.ports = {
            name: free_port()
            for name in ("mllp", "dicom", "door", "web", *(f"metrics_{role}" for role in _ROLES))
        }
        self.supervisor = Supervisor(self.folder, self._tell)
        self.ring: KeyRing = new_ring()

    def __enter__(self) -> Installation:
        with ExitStack() as undo:
            undo.push(self._undo)
            self._start()
            undo.pop_all()
        return self

    def _undo(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends a start that failed, or was interrupted."""
        self.hurry()
        self._kept = kind is not None and issubclass(kind, StartError)  # it names the log
        self._stack.close()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._ready:
            self._ready.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Removes what the processes wrote; of a start that failed their logs stay."""
        for path in self.folder.iterdir() if self._kept else [self.folder]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix != ".log":
                path.unlink(missing_ok=True)

    def _start(self) -> None:
        self._stack.callback(self._clear)
        if self._kafka:
            self.kafka = self._kafka
            make_topics(self.settings())
        else:
            broker = MockKafka()
            self._stack.callback(broker.stop)
            self.kafka = broker.address
        write_ring(self.ring, self.folder / "keys.json")
        for name in ("audit-keys.json", "act-keys.json"):
            write_ring(new_ring(), self.folder / name)
        site = make_site(
            self.folder / "site", historic=self._historic, token=self.token, speed=self._speed
        )
        server = None if self._database else Postgres(self.folder)
        self.database = self._owner = self._sealer = self._database
        if server:
            self.database, self._owner, self._sealer = server.url, server.owner, server.sealer
        for role in _ROLES:
            environment = self._environment(role, site)
            # Loading networks takes the processor for seconds: the page comes first.
            after = "web" if role == "triage" else ""
            self.supervisor.add(role, role, environment, after=after)
        if server:  # stopped after the processes
            self._stack.callback(lambda: server.stop(_HURRY_S if self._hurried else _PATIENT_S))
        self._stack.callback(self._stop_processes)
        self.supervisor.start()  # they load while the database is made, and wait for it
        if server:
            server.create()
            server.start()
            server.keep()
        self._migrate(site)
        self.supervisor.wait({"gateway", "web"})

    def hurry(self) -> None:
        """The end is to come at once: what is under way in the processes is not waited for."""
        self._hurried = True

    def _stop_processes(self) -> None:
        self.supervisor.stop(_HURRY_S if self._hurried else _PATIENT_S)

    def _migrate(self, site: Path) -> None:
        # imported here: the processes start without waiting for SQLAlchemy
        from worklist.order.policy import load
        from worklist.sql import policy_store
        from worklist.sql.database import make_engine, migrate

        migrate(self._owner)
        engine = make_engine(self.database, pool=1)
        with engine.begin() as connection:
            policy_store.activate(connection, load(site), actor="demo", now=datetime.now(UTC))
        engine.dispose()

    def _environment(self, role: str, site: Path) -> dict[str, str]:
        state = self.folder / f"state-{role}"
        state.mkdir()
        values: dict[str, Any] = {
            "site": site,
            "kafka": self.kafka,
            "kafka_mock": int(not self._kafka),
            "keys": self.folder / "keys.json",
            "store": self.folder / "store",
            "state": state,
            "name": f"{role}-1",
            "bind": "127.0.0.1",
            "mllp_port": self.ports["mllp"],
            "dicom_port": self.ports["dicom"],
            "http_port": self.ports["door"],
            "web_port": self.ports["web"],
            "metrics_port": self.ports[f"metrics_{role}"],
            "ae_title": AE_TITLE,
            "database": self.database,
            "quiet_s": 0.5,
            "tokens": " ".join(
                [f"demo:lead:{self.token}"]
                + [f"{name}:reader:{token}" for name, token in self.readers.items()]
            ),
            "open_demo": 1,
            "store_min_free": 0.01,
            "insecure": 0,
        }
        if role in ("worklist", "web"):
            values["act_keys"] = self.folder / "act-keys.json"
        if role == "worklist":  # it seals the audit; nobody else can
            values |= {
                "database_sealer": self._sealer,
                "audit_keys": self.folder / "audit-keys.json",
            }
        return {f"VIGIE_{name.upper()}": str(value) for name, value in values.items()}

    @property
    def http(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def door(self) -> str:
        """The HTTP door."""
        return f"http://127.0.0.1:{self.ports['door']}"

    @property
    def mllp(self) -> str:
        """The HL7 door."""
        return f"127.0.0.1:{self.ports['mllp']}"

    @property
    def dicom(self) -> str:
        """The DICOM door."""
        return f"127.0.0.1:{self.ports['dicom']}"

    def settings(self) -> StreamsSettings:
        """What a client of our own needs of the installation's settings."""
        return StreamsSettings(kafka=self.kafka, kafka_mock=not self._kafka)

    def edges(self) -> dict[str, Any]:
        """What ``--ready`` holds."""
        pids = self.supervisor.pids()
        metrics = [
            f"http://127.0.0.1:{self.ports[f'metrics_{role}']}/metrics"
            for role in _ROLES
            if role != "web"
        ]
        return {
            "http": self.http,
            "mllp": self.mllp,
            "door": self.door,
            "dicom": {"address": self.dicom, "ae_title": AE_TITLE},
            "kafka": self.kafka,
            "database": self.database,
            "metrics": [*metrics, f"{self.http}/metrics"],
            "token": self.token,
            "pids": {role: [pids[role]] for role in _ROLES if role in pids},
        }

    def _tell(self) -> None:
        if self._ready:
            write_whole(self._ready, json.dumps(self.edges()))
