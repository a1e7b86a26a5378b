"""Helpers of the web tests: settings of a web process on the test database, and clients by role."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from streams.identity.seal import KeyRing, write_ring
from worklist.settings import WorklistSettings
from worklist.web.app import create_app
from worklist.web.commands import PatientProtocol, Server

ROOT = Path(__file__).parents[2]
#: The keys of what persons do, which only web and worklist hold.
ACTS_RING = KeyRing("a1", {"a1": bytes(range(32, 64))}, b"a" * 32)
TOKENS = {
    role: f"{role}-token-0123456789" for role in ("reader", "lead", "ops", "admin", "service")
}


def web_settings(
    url: str, folder: Path, ring: KeyRing, *, open_demo: bool = False
) -> WorklistSettings:
    keys = folder / "keys.json"
    write_ring(ring, keys)
    act_keys = folder / "act-keys.json"
    write_ring(ACTS_RING, act_keys)
    tokens = (
        " ".join(f"{role}1:{role}:{token}" for role, token in TOKENS.items())
        + f" reader2:reader:{TOKENS['reader']}-2"
    )
    return WorklistSettings(
        site=ROOT / "infra" / "site",
        keys=keys,
        act_keys=act_keys,
        key_images=folder / "key-images",
        database=SecretStr(url),
        tokens=SecretStr(tokens),
        open_demo=open_demo,
        ai_late_s=1e9,  # the tests' images are of another year
        web_port=0,
        insecure=True,
    )


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def as_role(role: str) -> dict[str, str]:
    return bearer(TOKENS[role])


def sign_in(client: httpx.Client, role: str = "reader") -> str:
    """Logs a browser in; returns its CSRF token."""
    answer = client.post(
        "/login",
        data={"token": TOKENS[role]},
        headers={"sec-fetch-site": "same-origin"},
        follow_redirects=False,
    )
    assert answer.status_code == 303
    return str(client.get("/").text.split('name="csrf" content="')[1].split('"')[0])


def wait_for(what: Callable[[], bool], seconds: float = 15) -> None:
    """Until `what` is so; fails when it never is."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "this never came"
        time.sleep(0.05)


@contextmanager
def serving(settings: WorklistSettings) -> Iterator[tuple[FastAPI, httpx.Client]]:
    """The web process in a thread, on a real port."""
    app = create_app(settings)
    ready = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        ),
        ready.set,
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    assert ready.wait(15)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=15
    ) as client:
        yield app, client
    app.state.feed.close()
    server.should_exit = True
    thread.join(15)
    listener.close()
    assert not thread.is_alive()
