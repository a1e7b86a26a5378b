"""What the demo's report asks of the audit, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.demo.run import _audited
from infra.embedded import Postgres
from worklist.order.policy import load
from worklist.sql import audit, policy_store
from worklist.sql.database import make_engine, migrate

SITE = Path(__file__).parents[2] / "infra" / "site"


def test_ranks_and_acts_are_told_of_the_row_that_the_member_is_of_now(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    policy = load(SITE)
    with Postgres(tmp_path_factory.mktemp("database")) as server:
        migrate(server.owner)
        engine = make_engine(server.url)
        with engine.begin() as connection:
            policy_store.activate(connection, policy, actor="test", now=datetime.now(UTC))
            connection.execute(text("INSERT INTO member (member, name) VALUES ('old', 'row')"))
            audit.append(connection, "rank", "old")
            audit.append(connection, "pin", "old")
            audit.append(connection, "rank", "of no row")
        with engine.begin() as connection:
            audit.append(connection, "rank", "old", detail={"ai": "flagged"})
            audit.append(connection, "next", "old", actor="reader")
        engine.dispose()
        found, history, acts = _audited(server.url)
    assert found == policy
    assert [ai for _, ai in history["row"]] == ["pending", "flagged"]
    assert [(act.study, act.act) for act in acts] == [
        ("row", "rank"),
        ("row", "rank"),
        ("row", "next"),
    ]
    # Nobody sees a rank before its transaction ends.
    assert acts[0].at < acts[1].at == acts[2].at
