"""One client cannot slow the others: turns, refusals, and requests that are never whole."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import (
    TOKENS,
    as_role,
    serving,
    sign_in,
    wait_for,
    web_settings,
)
from worklist.web.door import edge, limits
from worklist.web.door.limits import (
    AT_ONCE,
    FAILURES_WAIT,
    OF_ADDRESS,
    STREAMS,
    WAITING,
    Limits,
    TooMany,
)

LEAD = as_role("lead")


class Work:
    """Requests that are worked on for as long as the test wants."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.running = self.most = 0
        self.end = asyncio.Event()

    async def ask(self, client: str, address: str = "a", *, sends: bool = False) -> None:
        async with self.limits.request(client, address, sends=sends):
            self.running += 1
            self.most = max(self.most, self.running)
            await self.end.wait()
            self.running -= 1


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_of_one_client_a_few_are_worked_on_some_wait_and_too_many_are_refused() -> None:
    work = Work()
    tasks = [asyncio.ensure_future(work.ask("x")) for _ in range(AT_ONCE + WAITING)]
    await _settle()
    assert work.running == AT_ONCE
    with pytest.raises(TooMany):
        await work.ask("x")
    other = asyncio.ensure_future(work.ask("y"))
    await _settle()
    assert work.running == AT_ONCE + 1, "another session of the same address does not wait"
    work.end.set()
    await asyncio.gather(*tasks, other)
    assert work.limits._here == {}


@pytest.mark.asyncio
async def test_an_address_that_makes_up_sessions_is_bounded_too() -> None:
    work = Work()
    tasks = [asyncio.ensure_future(work.ask(f"made up {n}")) for n in range(OF_ADDRESS)]
    await _settle()
    with pytest.raises(TooMany):
        await work.ask("one more")
    elsewhere = asyncio.ensure_future(work.ask("lead", "b"))
    await _settle()
    assert not elsewhere.done()
    work.end.set()
    await asyncio.gather(*tasks, elsewhere)


@pytest.mark.asyncio
async def test_strangers_who_send_slowly_keep_nobody_of_their_address_out() -> None:
    work = Work()
    tasks = [asyncio.ensure_future(work.ask(f"{n}", sends=True)) for n in range(OF_ADDRESS)]
    await _settle()
    with pytest.raises(TooMany):
        await work.ask("one more", sends=True)
    tasks.append(asyncio.ensure_future(work.ask("reader")))
    await _settle()
    assert work.running == OF_ADDRESS + 1, "a page is asked for, and its reader recognised"
    work.limits.know("reader")
    tasks.append(asyncio.ensure_future(work.ask("reader", sends=True)))
    await _settle()
    assert work.running == OF_ADDRESS + 2, "and acts"
    work.end.set()
    await asyncio.gather(*tasks)
    assert work.limits._here == {}


def test_slow_bodies_from_a_readers_own_address_do_not_lock_the_reader_out(
    client: httpx.Client,
) -> None:
    with ExitStack() as doors:
        for n in range(OF_ADDRESS + 5):
            where = (client.base_url.host, client.base_url.port or 80)
            door = doors.enter_context(socket.create_connection(where))
            door.sendall(HEAD + FORM + f"Cookie: a={n}\r\nContent-Length: 9\r\n\r\nto".encode())
        wait_for(lambda: client.post("/login", headers={"cookie": "b=1"}).status_code == 429)
        assert client.get("/api/v1/worklist", headers=LEAD).status_code == 200
        assert client.post("/api/v1/renew", headers=LEAD).status_code == 200


def test_failed_logins_hold_up_nobody_elses_login_at_that_address(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LONGEST_DELAY_S", 1.0)
    where, ours = str(client.base_url), {"sec-fetch-site": "same-origin"}

    def guess(n: int) -> int:
        data = {"token": f"guess number {n}"}
        return httpx.post(f"{where}/login", data=data, headers=ours, timeout=60).status_code

    with ThreadPoolExecutor(20) as hands:
        guesses = [hands.submit(guess, n) for n in range(14)]
        wait_for(lambda: any(one.done() for one in guesses))
        assert httpx.get(f"{where}/login").status_code == 200
        answer = httpx.post(f"{where}/login", data={"token": TOKENS["reader"]}, headers=ours)
        assert answer.headers["location"] == "/"
        assert not all(one.done() for one in guesses), "while those still wait"
        told = Counter(one.result() for one in guesses)
    assert set(told) == {401, 429}
    assert told[401] >= FAILURES_WAIT


@pytest.mark.asyncio
async def test_streams_of_one_session_are_few() -> None:
    few = Limits()
    opened = [few.stream("x", "a") for _ in range(STREAMS)]
    for one in opened:
        await one.__aenter__()
    with pytest.raises(TooMany):
        async with few.stream("x", "a"):
            pass
    async with few.stream("y", "a"):
        pass
    for one in opened:
        await one.__aexit__(None, None, None)


def test_too_many_at_once_is_said_in_the_clients_language(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Limits()
    full._here["at 127.0.0.1 asking"] = OF_ADDRESS
    app: Any = client.app_state  # type: ignore[attr-defined]
    assert app is not None
    monkeypatch.setattr(Limits, "request", lambda *_, **__: limits_full())
    answer = client.get("/livez", headers={"accept-language": "fr"})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
    assert answer.json()["detail"].startswith("Trop de demandes")
    assert answer.headers["retry-after"] == "2"


class limits_full:
    async def __aenter__(self) -> None:
        raise TooMany

    async def __aexit__(self, *_: object) -> None:
        return


def ask_raw(client: httpx.Client, sent: bytes, seconds: float = 5) -> bytes:
    """What comes back for these bytes, until the server closes or so long."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as door:
        door.settimeout(seconds)
        door.sendall(sent)
        told = b""
        try:
            while piece := door.recv(65536):
                told += piece
        except TimeoutError:
            pass
        return told


HEAD = b"POST /login HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def test_a_body_that_never_comes_is_not_waited_for(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "BODY_S", 0.2)
    told = ask_raw(client, HEAD + FORM + b"Content-Length: 10\r\n\r\nto", 3)
    assert told.startswith(b"HTTP/1.1 408")
    assert b"too slowly" in told


def test_a_body_that_is_cut_off_leaves_no_traceback(
    client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as door:
        door.sendall(HEAD + FORM + b"Content-Length: 10\r\n\r\nto")
    time.sleep(0.3)
    assert client.get("/livez").status_code == 200
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /?cursor=%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /studies/%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (HEAD + FORM + b"Content-Length: 9\r\n\r\ntoken=%00", b"400"),
        (HEAD + FORM + b"Content-Length: 9\r\n\r\ntoken=%ff", b"401"),
        (HEAD + b"Content-Length: 99999999\r\n\r\n", b"413"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", b"303"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /?lang=%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\n\r\n", b"303"),
    ],
)
def test_requests_that_are_not_well_meant_get_a_decent_answer(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], sent: bytes, status: bytes
) -> None:
    told = ask_raw(client, sent, 1)
    assert told.split(b" ", 2)[1] == status, told[:200]
    assert b"Set-Cookie: a=b" not in told
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_one_client_with_twenty_connections_does_not_slow_a_leads_page(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path, make: Make, feed: Feed
) -> None:
    feed(*(make.series(f"1.{n}", patient=f"P{n}") for n in range(60)))
    with serving(web_settings(database_url, tmp_path, ring)) as (_, client):
        wait_for(lambda: client.get("/readyz").status_code == 200)
        sign_in(client, "lead")

        def median() -> float:
            took = [client.get("/").elapsed.total_seconds() for _ in range(12)]
            return statistics.median(took)

        alone = median()
        stop = threading.Event()

        def greedy() -> None:
            with httpx.Client(base_url=client.base_url, timeout=30) as one:
                while not stop.is_set():
                    one.get("/api/v1/worklist?limit=60", headers=as_role("service"))

        threads = [threading.Thread(target=greedy, daemon=True) for _ in range(20)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        beside = median()
        stop.set()
        for thread in threads:
            thread.join(30)
        print(json.dumps({"alone_ms": round(alone * 1e3), "beside_ms": round(beside * 1e3)}))
        # Twenty in a queue of one would be twenty times as long; a few turns are a few times.
        assert beside < 10 * alone
