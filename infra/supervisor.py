"""Starts our processes, starts again what dies, on the same ports, and stops them in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from infra.embedded import StartError
from infra.processes import die_with_parent

log = structlog.get_logger()
_LOOK_S = 0.1
_BACKOFF_S = 1.0  # between two starts of one process
_STOP_S = 15.0  # for what is under way


@dataclass
class Child:
    """One process of ours: what it is called, its command, its environment; it is first started
    when the one that it comes `after` serves.
    """

    name: str
    command: str
    environment: Mapping[str, str]
    ready_file: Path
    after: str = ""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    body: dict[str, Any] = field(default_factory=dict)


class Supervisor:
    """Children with logs in `folder`. One thread starts and watches them all, as long as this
    process lives.

    Args:
        changed: called from that thread whenever all serve, again after each restart.
    """

    def __init__(self, folder: Path, changed: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._changed = changed
        self._children: list[Child] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stop_s = 0.0
        # The kernel kills a child when the *thread* that started it ends, so one thread starts them
        # all.
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def add(
        self, name: str, command: str, environment: Mapping[str, str], *, after: str = ""
    ) -> None:
        """One more process: ``vigie COMMAND`` with `environment` over ours; the first time once
        the process `after` serves.
        """
        file = self._folder / f"{name}.ready"
        self._children.append(Child(name, command, environment, file, after))

    def start(self) -> None:
        """Starts them all; `wait` says when they serve."""
        self._thread.start()

    def bodies(self) -> dict[str, dict[str, Any]]:
        """What each process said of itself when it served."""
        with self._lock:
            return {child.name: dict(child.body) for child in self._children}

    def pids(self) -> dict[str, int]:
        """The processes that run now."""
        with self._lock:
            return {
                child.name: child.process.pid
                for child in self._children
                if child.process and child.process.poll() is None
            }

    @property
    def restarts(self) -> int:
        """How many times a process had to be started again."""
        return sum(max(0, child.starts - 1) for child in self._children)

    def wait(self, names: set[str] | None = None, timeout_s: float = 60.0) -> None:
        """Until they serve (all, or those named). Raises StartError, with the log's last lines,
        when one does not.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            waiting = [
                c for c in self._children if not c.body and (names is None or c.name in names)
            ]
            if not waiting:
                return
            broken = next((c for c in waiting if c.starts > 5), None)
            if broken is not None or time.monotonic() > deadline:
                child = broken or waiting[0]
                raise StartError(
                    f"vigie {child.command} does not start: {self._last_line(child)} "
                    f"(log: {self.log_of(child.name)})"
                )
            time.sleep(_LOOK_S)

    def log_of(self, name: str) -> Path:
        """The log of a process."""
        return self._folder / f"{name}.log"

    def _last_line(self, child: Child) -> str:
        file = self.log_of(child.name)
        lines = file.read_text(errors="replace").strip().splitlines() if file.is_file() else []
        return lines[-1][:300] if lines else "it said nothing"

    def _watch(self) -> None:
        told = False
        while not self._stopping.is_set():
            for child in self._children:
                told = self._look(child) and told
            if not told and all(child.body for child in self._children):
                self._changed()
                told = True
            self._stopping.wait(_LOOK_S)
        self._end()

    def _look(self, child: Child) -> bool:
        """Starts `child` if it does not run; False when something changed."""
        if child.process is not None and child.process.poll() is None:
            if child.body or not child.ready_file.is_file():
                return True
            with self._lock:
                child.body = json.loads(child.ready_file.read_text())
            return False
        if not child.starts and any(c.name == child.after and not c.body for c in self._children):
            return True
        lived = time.monotonic() - child.started
        if child.process is not None:
            if child.body:
                log.warning("died", part=child.name, code=child.process.returncode)
            with self._lock:
                child.body = {}
            if lived < _BACKOFF_S:
                return False
        self._spawn(child)
        return False

    def _spawn(self, child: Child) -> None:
        child.ready_file.unlink(missing_ok=True)
        with self.log_of(child.name).open("ab") as log_file, self._lock:
            child.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "infra.cli", child.command],
                env={**os.environ, **child.environment, "VIGIE_READY_FILE": str(child.ready_file)},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        child.started = time.monotonic()
        child.starts += 1

    def stop(self, within_s: float = _STOP_S) -> None:
        """SIGTERM to all, in the order of the flow; SIGKILL to what is left after `within_s`."""
        self._stop_s = within_s
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _end(self) -> None:
        # In the thread that started them: were it to end first, the kernel would kill them in the
        # midst of their work.
        running = [
            child.process
            for child in self._children
            if child.process and child.process.poll() is None
        ]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._stop_s
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
