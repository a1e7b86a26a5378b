"""Shadow (promise 3): what a package says that is not live, or whose constancy check fails, is
recorded and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from streams.errors import Reason
from streams.events import Event, FindingsMade
from streams.seal import KeyRing
from streams.studykey import digest
from tests.worklist.conftest import ROOT, T0, Feed, Make
from tests.worklist.web_client import sign_in
from worklist.order.policy import Policy, load, parse
from worklist.order.rank import rank
from worklist.record.facts import Known, fact_key, newer, nodes
from worklist.record.items import Item, derive
from worklist.sql import policy_store, queue
from worklist.sql.invariants import violations
from worklist.sql.project import Identities

SITE = load(ROOT / "infra" / "site")
LIVE = SITE.model_copy(update={"live": ("head-ct-ich",)})
#: (package, flagged, constancy, reason, set of images, release)
SAYINGS = st.tuples(
    st.sampled_from(["head-ct-ich", "never heard of"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, Reason.OUT_OF_DISTRIBUTION, Reason.LATE]),
    st.integers(1, 2),
    st.sampled_from(["1", "2"]),
)
Saying = tuple[str, bool, bool, Reason | None, int, str]
MAKE = Make(KeyRing("k1", {"k1": bytes(32)}, bytes(32)))


def say(saying: Saying) -> FindingsMade:
    package, flagged, constancy, reason, images, release = saying
    more = {} if reason is None else {"outcome": "not_analysed", "reason": reason}
    made = MAKE.finding(
        flagged=flagged and reason is None,
        package=package,
        constancy=constancy,
        package_version=release,
        input_digest=digest(bytes([images])),
        **more,
    )
    name = digest(repr(saying).encode())
    return made.model_copy(
        update={"event_id": name, "version": made.version.model_copy(update={"digest": name})}
    )


def item(sayings: Iterable[Saying], policy: Policy) -> Item:
    """The row that one series and `sayings`, in that order, give."""
    facts: dict[str, Known] = {}
    for event in [MAKE.series(), *map(say, sayings)]:
        key, old = fact_key(event), facts.get(fact_key(event))
        newest: Event = event if old is None or newer(event, old.event) else old.event
        facts[key] = Known(newest, event.received_at, frozenset(nodes(newest)))
    (only,) = derive(facts, Identities(MAKE.ring), policy)
    return only


def counted(saying: Saying) -> bool:
    return saying[0] == "head-ct-ich" and saying[2]


@settings(max_examples=300)
@given(sayings=st.lists(SAYINGS, max_size=6), data=st.data())
def test_promise_3_what_does_not_count_changes_neither_place_nor_flags(
    sayings: list[Saying], data: st.DataObject
) -> None:
    told = item(data.draw(st.permutations(sayings)), LIVE)
    alone = item([saying for saying in sayings if counted(saying)], LIVE)
    assert (told.flags, told.looked_for, told.abstained) == (
        alone.flags,
        alone.looked_for,
        alone.abstained,
    )
    assert rank(told.rank_facts(pinned=False, promoted=False), LIVE) == rank(
        alone.rank_facts(pinned=False, promoted=False), LIVE
    )
    assert (told.ai == "flagged") == any(counted(s) and s[1] and s[3] is None for s in sayings)
    if told.ai != "not_analysed":
        assert told.ai == alone.ai


@given(before=st.lists(SAYINGS, max_size=4), after=st.lists(SAYINGS, max_size=4))
def test_promise_3_a_flag_that_was_given_stays_whatever_the_package_says_while_its_check_fails(
    before: list[Saying], after: list[Saying]
) -> None:
    first = item(before, LIVE)
    then = item([*before, *((p, f, False, r, i, v) for p, f, _, r, i, v in after)], LIVE)
    assert set(first.flags) == set(then.flags)
    assert first.ai != "flagged" or then.ai == "flagged"


@given(sayings=st.lists(SAYINGS, min_size=1, max_size=4))
def test_a_site_that_names_no_package_has_all_in_shadow(sayings: list[Saying]) -> None:
    assert SITE.live == ()
    told, silent = item(sayings, SITE), item([], SITE)
    assert (told.ai, told.ai_reason, told.flags, told.abstained) == (
        "not_analysed",
        "shadow",
        (),
        (),
    )
    assert rank(told.rank_facts(pinned=False, promoted=False), SITE) == rank(
        silent.rank_facts(pinned=False, promoted=False), SITE
    )


def test_that_no_package_was_meant_for_a_series_is_said_all_the_same() -> None:
    nobody = ("", False, True, Reason.NO_MODEL, 1, "")
    assert item([nobody], SITE).ai_reason == "no_model"


@pytest.mark.parametrize(
    ("saying", "words"),
    [
        (
            ("head-ct-ich", True, False, None, 1, "1"),
            "the model fails its daily check: no effect on the order",
        ),
        (
            ("never heard of", True, True, None, 1, "1"),
            "the model is in shadow: no effect on the order",
        ),
        (
            ("head-ct-ich", False, True, Reason.OUT_OF_DISTRIBUTION, 1, "1"),
            "unlike what the model learned on",
        ),
        (("head-ct-ich", False, True, None, 1, "1"), "for: haemorrhage"),
    ],
)
def test_the_row_and_the_page_say_why_there_is_no_flag_and_what_was_looked_for(
    client: httpx.Client, feed: Feed, saying: Saying, words: str
) -> None:
    feed(MAKE.series(patient=None), say(saying))
    sign_in(client)
    html = client.get("/").text
    assert words in html
    study = html.partition('data-study="')[2].partition('"')[0]
    assert words in client.get(f"/studies/{study}").text


def test_what_was_scored_in_shadow_is_recorded(engine: Engine, feed: Feed) -> None:
    feed(MAKE.series(patient=None), say(("head-ct-ich", True, False, None, 1, "1")))
    with engine.connect() as connection:
        kept = connection.scalar(text("SELECT body FROM fact WHERE type = 'FindingsMade'"))
        assert violations(connection) == {}
        assert queue.listing(connection).items[0]["ai"] == "not_analysed"
    assert (kept["outcome"], kept["constancy"], kept["findings"][0]["probability"]) == (
        "flagged",
        False,
        0.9,
    )


def test_going_live_raises_what_was_recorded_and_going_back_is_a_persons_act(
    engine: Engine, feed: Feed, policy: Policy, ring: KeyRing
) -> None:
    feed(
        MAKE.series(patient=None),
        say(("next", True, True, None, 1, "1")),
        say(("next", True, False, None, 2, "1")),
    )
    states = []
    for hours, live in ((1, (*policy.live, "next")), (2, policy.live)):
        with engine.begin() as connection:
            policy_store.activate(
                connection,
                policy.model_copy(update={"live": live}),
                actor="lead",
                now=T0 + timedelta(hours=hours),
            )
        policy_store.rerank(engine, Identities(ring))
        with engine.connect() as connection:
            assert violations(connection) == {}
            states.append(queue.listing(connection).items[0]["ai"])
            assert connection.scalar(
                text("SELECT count(*) FROM audit WHERE act = 'policy' AND actor = 'lead'")
            ) == len(states)
    assert states == ["flagged", "not_analysed"]


def test_the_invariant_finds_a_live_flag_that_a_machine_withdrew(
    engine: Engine, feed: Feed
) -> None:
    feed(MAKE.series(patient=None), say(("head-ct-ich", True, True, None, 1, "1")))
    with engine.begin() as connection:
        connection.execute(text("UPDATE study SET ai = 'not_flagged'"))
        assert "a flag is never withdrawn by a machine" in violations(connection)
        connection.rollback()


def test_a_policy_of_an_earlier_release_in_the_database_is_told_and_replaced(
    engine: Engine, policy: Policy
) -> None:
    old = policy.model_dump(mode="json", exclude={"live"}) | {"shadow": ["head-ct-ich"]}
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO policy_version (version, body, activated_at, actor) VALUES ('old', CAST(:b AS jsonb), :t, 'lead')"
            ),
            {"b": orjson.dumps(old).decode(), "t": T0 + timedelta(hours=1)},
        )
        with pytest.raises(LookupError, match="vigie policy activate"):
            policy_store.active(connection)
        assert policy_store.activate(connection, policy, actor="lead", now=T0 + timedelta(hours=2))
        assert policy_store.active(connection) == policy


def test_the_deny_list_of_before_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="shadow"):
        parse(
            (ROOT / "infra" / "site" / "policy.toml")
            .read_text()
            .replace("live = []", "shadow = []")
        )
