"""``vigie web`` serves page and API; ``vigie token`` makes a reader's token."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI
from uvicorn import Config

from streams.health import check_binding, is_loopback, listening
from streams.process import Process, fail, need, reading_site, run
from worklist.settings import WebSettings
from worklist.web.app import create_app
from worklist.web.auth import Role, digest

app = typer.Typer(no_args_is_help=True)


class Server(uvicorn.Server):
    """Uvicorn inside a process of ours, which handles the signals; `serving` is called once."""

    def __init__(self, config: Config, serving: Callable[[], None]) -> None:
        super().__init__(config)
        self._serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then says so."""
        await super().startup(sockets)
        if self.started:
            self._serving()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


async def main(process: Process, settings: WebSettings, web: FastAPI, config: Config) -> None:
    """Serves until the process is to end; open event streams end first, and no browser is waited
    for.
    """
    with listening("VIGIE_WEB_PORT", settings.bind, settings.web_port):
        listener = socket.create_server((settings.bind, settings.web_port), backlog=512)
    port = listener.getsockname()[1]
    server = Server(config, lambda: process.ready(http=port))
    serving = process.keep(server.serve(sockets=[listener]))
    await process.until_ended()
    web.state.feed.close()
    server.should_exit = True
    await asyncio.wait([serving])


@app.command("web")
def web_command() -> None:
    """Serve page and API, and do the list's chores."""
    settings = WebSettings()
    need(settings, "database")
    if settings.open_demo and not is_loopback(settings.bind):
        fail("VIGIE_OPEN_DEMO is for a loopback VIGIE_BIND only: unset it, and give readers tokens")
    check_binding(settings, protected=False)
    with reading_site(settings):
        web = create_app(settings)
    config = Config(
        web, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    run(
        settings,
        lambda process: main(process, settings, web, config),
        loop_factory=config.get_loop_factory(),
    )


@app.command("token")
def token_command(
    name: str, role: Annotated[Role, typer.Option(help="what the holder may do")] = Role.READER
) -> None:
    """Make a token for a reader: printed once, with the entry for the site's readers.toml."""
    token = secrets.token_urlsafe(32)
    typer.echo(f"# token, shown once: {token}")
    typer.echo(f'[[reader]]\nname = "{name}"\nrole = "{role.value}"\nsha256 = "{digest(token)}"')
