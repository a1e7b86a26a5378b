"""What must hold in the database: each query finds what breaks it, and `vigie check` says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from infra.check import check_site
from tests.worklist.conftest import ROOT, Feed, Make
from worklist.order.policy import Policy
from worklist.sql import leases, queue
from worklist.sql.acts import Wish, do
from worklist.sql.database import make_engine
from worklist.sql.invariants import INVARIANTS, violations
from worklist.sql.models import COLUMNS
from worklist.sql.writing.opening import Opener

_ALL = ", ".join(COLUMNS)

#: What breaks each: one statement each, on a list of two open rows and two closed ones.
BREAKS = {
    "a row is open or closed": f"""
        INSERT INTO closed (name, closed_at, {_ALL})
        SELECT name, clock_timestamp(), {_ALL.replace(" state,", " 'final',")}
        FROM item WHERE uid = '1.1'""",
    "what is read was read by somebody": """
        UPDATE closed SET finished_at = NULL WHERE uid = '1.3'""",
    "a flagged row leaves the list by a person, a report or its cancellation": """
        UPDATE closed SET ai = 'flagged', state = 'historic' WHERE uid = '1.4'""",
    "a study has one row per person": """
        UPDATE item SET uid = '1.1', person = (SELECT person FROM item WHERE uid = '1.1')
        WHERE uid = '1.2'""",
    "every series is on one row": """
        UPDATE item SET fragments = '{}' WHERE uid = '1.1'""",
    "every order and report is on a row": """
        UPDATE closed SET reports = '{}' WHERE uid = '1.4'""",
    "a row answers to its members": """
        DELETE FROM member WHERE name = (SELECT name FROM closed WHERE uid = '1.3')""",
    "a row is named by one of its members": """
        UPDATE item SET members = '{}' WHERE uid = '1.1'""",
    "a flag is never withdrawn by a machine": """
        UPDATE item SET ai = 'not_flagged' WHERE uid = '1.1'""",
    "a flag is withdrawn by somebody": """
        UPDATE item SET ai = 'withdrawn' WHERE uid = '1.1'""",
    "every decision is in the audit": """
        UPDATE item SET lane = 0 WHERE uid = '1.2'""",
    "a finish closes one row": """
        INSERT INTO audit (xid, act, item, actor, reason, detail)
        SELECT xid, 'rank', 'other', '', '', jsonb_build_object('finish', detail->>'act_id')
        FROM audit WHERE act = 'finish'""",
    "a row names a policy that was active": """
        UPDATE item SET policy_version = 'unheard of' WHERE uid = '1.2'""",
    "the counts are those of the list": """
        DELETE FROM tally WHERE state = 'readable'""",
}


@pytest.fixture
def small(engine: Engine, make: Make, feed: Feed, policy: Policy, opener: Opener) -> Engine:
    """A flagged row and another; one that a person read, one whose report is final."""
    feed(
        make.series("1.1"),
        make.finding("1.1"),
        make.series("1.2", patient="P2"),
        make.series("1.3", patient="P3"),
        make.order("A4", patient="P4"),
        make.series("1.4", patient="P4", accession="A4"),
        make.report("A4", patient="P4"),
    )
    with engine.begin() as connection:
        (row,) = queue.listing(connection, study_uid="1.3").items
        leases.claim(connection, row["study"], "anna", 60)
        wish = Wish("finish", row["study"], "anna", "reader")
        do(connection, wish, policy=policy, opener=opener)
        assert violations(connection) == {}
    return engine


def test_each_invariant_has_something_that_breaks_it() -> None:
    assert BREAKS.keys() == INVARIANTS.keys()


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_finds_what_breaks_it(small: Engine, name: str) -> None:
    with small.connect() as connection:
        connection.execute(text(BREAKS[name]))
        assert name in violations(connection)
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
    feed(make.series("1.1"), make.finding("1.1"))
    assert check(database_url).returncode == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE item SET ai = 'not_flagged'"))
        (study,) = connection.scalars(text("SELECT name FROM item")).all()
    told = check(database_url)
    assert (told.returncode, told.stdout) == (1, "")
    assert [line.partition(": see ")[::2] for line in told.stderr.splitlines()] == [
        ("the list: not so: a flag is never withdrawn by a machine", study),
        ("the list: not so: the counts are those of the list", "readable 2"),
    ]


def test_vigie_check_says_when_the_database_cannot_be_asked(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(url: str) -> str:
        monkeypatch.setenv("VIGIE_DATABASE", url)
        (line,) = check_site(ROOT / "infra" / "site", {})
        return line

    assert "no answer" in said(f"postgresql://?host={tmp_path}")
    assert "not an address" in said("not an address")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    fresh = make_engine(database_url).url.set(drivername="postgresql", database="fresh")
    assert "run `vigie migrate`" in said(fresh.render_as_string(hide_password=False))
