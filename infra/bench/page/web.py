"""The web process by itself, for benches that ask what it costs."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from streams.identity.seal import new_ring, write_ring
from worklist.settings import WorklistSettings

#: Readers who may enter, by their tokens.
TOKENS = tuple(f"bench-token-{number:04}-0123456789" for number in range(200))
_SITE = Path(__file__).parents[2] / "site"


@dataclass(frozen=True)
class Web:
    """It runs, and serves on `port` of loopback, where a browser is a lead without a token."""

    port: int
    pid: int

    def memory_mb(self) -> float:
        """What it has in memory now (RSS), MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def processor_s(self) -> float:
        """Processor time since its start, seconds."""
        told = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def web(url: str) -> Iterator[Web]:
    """Starts it on the database at `url`, and ends it."""
    with tempfile.TemporaryDirectory() as folder:
        ring = new_ring()
        for name in ("keys", "act-keys"):
            write_ring(ring, Path(folder) / f"{name}.json")
        here, there = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(url, folder, there), daemon=True
        )
        process.start()
        try:
            if not here.poll(60):
                raise TimeoutError("the web process did not start")
            yield Web(here.recv(), process.pid or 0)
        finally:
            here.close()
            process.join(15)
            if process.is_alive():
                process.kill()


def _serve(url: str, folder: str, told: Any) -> None:
    """Serves until the other end of `told` is closed."""
    import uvicorn

    from worklist.web.app import create_app
    from worklist.web.commands import PatientProtocol, Server

    settings = WorklistSettings(
        site=_SITE,
        keys=Path(folder) / "keys.json",
        act_keys=Path(folder) / "act-keys.json",
        database=SecretStr(url),
        tokens=SecretStr(" ".join(f"r{n}:reader:{token}" for n, token in enumerate(TOKENS))),
        open_demo=True,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    app = create_app(settings)
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, http=PatientProtocol, log_config=None, access_log=False)
    server = Server(config, lambda: told.send(port))

    def until_closed() -> None:
        try:
            told.recv()
        except EOFError:
            app.state.feed.close()
            server.should_exit = True

    threading.Thread(target=until_closed, daemon=True).start()
    server.run(sockets=[listener])
