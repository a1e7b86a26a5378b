"""``vigie web`` serves page and API; ``vigie token`` and ``vigie readers`` say who may enter."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from streams.health import check_binding, is_loopback, listening
from streams.process import WRONG_USAGE, Process, fail, need, reading_site, run
from worklist.settings import WebSettings
from worklist.sql.database import make_engine, translated
from worklist.sql.people import accounts
from worklist.web.app import create_app
from worklist.web.door.auth import NAME, Role, digest

app = typer.Typer(no_args_is_help=True)
readers_app = typer.Typer(no_args_is_help=True, help="Who may enter, without a restart.")
app.add_typer(readers_app, name="readers")
HEADERS_S = 15.0  # a request's headers have to be whole so soon


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


class PatientProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, but for who opens a connection and does not ask: after
    `HEADERS_S` it is closed, so that idle sockets are not kept for ever. The live feed finds its
    connection in the request's state.
    """

    _asked_by: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one: what is not whole is waited for as long as the first."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._expected()
        elif self._asked_by is None and (before is None or before.response_complete):
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing any more."""
        self._expected()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._asked_by = self.loop.call_later(HEADERS_S, self.transport.close)

    def _expected(self) -> None:
        if self._asked_by is not None:
            self._asked_by.cancel()
            self._asked_by = None


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
    need(settings, "kafka", "database")
    if settings.open_demo and not is_loopback(settings.bind):
        fail("VIGIE_OPEN_DEMO is for a loopback VIGIE_BIND only: unset it, and give readers tokens")
    check_binding(settings, protected=False)
    with reading_site(settings):
        web = create_app(settings)
    config = Config(
        web,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        forwarded_allow_ips=settings.web_proxies,
        proxy_headers=bool(settings.web_proxies),
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


@contextmanager
def _database() -> Iterator[Connection]:
    settings = WebSettings()
    need(settings, "database")
    engine = make_engine(settings.database.get_secret_value(), pool=1)
    try:
        with translated(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


Actor = Annotated[str, typer.Option(help="who does it: stands in the audit")]


@readers_app.command("add")
def readers_add(
    name: str,
    actor: Actor,
    role: Annotated[Role, typer.Option(help="what the holder may do")] = Role.READER,
) -> None:
    """Let somebody in, or give them another token: printed once."""
    if not re.fullmatch(NAME, name):
        fail(f"a reader's name is letters, digits and ._'@- : {NAME}", WRONG_USAGE)
    token = secrets.token_urlsafe(32)
    with _database() as connection:
        accounts.add(connection, name, role.value, digest(token), actor)
    typer.echo(token)


@readers_app.command("disable")
def readers_disable(name: str, actor: Actor) -> None:
    """Let nobody in under that name, within seconds, whoever wrote it down."""
    with _database() as connection:
        accounts.disable(connection, name, actor)


@readers_app.command("list")
def readers_list() -> None:
    """Who was added or disabled, one a line; those of readers.toml stand there."""
    with _database() as connection:
        for one in accounts.accounts(connection):
            typer.echo(
                "\t".join((one.name, one.role, "disabled" if one.disabled_at else "enabled"))
            )
