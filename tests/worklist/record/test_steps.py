"""Steps of several studies: what is said of one study is not said of another."""

from __future__ import annotations

from tests.worklist.record.say import image, order, report, step
from tests.worklist.record.test_faults import P1, items
from worklist.record.facts import Fact
from worklist.record.items import Item

#: One step, as its door tells it: the numbers of each study apart.
BOTH = [step("s9 u1.1 a1", P1), step("s9 u1.2 a2", P1)]
IMAGES = [image("u1.1 a1", P1), image("u1.2 a2", P1)]


def by_uid(said: list[Fact]) -> dict[str, Item]:
    return {item.uid: item for item in items(said)}


def test_a_report_on_one_study_of_a_step_leaves_the_other_unread() -> None:
    said = [*BOTH, *IMAGES, order("a2 f2", P1), report("a2 f2", P1)]
    rows = by_uid(said)
    assert {uid: row.state for uid, row in rows.items()} == {"1.1": "readable", "1.2": "final"}
    assert {uid: row.accessions for uid, row in rows.items()} == {"1.1": ("1",), "1.2": ("2",)}


def test_the_urgency_of_one_study_of_a_step_is_not_the_other_s() -> None:
    said = [*BOTH, *IMAGES, order("a1 f1", P1, "routine"), order("a2 f2", P1, "stat")]
    assert {uid: row.priority for uid, row in by_uid(said).items()} == {
        "1.1": "routine",
        "1.2": "stat",
    }


def test_studies_of_a_step_without_accessions_share_no_number() -> None:
    said = [step("s9 u1.1", P1), step("s9 u1.2", P1), image("u1.1", P1), image("u1.2", P1)]
    said += [order("f1 u1.1", P1), order("f2 u1.2", P1), report("f2 u1.2", P1)]
    assert {uid: row.state for uid, row in by_uid(said).items()} == {
        "1.1": "readable",
        "1.2": "final",
    }


def test_a_step_s_end_that_names_only_the_step_ends_it_for_each_study() -> None:
    said = [*BOTH, *IMAGES, step("s9", "", "completed", received=20)]
    assert [row.marks for row in by_uid(said).values()] == [(), ()]


def test_a_study_of_a_step_whose_images_are_not_here_is_a_row_of_its_own() -> None:
    rows = by_uid([*BOTH, IMAGES[0]])
    assert {uid: row.state for uid, row in rows.items()} == {"1.1": "readable", "1.2": "arriving"}


def test_two_steps_of_one_study_announce_their_images_together() -> None:
    said = [image("u1.1", P1, names=(1, 2))]
    said += [step("s9 u1.1", P1, "completed", u1_1_1=2), step("s8 u1.1", P1, "completed", u1_1_2=2)]
    (row,) = items(said)
    assert (row.images_announced, row.images_here, row.marks) == (4, 2, ("incomplete",))


def test_a_step_of_two_studies_announces_to_each_its_own_series() -> None:
    made = {"u1_1_1": 1, "u1_2_1": 1}
    said = [step(f"s9 u1.{n} a{n}", P1, "completed", **made) for n in (1, 2)]
    rows = by_uid([*said, *IMAGES])
    assert {uid: row.images_announced for uid, row in rows.items()} == {"1.1": 1, "1.2": 1}
    assert not any("incomplete" in row.marks for row in rows.values())
    # Of a series that nobody has seen yet it cannot be told whose it is: incomplete, not complete.
    assert "incomplete" in by_uid([*said, IMAGES[0]])["1.1"].marks


def test_a_word_of_a_step_that_is_told_twice_counts_its_images_once() -> None:
    said = [image("u1.1", P1), step("s9 u1.1", P1, "completed", u1_1_1=1)]
    said.append(step("s9 u1.1", P1, "completed", received=21, u1_1_1=1))
    assert [row.images_announced for row in items(said)] == [1]
