"""What must hold in the database: the queries find what breaks it, and `vigie check` says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from infra.check import check_site
from tests.worklist.conftest import ROOT, Feed, Make
from worklist.sql.database import make_engine
from worklist.sql.invariants import violations


def test_the_invariant_finds_a_live_flag_that_a_machine_withdrew(
    engine: Engine, make: Make, feed: Feed
) -> None:
    feed(make.series(patient=None), make.finding())
    with engine.begin() as connection:
        connection.execute(text("UPDATE study SET ai = 'not_flagged'"))
        assert "a flag is never withdrawn by a machine" in violations(connection)
        connection.rollback()


def check(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "check", str(ROOT / "infra" / "site")],
        cwd="/",
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VIGIE_DATABASE": url},
    )


def test_vigie_check_says_what_does_not_hold_in_the_list_and_exits_1(
    engine: Engine, database_url: str, make: Make, feed: Feed
) -> None:
    feed(make.series(), make.finding())
    assert check(database_url).returncode == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE study SET ai = 'not_flagged', lane = 3"))
        (study,) = connection.scalars(text("SELECT study FROM study")).all()
    told = check(database_url)
    assert (told.returncode, told.stdout) == (1, "")
    assert [line.partition(": see ")[::2] for line in told.stderr.splitlines()] == [
        ("the list: not so: lane 3 is what cannot be read", study),
        ("the list: not so: a flag is never withdrawn by a machine", study),
        ("the list: not so: every decision is in the audit", study),
    ]


def test_vigie_check_says_when_the_database_cannot_be_asked(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(url: str) -> str:
        monkeypatch.setenv("VIGIE_DATABASE", url)
        (line,) = check_site(ROOT / "infra" / "site", {})
        return line

    assert "no answer" in said(f"postgresql://?host={tmp_path}")
    assert "is no address" in said("not an address")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    fresh = make_engine(database_url).url.set(drivername="postgresql", database="fresh")
    assert "run `vigie migrate`" in said(fresh.render_as_string(hide_password=False))
