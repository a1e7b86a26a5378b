"""Each process's own page for ops: /metrics, /livez, /readyz; and the file that says it serves."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from streams.errors import Misconfigured
from streams.settings import StreamsSettings

_ADDRESS_TROUBLE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


class Health:
    """A running health server; `port` is where."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.port = int(server.server_port)
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="health", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Access lines would drown the log: Prometheus asks every few seconds."""


def serve_health(settings: StreamsSettings, checks: Mapping[str, Callable[[], bool]]) -> Health:
    """Serves the health page on its own thread, so that a busy loop still answers.

    ``/livez`` says that the process runs; ``/readyz`` answers 503 with the names of the failing
    `checks`.
    """
    metrics_app = make_wsgi_app()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body: dict[str, Any]
        match environ.get("PATH_INFO", ""):
            case "/metrics":
                return list(metrics_app(environ, start_response))
            case "/livez":
                status, body = "200 OK", {"live": True}
            case "/readyz":
                body = {name: check() for name, check in checks.items()}
                status = "200 OK" if all(body.values()) else "503 Service Unavailable"
            case _:
                status, body = "404 Not Found", {"paths": ["/metrics", "/livez", "/readyz"]}
        start_response(
            status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        )
        return [json.dumps(body).encode()]

    with listening("VIGIE_METRICS_PORT", settings.bind, settings.metrics_port):
        server = make_server(
            settings.bind, settings.metrics_port, application, handler_class=_Quiet
        )
    return Health(server)


@contextmanager
def listening(setting: str, address: str, port: int, *, bind: str = "VIGIE_BIND") -> Iterator[None]:
    """While a port is opened: what cannot be had is said with the settings of port and address."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADDRESS_TROUBLE:
            raise
        raise Misconfigured(
            f"{setting}: {port} at {address} cannot be listened on ({os.strerror(error.errno)}): "
            f"set another port, or {bind} to an address of this machine; 0 takes a free port"
        ) from None


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def check_binding(settings: StreamsSettings, *, protected: bool) -> None:
    """Refuses an open door: a non-loopback address without TLS or tokens. Raises Misconfigured."""
    if not is_loopback(settings.bind) and not protected and not settings.insecure:
        raise Misconfigured(
            f"VIGIE_BIND: {settings.bind} can be reached from elsewhere, without encryption: put a "
            "TLS proxy before a loopback address (the doors: set VIGIE_MLLP_TLS_CERT and "
            "VIGIE_DICOM_TLS_CERT, each protects its own door alone), or set VIGIE_INSECURE=1 "
            "where the network is closed"
        )


def write_ready(settings: StreamsSettings, body: Mapping[str, Any]) -> None:
    """Writes the ready file whole (rename), if one is asked for."""
    if settings.ready_file:
        write_whole(settings.ready_file, json.dumps(body))


def write_whole(path: Path, text: str) -> None:
    """Writes `text` to `path`, for its owner alone, so that a reader sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
