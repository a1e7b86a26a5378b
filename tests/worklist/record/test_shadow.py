"""Shadow (promise 3): what a package says that is not live, or whose constancy check fails, is
recorded and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import Reason
from streams.events import FindingsMade
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest
from tests.worklist.conftest import ROOT, Make
from worklist.order.policy import Policy, load
from worklist.order.rank import rank
from worklist.record.facts import Fact
from worklist.record.items import Item, derive
from worklist.record.world import World

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
#: The series as it came, and as it grew.
SETS = (MAKE.series(n=1), MAKE.series(n=2, at=10.5))


def say(saying: Saying) -> FindingsMade:
    package, flagged, constancy, reason, images, release = saying
    more = {} if reason is None else {"outcome": "not_analysed", "reason": reason}
    made = MAKE.finding(
        flagged=flagged and reason is None,
        package=package,
        constancy=constancy,
        package_version=release,
        of=SETS[images - 1],
        **more,
    )
    name = digest(repr(saying).encode())
    return made.model_copy(
        update={"event_id": name, "version": made.version.model_copy(update={"digest": name})}
    )


def item(sayings: Iterable[Saying], policy: Policy) -> Item:
    """The row that one series, which grew, and `sayings`, in that order, give."""
    events = [*SETS, *map(say, sayings)]
    facts = [
        Fact(event, MAKE.ring.open_identity(event.identity) if event.identity else None)
        for event in events
    ]
    (only,) = derive(facts, World(), policy)
    return only


def counted(saying: Saying) -> bool:
    return saying[0] == "head-ct-ich" and saying[2]


@settings(max_examples=3 * settings.default.max_examples)
@given(sayings=st.lists(SAYINGS, max_size=6), data=st.data())
def test_promise_3_what_does_not_count_changes_neither_place_nor_flags(
    sayings: list[Saying], data: st.DataObject
) -> None:
    told = item(data.draw(st.permutations(sayings)), LIVE)
    alone = item([saying for saying in sayings if counted(saying)], LIVE)
    assert (told.ai.flags, told.ai.looked_for, told.ai.abstained) == (
        alone.ai.flags,
        alone.ai.looked_for,
        alone.ai.abstained,
    )
    assert rank(told.rank_facts(), LIVE) == rank(alone.rank_facts(), LIVE)
    assert (told.ai.word == "flagged") == any(counted(s) and s[1] and s[3] is None for s in sayings)
    if told.ai.word != "not_analysed":
        assert told.ai.word == alone.ai.word


@given(before=st.lists(SAYINGS, max_size=4), after=st.lists(SAYINGS, max_size=4))
def test_promise_3_a_flag_that_was_given_stays_whatever_the_package_says_while_its_check_fails(
    before: list[Saying], after: list[Saying]
) -> None:
    first = item(before, LIVE)
    then = item([*before, *((p, f, False, r, i, v) for p, f, _, r, i, v in after)], LIVE)
    assert set(first.ai.flags) == set(then.ai.flags)
    assert first.ai.word != "flagged" or then.ai.word == "flagged"


@given(sayings=st.lists(SAYINGS, min_size=1, max_size=4))
def test_a_site_that_names_no_package_has_all_in_shadow(sayings: list[Saying]) -> None:
    assert SITE.live == ()
    told, silent = item(sayings, SITE), item([], SITE)
    word = (
        ("not_analysed", "shadow") if any(saying[4] == 2 for saying in sayings) else ("pending", "")
    )
    assert (told.ai.word, told.ai.reason) == word
    assert (told.ai.flags, told.ai.abstained) == ((), ())
    assert rank(told.rank_facts(), SITE) == rank(silent.rank_facts(), SITE)


def test_that_no_package_was_meant_for_a_series_is_said_all_the_same() -> None:
    nobody = ("", False, True, Reason.NO_MODEL, 2, "")
    assert item([nobody], SITE).ai.reason == "no_model"
