"""Sixteen workers, killed connections and messages at once, by web's routes: promises 2, 3, 7."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from streams.errors import Retry, Unavailable
from streams.events import Event
from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import bearer, serving, wait_for, web_settings
from worklist.order.policy import Policy
from worklist.settings import WorklistSettings
from worklist.sql.database import make_engine, translated
from worklist.sql.writing.apply import apply
from worklist.sql.writing.opening import Opener

WORKERS = [f"w{number}" for number in range(16)]
STUDIES = 60


@dataclass
class Told:
    """What the workers heard. `had`: of each study, who had it from when to when."""

    finished: Counter[str] = field(default_factory=Counter)
    had: defaultdict[str, list[tuple[float, float, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    wrong: list[str] = field(default_factory=list)


def work(name: str, base: httpx.URL, told: Told) -> None:
    """Takes what comes next, or what it sees on the list; reads it, or gives it back."""
    chance = random.Random(name)
    with httpx.Client(base_url=base, headers=bearer(f"{name}-token-0123456789")) as one:
        empty = 0
        while empty < 8:
            claimed = _take(name, one, chance)
            if claimed is None:
                empty += 1
                time.sleep(0.05)
                continue
            had = time.monotonic()
            verb = "release" if chance.random() < 0.2 else "finish"
            at = f"/api/v1/studies/{claimed['study']}/{verb}"
            asked = time.monotonic()  # from here on it may be another's
            for _ in range(40):
                done = one.post(at, json={"token": claimed["lease"]["token"]})
                if done.status_code != 503:
                    break
            told.had[claimed["study"]].append((had, asked, name))
            if done.status_code == 200:
                told.finished[claimed["study"]] += 1
            elif done.status_code != 204 and done.json()["code"] not in ("finished", "wrong_token"):
                told.wrong.append(done.text)


def _take(name: str, one: httpx.Client, chance: random.Random) -> dict[str, Any] | None:
    """A claim; also one whose answer was lost with its connection."""
    if chance.random() < 0.7:
        answer = one.post("/api/v1/next")
    else:
        rows = one.get("/api/v1/worklist").json().get("items", [])
        rows = [row for row in rows if row["claimed_by"] in (None, name)]
        if not rows:
            return None
        answer = one.post(f"/api/v1/studies/{chance.choice(rows[:3])['study']}/claim")
    claimed: dict[str, Any] = answer.json()
    return claimed if answer.status_code == 200 else None


@contextmanager
def meanwhile(act: Any, every_s: float) -> Iterator[None]:
    """Does `act` again and again, beside."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


@contextmanager
def killing(url: str) -> Iterator[None]:
    """Ends two connections that are at work, three times a second."""
    admin = make_engine(url, pool=1)

    def kill() -> None:
        with admin.begin() as connection:
            connection.execute(
                text("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE state = 'active' AND pid <> pg_backend_pid()
                        AND datname IS NOT NULL LIMIT 2""")
            )

    with meanwhile(kill, 0.3):
        yield
    admin.dispose()


def settings_of(url: str, folder: Path, ring: KeyRing) -> WorklistSettings:
    settings = web_settings(url, folder, ring)
    tokens = " ".join(f"{name}:reader:{name}-token-0123456789" for name in WORKERS)
    mixed = f"{settings.tokens.get_secret_value()} {tokens}"
    return settings.model_copy(update={"tokens": type(settings.tokens)(mixed)})


def overlaps(told: Told) -> list[str]:
    """Studies that a reader had while another had them."""
    found = []
    for study, spans in told.had.items():
        spans.sort()
        pairs = pairwise(spans)
        found += [study for one, other in pairs if other[0] < one[1] and one[2] != other[2]]
    return found


@pytest.mark.slow
def test_promises_2_3_7_sixteen_workers_never_have_one_study_twice_though_connections_are_killed(
    engine: Engine,
    database_url: str,
    ring: KeyRing,
    tmp_path: Path,
    make: Make,
    feed: Feed,
    policy: Policy,
    opener: Opener,
) -> None:
    images = [make.series(f"1.{n}", patient=f"P{n}", at=10 + n) for n in range(STUDIES)]
    feed(*images)
    coming: list[Event] = [make.finding(one.study_uid, of=one, at=90) for one in images[::3]]
    coming += [make.patient(f"P{n}", at=95) for n in range(0, STUDIES, 7)]
    told = Told()

    def arrive() -> None:
        """The next message; one whose connection was killed comes again."""
        if not coming:
            return
        try:
            with translated(), engine.begin() as connection:
                apply(connection, [coming[-1]], policy=policy, opener=opener)
        except (Unavailable, Retry):
            return
        coming.pop()

    with serving(settings_of(database_url, tmp_path, ring)) as (_, client):
        wait_for(lambda: client.get("/readyz").status_code == 200)
        with (
            killing(database_url),
            meanwhile(arrive, 0.02),
            ThreadPoolExecutor(16) as pool,
        ):
            list(pool.map(lambda name: work(name, client.base_url, told), WORKERS))
            wait_for(lambda: not coming)
    assert told.wrong == []
    assert overlaps(told) == []
    assert max(told.finished.values()) == 1
    with engine.connect() as connection:
        closed = connection.execute(text("SELECT uid, ai FROM closed")).all()
        finishes = connection.scalar(text("SELECT count(*) FROM audit WHERE act = 'finish'"))
    assert sorted(row.uid for row in closed) == sorted(f"1.{n}" for n in range(STUDIES))
    assert finishes == STUDIES
    flagged = {row.uid for row in closed if row.ai == "flagged"}
    assert flagged == {one.study_uid for one in images[::3]}
