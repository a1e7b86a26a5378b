"""The record's rules by example, each in every order of arrival: who is who, what is one row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice, permutations
from pathlib import Path

import pytest

from tests.worklist.record.say import act, adt, finding, image, merge, order, report, step
from worklist.order.policy import Policy, load
from worklist.record.facts import Fact, number_node, pair_node
from worklist.record.items import Item, derive
from worklist.record.world import MOST_PATIENTS, World

EXAMPLE = Path(__file__).parents[3] / "infra" / "site"
AUTHORITIES = {}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(EXAMPLE).model_copy(update={"live": ("head-ct-ich",)})


def shows(item: Item) -> str:
    """A row in one line: its study, accessions, patient, state, class and marks."""
    marks = set(item.marks) & {"identity_conflict", "may_be_order", "priority_conflict"}
    words = {"identity_conflict": "conflict", "may_be_order": "may_be", "priority_conflict": "prio"}
    said = " ".join(sorted(words[m] for m in marks))
    who = item.identity.patient_id + (
        f"/{item.identity.birth_date}" if item.identity.birth_date else ""
    )
    numbers = f"{item.uid or '-'} {','.join(item.accessions) or '-'}"
    return f"{numbers} {who} {item.state} {item.priority} {said}".strip()


def rows(facts: Sequence[Fact], policy: Policy) -> list[str]:
    """The rows, the same in every order and however often a fact is said."""
    authorities: dict[str, set[str]] = {}
    for fact in facts:
        if fact.patient and fact.patient.authority:
            authorities.setdefault(fact.patient.value, set()).add(fact.patient.authority)
    world = World(authorities={k: frozenset(v) for k, v in authorities.items()})
    found = [sorted(shows(i) for i in derive(facts, world, policy))]
    for way in islice(permutations(facts), 24):
        found.append(sorted(shows(i) for i in derive([*way, *way[:2]], world, policy)))
    assert all(each == found[0] for each in found)
    return found[0]


P1, P2, P9 = "P1@HOSP", "P2@HOSP", "P9@HOSP"


def test_an_accession_used_twice_joins_nobody(policy: Policy) -> None:
    said = [order("a7 f1", P1, "stat"), image("u1.1 a7", P1), order("a7 f2", P2, "routine")]
    assert rows(said, policy) == [
        "- 7 P2 expected routine conflict",
        "1.1 7 P1 readable stat conflict",
    ]


def test_a_typing_error_in_the_patient_number_keeps_the_urgency(policy: Policy) -> None:
    said = [order("a7 f1", P1, "stat"), image("u1.1 a7", P9)]
    assert rows(said, policy) == [
        "- 7 P1 expected stat conflict",
        "1.1 7 P9 readable stat conflict may_be",
    ]


def test_an_image_without_issuer_meets_the_order_of_the_only_authority(policy: Policy) -> None:
    assert rows([order("a7 f1", P1, "stat"), image("u1.1 a7", "P1")], policy) == [
        "1.1 7 P1 readable stat"
    ]


def test_an_open_order_of_two_hospitals_patients_stands_alone(policy: Policy) -> None:
    said = [order("a7 f1", "P1"), image("u1.1 a7", "P1@A"), image("u1.2 a7", "P1@B")]
    assert rows(said, policy) == [
        "- 7 P1 expected unknown conflict",
        "1.1 7 P1 readable unknown conflict may_be",
        "1.2 7 P1 readable unknown conflict may_be",
    ]
    assert rows([*said, report("a7", "P1@A")], policy)[0] == "- 7 P1 expected unknown conflict"


def test_an_order_without_patient_number_goes_to_the_only_person(policy: Policy) -> None:
    said = [order("a7 f1", "", "stat"), image("u1.1 a7", P1)]
    assert rows(said, policy) == ["1.1 7 P1 readable stat"]
    said.append(order("a7 f2", P1, "routine"))
    assert rows(said, policy) == ["1.1 7 P1 readable stat prio"]
    said.append(order("a7 f3", P2, "routine"))
    assert "1.1 7 P1 readable stat conflict may_be prio" in rows(said, policy)


def test_six_patients_without_accession_are_six_rows(policy: Policy) -> None:
    assert len(rows([image(f"u1.{n}", f"P{n}") for n in range(6)], policy)) == 6


def test_an_emergency_patient_gets_a_birth_date_later(policy: Policy) -> None:
    said = [order("a7 f1", "U5@HOSP"), image("u1.1 a7", "U5@HOSP"), adt("A08", "U5@HOSP/19610402")]
    assert rows(said, policy) == ["1.1 7 U5/19610402 readable unknown"]


def test_a_corrected_birth_date_keeps_order_and_image_together(policy: Policy) -> None:
    said = [
        order("a7 f1", f"{P1}/19610204"),
        adt("A08", f"{P1}/19610402"),
        image("u1.1 a7", f"{P1}/19610402", received=30),
    ]
    assert rows(said, policy) == ["1.1 7 P1/19610402 readable unknown"]


def test_a_number_merged_away_and_given_to_a_newborn_is_another_person(policy: Policy) -> None:
    said = [
        image("u1.1 a7", f"{P1}/19500101", received=5),
        merge(P1, f"{P2}/19500101", received=20),
        adt("A28", f"{P1}/20260301", received=30),
        image("u1.2 a8", f"{P1}/20260301", received=40),
    ]
    assert rows(said, policy) == [
        "1.1 7 P2/19500101 readable unknown",
        "1.2 8 P1/20260301 readable unknown",
    ]


def test_an_image_sent_again_under_the_right_patient_is_a_second_row(policy: Policy) -> None:
    said = [image("u1.1 a7", P9, received=5), image("u1.1 a7", P1, received=9)]
    assert rows(said, policy) == [
        "1.1 7 P1 readable unknown conflict",
        "1.1 7 P9 readable unknown conflict",
    ]


def test_an_upgrade_with_the_same_event_time_stands(policy: Policy) -> None:
    said = [order("a7 f1", P1, "routine", when=0), order("a7 f1", P1, "stat", when=0, received=7)]
    assert rows(said, policy) == ["- 7 P1 expected stat"]


def test_of_two_sources_priorities_the_highest_stands(policy: Policy) -> None:
    said = [order("a7 f1", P1, "stat"), order("a7 f1", P1, "routine", received=5, sender="ehr")]
    assert rows(said, policy) == ["- 7 P1 expected stat prio"]


def test_pet_and_ct_under_one_accession_are_two_rows(policy: Policy) -> None:
    said = [order("a7 f1", P1, "stat"), image("u1.1 a7"), image("u1.2 a7")]
    assert rows(said, policy) == ["1.1 7 P1 readable stat", "1.2 7 P1 readable stat"]


def test_a_trauma_of_four_accessions_is_one_row(policy: Policy) -> None:
    said = [order(f"a{n} f{n} u1.1", P1, "stat") for n in range(1, 5)]
    assert rows(said, policy) == ["- 1,2,3,4 P1 expected stat"]
    assert rows([*said, image("u1.1 a1")], policy) == ["1.1 1,2,3,4 P1 readable stat"]


def test_a_report_for_another_patient_closes_nothing(policy: Policy) -> None:
    said = [order("a7 f1", P1), image("u1.1 a7", P1), report("a7 f1", P2)]
    assert "1.1 7 P1 readable unknown conflict" in rows(said, policy)


def test_a_report_on_one_of_two_accessions_does_not_close_the_row(policy: Policy) -> None:
    said = [order("a1 f1 u1.1", P1), order("a2 f2 u1.1", P1), image("u1.1", P1)]
    assert rows([*said, report("f1", P1)], policy) == ["1.1 1,2 P1 readable unknown"]
    assert rows([*said, report("f1", P1), report("f2", P1)], policy) == ["1.1 1,2 P1 final unknown"]


def test_a_placer_number_first_and_the_rest_later_is_one_order(policy: Policy) -> None:
    said = [order("p5", P1, "stat"), order("p5 f9 a7", P1, received=3), image("u1.1 a7", P1)]
    assert rows(said, policy) == ["1.1 7 P1 readable stat"]


def test_an_exam_that_never_ends_does_not_hold_its_images_back(policy: Policy) -> None:
    said = [order("a7 f1", P1, "stat"), step("s1.9 u1.1 a7", P1), image("u1.1 a7", P1)]
    assert rows(said, policy) == ["1.1 7 P1 readable stat"]


def test_images_after_the_final_report_bring_the_row_back(policy: Policy) -> None:
    said = [image("u1.1 a7", received=5), report("a7", received=9)]
    assert rows(said, policy) == ["1.1 7 P1 final unknown"]
    later = [*said, image("u1.1 a7", received=12, names=(1, 2))]
    assert rows(later, policy) == ["1.1 7 P1 readable unknown"]
    again = [*said, image("u1.1 a7", received=12, names=(1,), gateway="gateway-2")]
    assert rows(again, policy) == ["1.1 7 P1 final unknown"]


def test_a_preliminary_report_then_images_then_final(policy: Policy) -> None:
    said = [report("a7", status="preliminary", received=7), image("u1.1 a7", received=5)]
    assert rows(said, policy) == ["1.1 7 P1 preliminary unknown"]
    assert rows([*said, report("a7", received=9)], policy) == ["1.1 7 P1 final unknown"]


def test_a_flag_stays_and_is_of_its_own_series(policy: Policy) -> None:
    pictures = image("u1.1 a7")
    items = derive([pictures, finding(pictures), finding(pictures, flagged=False)], World(), policy)
    assert [item.ai.word for item in items] == ["flagged"]
    assert datetime.now(UTC) > items[0].received_at


def test_an_upgrade_with_a_corrected_birth_date_reaches_the_images_of_its_order(
    policy: Policy,
) -> None:
    old, new = "P1@H/19610204", "P1@H/19610402"
    said = [order("p5 f1 a7", old, "routine"), image("u1.1 a7", old)]
    said.append(order("p5 f1 a7", new, "stat", received=20))
    (read,) = [i for i in derive(said, World(), policy) if i.uid]
    assert (read.priority, "may_be_order" in read.marks) == ("stat", True)
    other = order("p5 f1 a7", "P2@H/19610402", "stat", received=20)
    (kept,) = [i for i in derive([*said[:2], other], World(), policy) if i.uid]
    assert kept.priority == "routine", "another number is another patient"
    openly = [order("f1 a7", "P1/19610204", "routine"), image("u1.1 a7", "P1/19610204")]
    openly.append(order("f1 a7", "P1/19610402", "stat", received=20))
    (kept,) = [i for i in derive(openly, World(), policy) if i.uid]
    assert kept.priority == "routine", "open numbers may be of two hospitals"


def test_a_priority_that_a_person_gave_an_order_reaches_its_later_images(policy: Policy) -> None:
    placed = order("f1 a7", "P1@H", "routine")
    (alone,) = derive([placed], World(), policy)
    raised = act("set_priority", alone.name, when=5, code="stat")
    images = [image(f"u1.{n} a7", "P1@H", received=10 + n) for n in range(2)]
    assert [i.priority for i in derive([placed, raised, *images], World(), policy)] == ["stat"] * 2
    lowered = act("set_priority", alone.name, when=6, code="routine")
    said = [placed, raised, lowered, *images]
    assert [i.priority for i in derive(said, World(), policy)] == ["routine"] * 2


@pytest.mark.parametrize("patient", ["P1@H", "P1"], ids=["stated", "open"])
def test_other_patients_images_under_its_number_lower_no_row(policy: Policy, patient: str) -> None:
    said = [order("f1 a7", "P1@H", "stat"), image("u1.1 a7", patient)]
    said += [image(f"u2.{n} a7", f"Q{n}") for n in range(MOST_PATIENTS + 1)]
    (number,) = said[1].event.numbers  # type: ignore[union-attr]
    shared = World(shared=frozenset({number_node(number)}))
    rows = {i.uid: i.priority for i in derive(said, shared, policy)}
    assert rows["1.1"] == "stat"
    assert set(rows.values()) == {"stat", "unknown"}


@pytest.mark.parametrize("patient", ["P1@H", "P1"], ids=["stated", "open"])
def test_an_order_lends_to_many_studies_that_state_no_authority(
    policy: Policy, patient: str
) -> None:
    placed = order("f1 a7", "P1@H", "routine")
    (alone,) = derive([placed], World(), policy)
    said = [placed, *(image(f"u1.{n} a7", patient) for n in range(13))]
    said += [image("u9.9 a7", "P1@B")]
    pair = pair_node(said[1].event.numbers[0], said[1].patient)  # type: ignore[union-attr]
    crowded = World(crowded=frozenset({pair}), lending=frozenset({pair}))
    raised = [*said, act("set_priority", alone.name, when=5, code="stat")]
    rows = {i.uid: i.priority for i in derive(raised, crowded, policy)}
    assert [rows[f"1.{n}"] for n in range(13)] == ["stat"] * 13
    assert rows["9.9"] == "unknown"
