"""The commands of the web process: ``vigie web`` serves page and API, ``vigie token`` makes a
reader's token.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI

from streams.errors import Refuse
from streams.health import check_binding, is_loopback, write_ready
from streams.logs import start_logs
from worklist.settings import WorklistSettings
from worklist.web.app import create_app
from worklist.web.auth import Role, digest

app = typer.Typer(no_args_is_help=True)


class Server(uvicorn.Server):
    """Says when it serves; at a stop it ends the open event streams first, so that it does not wait
    for browsers.
    """

    def __init__(self, config: uvicorn.Config, web: FastAPI, serving: Callable[[], None]) -> None:
        super().__init__(config)
        self._web = web
        self._serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._serving()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._web.state.feed.close()
        super().handle_exit(sig, frame)


def _serve(settings: WorklistSettings) -> None:
    web = create_app(settings)
    config = uvicorn.Config(
        web, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    listener = socket.create_server((settings.bind, settings.web_port), backlog=512)
    port = listener.getsockname()[1]
    Server(config, web, lambda: write_ready(settings, {"http": port, "pid": os.getpid()})).run(
        sockets=[listener]
    )


@app.command("web")
def web_command() -> None:
    """Serve page and API, and do the list's chores."""
    settings = WorklistSettings()
    start_logs(settings)
    if settings.open_demo and not is_loopback(settings.bind):
        print(  # noqa: T201
            "VIGIE_OPEN_DEMO is for a loopback VIGIE_BIND only: unset it, and give readers tokens",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    try:
        check_binding(settings, protected=False)
    except Refuse as refusal:
        print(  # noqa: T201
            f"{refusal}: put a TLS proxy before a loopback address, or set VIGIE_INSECURE=1",
            file=sys.stderr,
        )
        raise typer.Exit(1) from None
    _serve(settings)


@app.command("token")
def token_command(
    name: str, role: Annotated[Role, typer.Option(help="what the holder may do")] = Role.READER
) -> None:
    """Make a token for a reader: printed once, with the entry for the site's readers.toml."""
    token = secrets.token_urlsafe(32)
    typer.echo(
        f'# token, shown once: {token}\n[[reader]]\nname = "{name}"\nrole = "{role.value}"\nsha256 = "{digest(token)}"'
    )
