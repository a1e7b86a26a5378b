"""RIS says that somebody reads a study elsewhere: for half an hour; by itself that is no order."""

from __future__ import annotations

from tests.worklist.record.say import act, at, image, order, report
from tests.worklist.record.test_faults import P1, finished, items, row
from worklist.record.facts import Fact


def reading(said: str = "a7 f1", received: float = 20, sender: str = "ris") -> Fact:
    """A word that somebody has it open; it mentions nothing else."""
    return order(said, P1, None, received=received, sender=sender, reading=True, status=None)


SAID = [order("a7 f1", P1, "stat"), image("u1.1 a7", P1)]


def test_somebody_reads_it_elsewhere_for_half_an_hour() -> None:
    one = row([*SAID, reading()])
    assert one.reading == (at(50), "ris")
    assert (one.state, one.priority, one.open) == ("readable", "stat", True)
    assert row(SAID).reading is None


def test_a_word_said_again_holds_from_the_newest_and_names_who_said_it() -> None:
    said = [*SAID, reading(), reading(received=30), reading(received=25, sender="pacs")]
    assert row(said).reading == (at(60), "ris")


def test_a_report_ends_it_whatever_it_says_and_a_word_after_it_counts_again() -> None:
    said = [*SAID, reading(), report("f1", P1, "preliminary", received=28)]
    assert row(said).reading is None
    assert row([*said, reading(received=29)]).reading == (at(59), "ris")


def test_that_it_is_read_elsewhere_brings_no_finished_row_back() -> None:
    alone = [image("u1.1 a7", P1)]
    for said in (SAID, alone):
        read = [*said, finished(said)]
        later = row([*read, reading(received=45)])
        assert (later.state, later.open) == ("read", False)
    # An order that comes after the finish does, whether the word had been seen or not.
    later_order = order("a7 f1", P1, received=50)
    for word in (reading(received=45), reading(received=25)):
        seen = [*alone, word] if word.received < at(40) else alone
        back = row([*alone, word, finished(seen), later_order])
        assert (back.open, back.clock) == (True, at(50))


def test_that_an_order_nobody_sent_is_read_elsewhere_reopens_no_final_row() -> None:
    said = [*SAID, report("f1", P1, received=30)]
    assert row([*said, reading("a7 f2", received=35)]).state == "final"


def test_what_is_read_elsewhere_and_nobody_knows_is_expected() -> None:
    (unknown,) = items([reading("a7 f1")])
    assert (unknown.state, unknown.reading) == ("expected", (at(50), "ris"))


def test_what_is_read_elsewhere_is_final_by_its_report_alone() -> None:
    said = [image("u1.1 a7", P1), reading("a7")]
    assert row(said).state == "readable"
    assert row([*said, report("a7", P1, received=40)]).state == "final"


def test_a_row_that_a_person_finished_says_so_until_its_report_does() -> None:
    read = [*SAID, finished(SAID)]
    assert row(read).state == "read"
    assert row([*read, report("f1", P1, received=60)]).state == "final"
    assert row([*read, act("reopen", row(SAID).name, when=50)]).state == "readable"


def test_a_cancel_of_what_was_read_or_reported_asks_nobody_to_confirm_it() -> None:
    gone = order("a7 f1", P1, None, received=50, status="cancelled")
    assert "cancelled_images_exist" in row([*SAID, gone]).marks
    assert "cancelled_images_exist" not in row([*SAID, finished(SAID), gone]).marks
    assert "cancelled_images_exist" not in row([*SAID, gone, report("f1", P1, received=60)]).marks
