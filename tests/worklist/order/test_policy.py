"""The policy check refuses what would turn the list upside down, and says where."""

from __future__ import annotations

import json

import pytest

from tests.worklist.conftest import ROOT
from worklist.order.policy import Policy, load, parse

GOOD = (ROOT / "infra" / "site" / "policy.toml").read_text()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_the_example_site_is_sound() -> None:
    assert parse(GOOD) == load(ROOT / "infra" / "site")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (changed("horizon = 43200", "horizon = 10080"), "classes.routine.horizon"),
        (changed("horizon = 20160", "horizon = 20159"), "classes.urgent.horizon"),
        (changed("horizon = 36000", "horizon = 60"), "locations.inpatient.horizon"),
        (changed("oldest_backlog_days = 14", "oldest_backlog_days = 60"), "classes.urgent.horizon"),
        (changed("[classes.unknown]", "[classes.other]"), "classes.unknown"),
        (changed('classes = ["stat"]', 'classes = ["stat", "now"]'), "emergent.classes"),
        (changed("ai = true", "ai = true\nfaster = true"), "faster"),
        (changed("[classes.stat]", "[classes.stat]\nurgency = 1"), "classes.stat.urgency"),
        (changed('mode = "vigie"', 'mode = "clever"'), "mode"),
        (changed("target = 60", "target = 0"), "classes.stat.target"),
        (changed("target = 60", "target = -1"), "classes.stat.target"),
        (changed("horizon = 43200", "horizon = inf"), "classes.routine.horizon"),
        (changed("horizon = 43200", "horizon = nan"), "classes.routine.horizon"),
        (changed("horizon = 43200", "horizon = 1e300"), "classes.routine.horizon"),
        (changed("historic_after_days = 7", "historic_after_days = inf"), "historic_after_days"),
        (changed("target = 60", 'target = "soon"'), "classes.stat.target"),
        ("", "classes"),
        ("name = ", "no TOML"),
    ],
)
def test_what_is_unsound_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(ValueError, match=where.replace(".", r"\.")) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


def test_a_flagged_or_emergent_horizon_may_be_short() -> None:
    assert load(ROOT / "infra" / "site").findings["RID4700"].horizon == 15


def test_the_same_rules_have_the_same_version_in_any_order(policy: Policy) -> None:
    turned = json.loads(policy.model_dump_json())
    turned["locations"] = dict(reversed(turned["locations"].items()))
    assert Policy.model_validate(turned).version == policy.version
    assert policy.model_copy(update={"ai": False}).version != policy.version


def test_the_deny_list_of_before_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="shadow"):
        parse(changed("live = []", "shadow = []"))
