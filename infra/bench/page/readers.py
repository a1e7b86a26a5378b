"""What readers cost the web process, and what they see: memory, processor, paint."""

from __future__ import annotations

import selectors
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from infra.bench.hospital import Database, database
from infra.bench.measure import Result, machine
from infra.bench.page.web import TOKENS, Web, web
from infra.bench.top50 import fill
from worklist.sql.people import handing

CLIENTS, WAITING, EVENTS, EVERY_S = len(TOKENS), 10_000, 160, 1 / 16
#: What the list promises: see each figure's own words.
MEMORY_MB, CORES, SHARE, PAINT_MS, TASK_MS, FIRST_MS = 150.0, 0.5, 0.5, 250.0, 50.0, 300.0
_MEMBERS = "INSERT INTO member SELECT name, name FROM item ON CONFLICT DO NOTHING"
_SHOWN = "SELECT name FROM item WHERE lane < 3 ORDER BY lane, due_at, received_at, name LIMIT 50"


def measure(quick: bool) -> list[Result]:
    """With 200 clients and 16 events a second; then one browser on the full list."""
    waiting, events = (500, 20) if quick else (WAITING, EVENTS)
    with database() as base:
        fill(base, waiting, 0)
        with base.engine.begin() as connection:
            connection.execute(text(_MEMBERS))
        with web(base.url) as serving:
            found = _crowd(base, serving, events)
        with web(base.url) as serving:
            return [*found, *_seen(base, serving, events, waiting)]


def _result(what: str, ours: float, wanted: float, unit: str, *, more: bool = False) -> Result:
    """A figure beside what is wanted of it: at most, or at least (`more`)."""
    ratio = ours / wanted if more else wanted / max(ours, 1e-3)
    return Result(
        "sse", what, float(f"{ours:.4g}"), wanted, float(f"{ratio:.3g}"), unit, 1, machine()
    )


class Claims:
    """Claims rows of the first page, one each sixteenth of a second: each is a change."""

    def __init__(self, base: Database) -> None:
        self._base = base
        with base.engine.connect() as connection:
            self._studies = connection.scalars(text(_SHOWN)).all()
        self._number = 0

    def one(self) -> tuple[str, str]:
        """Commits one; the study, and who has it now."""
        turn, at = divmod(self._number, len(self._studies))
        study, reader = self._studies[at], f"r{turn}-{self._number}"
        self._number += 1
        with self._base.engine.begin() as connection:
            handing.take_over(connection, study, reader, 600, "bench")
        return study, reader


def _crowd(base: Database, serving: Web, events: int) -> list[Result]:
    """What 200 streams cost while rows change."""
    claims = Claims(base)
    with _streams(serving.port) as got:
        time.sleep(2)
        began, used, had = time.perf_counter(), serving.processor_s(), sum(got.values())
        for number in range(events):
            claims.one()
            time.sleep(max(0.0, began + (number + 1) * EVERY_S - time.perf_counter()))
        took = time.perf_counter() - began
        cores = (serving.processor_s() - used) / took
        memory = serving.memory_mb()
        time.sleep(1.5)
        share = (sum(got.values()) - had) / (events * CLIENTS)
    rate = f"{CLIENTS} clients and {events / took:.0f} changes a second"
    return [
        _result(f"web process in memory with {rate}", memory, MEMORY_MB, "MB, wanted at most"),
        _result(f"its processor with {rate}", cores, CORES, "cores, wanted at most"),
        _result("changes delivered, of all", share, SHARE, "share, wanted at least", more=True),
    ]


@contextmanager
def _streams(port: int) -> Iterator[dict[int, int]]:
    """Streams of 200 browsers, read by one thread; how many rows each was told."""
    selector, got = selectors.DefaultSelector(), dict[int, int]()
    for token in TOKENS:
        one = socket.create_connection(("127.0.0.1", port))
        host = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        one.sendall(f"GET /api/v1/events HTTP/1.1\r\n{host}".encode())
        selector.register(one, selectors.EVENT_READ)
        got[one.fileno()] = 0
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for key, _ in selector.select(0.2):
                told = key.fileobj.recv(1 << 17)  # type: ignore[union-attr]
                got[key.fd] += told.count(b'"claimed_until":"')

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield got
    finally:
        stop.set()
        reading.join(5)
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()


#: Notes when each row's reader was painted last, by the wall clock, and the longest task.
_WATCH = """() => { window.painted = {}; window.longest = 0;
new PerformanceObserver((list) => { for (const one of list.getEntries())
  window.longest = Math.max(window.longest, one.duration); }).observe({ entryTypes: ["longtask"] });
new MutationObserver(() => requestAnimationFrame(() => {
  for (const row of document.querySelectorAll('tr.study')) {
    const told = row.querySelector('.reader .who')?.textContent ?? '';
    const before = window.painted[row.dataset.study];
    if (!before || before[0] !== told) window.painted[row.dataset.study] = [told, Date.now()];
  } })).observe(document.getElementById('list'), { childList: true, subtree: true }); }"""
_FIRST = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def _seen(base: Database, serving: Web, events: int, waiting: int) -> list[Result]:
    """What one browser sees of a full list while rows change."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        first = []
        for _ in range(5):
            page.goto(f"http://127.0.0.1:{serving.port}/")
            page.wait_for_selector("tr.study >> nth=49")
            page.wait_for_timeout(1000)
            first.append(float(page.evaluate(_FIRST)))
        page.wait_for_timeout(1000)
        took = sorted(_painted(base, page, events))
        longest = float(page.evaluate("window.longest"))
        browser.close()
    p99 = took[int(len(took) * 0.99) - 1] if took else float("inf")
    full = f"{waiting} rows wait"
    what = f"commit to painted row, p99 of {len(took)} at 16 a second, {full}"
    return [
        _result(what, p99, PAINT_MS, "ms, wanted at most"),
        _result("longest task of the page meanwhile (0: none of 50)", longest, TASK_MS, "ms"),
        _result(f"first paint, {full}", statistics.median(first), FIRST_MS, "ms, wanted at most"),
    ]


def _painted(base: Database, page: Any, events: int) -> list[float]:
    """How long each change took from commit to paint, ms."""
    page.evaluate(_WATCH)
    claims = Claims(base)
    committed: dict[str, tuple[str, float]] = {}
    for _ in range(events):
        study, reader = claims.one()
        committed[study] = (reader, time.time() * 1000)
        page.wait_for_timeout(EVERY_S * 1000)
    page.wait_for_timeout(2000)
    painted = page.evaluate("window.painted")
    return [
        painted[study][1] - at
        for study, (reader, at) in committed.items()
        if study in painted and reader in painted[study][0]
    ]
