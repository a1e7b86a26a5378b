"""The one line of truth: what is said of a list that is behind, of AI, of what is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role, sign_in, wait_for
from worklist.freshness import Freshness, Gap
from worklist.order.policy import Policy
from worklist.sql import policy_store
from worklist.sql.asking.screening import Screening, screening
from worklist.web.live.truth import Line, Teller, lines

AT = datetime(2026, 3, 14, 8, 0, tzinfo=UTC)
FINE = Screening()


def codes(*asked: Any) -> list[str]:
    return [line.code for line in lines(*asked)]


def test_nothing_is_said_of_a_fresh_list() -> None:
    assert lines(True, Freshness(applied_age_s=7200, behind_events=4, behind_s=2), 60, FINE) == ()


def test_what_is_wrong_is_said_most_grave_first() -> None:
    fresh = Freshness(3.0, 12, 61.0, Gap(AT, 959), "kafka")
    ai = Screening(late=3, late_s=600, packages=("head-ct-ich",), silent=1, reranking=40)
    assert lines(False, fresh, 60, ai) == (
        Line("database"),
        Line("behind", {"events": 12, "seconds": 61}),
        Line("waits", {"wanted": "kafka"}),
        Line("gap", {"events": 959, "at": AT.isoformat()}),
        Line("ai_late_of", {"n": 3, "minutes": 10, "packages": "head-ct-ich"}),
        Line("reranking", {"n": 40}),
    )


def test_a_database_that_is_away_is_said_once() -> None:
    assert codes(False, Freshness(waits_for="database"), 60, FINE) == ["database"]


def test_of_an_ai_that_is_off_nobody_says_that_it_is_late() -> None:
    ai = Screening(off=True, late=3, late_s=600, silent=3)
    assert codes(True, Freshness(), 60, ai) == ["ai_off"]


Say = Callable[..., Screening]


@pytest.fixture
def said(engine: Engine) -> Say:
    def look(policy: Policy, limit_s: float = 240) -> Screening:
        with engine.connect() as connection:
            return screening(connection, policy, limit_s)

    return look


def long_ago(engine: Engine, minutes: float, uid: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""UPDATE item SET last_image_at = clock_timestamp()
                    - make_interval(secs => :s) WHERE uid = :uid"""),
            {"s": minutes * 60, "uid": uid},
        )


def test_a_series_that_its_models_leave_without_an_answer_is_late(
    engine: Engine, make: Make, feed: Feed, policy: Policy, said: Say
) -> None:
    unanswered = make.series("1.2", patient="P2")
    feed(make.series("1.1"), make.finding("1.1"), unanswered)
    feed(make.series("1.3", patient="P3", modality="MR"))
    for uid, minutes in (("1.1", 30), ("1.2", 2), ("1.3", 30)):
        long_ago(engine, minutes, uid)
    assert said(policy).late == 0, "neither the answered, nor the young, nor what no model reads"
    long_ago(engine, 5, "1.2")
    late = said(policy)
    assert (late.late, late.packages, late.silent) == (1, ("head-ct-ich",), 0)
    assert 299 < late.late_s < 330
    unsure = {"flagged": False, "outcome": "not_analysed", "findings": (), "reason": "unsure"}
    feed(make.finding(of=unanswered, **unsure))
    assert said(policy).late == 0, "an abstention is an answer"


def test_what_was_answered_is_known_from_closed_rows_too(
    engine: Engine, make: Make, feed: Feed, policy: Policy, said: Say
) -> None:
    feed(make.order(), make.series("1.1", accession="A1"), make.finding("1.1"), make.report())
    feed(make.series("1.2", patient="P2"))
    long_ago(engine, 5, "1.2")
    assert said(policy).late == 1


def test_where_no_model_answers_at_all_an_hour_is_silence(
    engine: Engine, make: Make, feed: Feed, policy: Policy, said: Say
) -> None:
    feed(make.series("1.2"))
    long_ago(engine, 61, "1.2")
    assert (said(policy).late, said(policy).silent) == (0, 1)


def test_a_new_policy_says_how_many_rows_it_has_not_reached(
    engine: Engine, make: Make, feed: Feed, policy: Policy, said: Say
) -> None:
    feed(make.series("1.1"), make.series("1.2", patient="P2"))
    assert said(policy).reranking == 0
    assert said(policy.model_copy(update={"oldest_backlog_days": 15})).reranking == 2
    assert said(policy.model_copy(update={"ai": False})).off


@pytest.mark.parametrize(
    ("lang", "words"),
    [("en", "AI takes no part in the order"), ("fr", "L’IA n’intervient pas dans l’ordre")],
)
def test_every_page_says_it_from_the_first_paint_and_api_and_metric_too(
    client: httpx.Client,
    engine: Engine,
    policy: Policy,
    make: Make,
    feed: Feed,
    lang: str,
    words: str,
) -> None:
    feed(make.series())
    with engine.begin() as connection:
        off = policy.model_copy(update={"ai": False})
        policy_store.activate(connection, off, actor="test", now=datetime.now(UTC))
    teller: Teller = client.app_state.truth  # type: ignore[attr-defined]
    teller.look()
    sign_in(client, "lead")
    study = client.get("/").text.partition('data-study="')[2].partition('"')[0]
    for path in ("/", f"/studies/{study}", "/ops", "/login"):
        html = client.get(path, params={"lang": lang}).text
        assert words in html, path
        assert 'id="truth" class="truth" data-state="warned"' in html
        assert 'data-state="live"' not in html, "green is what the stream says, never a paint"
    told = client.get("/api/v1/truth", headers=as_role("service")).json()
    assert "ai_off" in [line["code"] for line in told["lines"]]
    # The process's own look may have begun before the policy changed, and then ends after this one.
    wait_for(lambda: 'vigie_list_truth{line="ai_off"} 1.0' in client.get("/metrics").text)
