"""How a message is split: the same fields as an independent parser finds, and nothing cut off."""

from __future__ import annotations

from pathlib import Path

import hl7
import pytest

from streams.errors import Reason, Refuse, VigieError
from streams.hl7.text.message import Message, parse
from streams.hl7.text.segments import Segment
from streams.senders.site import Sender

HEAD = "MSH|^~\\&|RIS|HOSP|||20260314101500||ORM^O01|M1|P|2.5.1\r"


def segment(text: str, head: str = HEAD) -> Segment:
    [_, found] = parse((head + text + "\r").encode()).segments
    return found


def _fields_of(found: Segment, oracle: hl7.Segment) -> tuple[list[str], list[str]]:
    """Each value of a segment as we and as python-hl7 split it."""
    ours, theirs = list[str](), list[str]()
    for number in range(1, min(len(oracle), 12 if found.name == "OBX" else len(oracle))):
        if (found.name, number) in {("MSH", 1), ("MSH", 2)}:
            continue  # the separators themselves
        for repetition, said in zip(found.repetitions(number), oracle[number], strict=False):
            components = said if isinstance(said, list) else [said]
            for place, component in enumerate(components, 1):
                parts = component if isinstance(component, list) else [component]
                for sub, value in enumerate(parts, 1):
                    ours.append(found.part(repetition, place, sub))
                    theirs.append(found.syntax.read(str(value)))
    return ours, theirs


def _by_oracle(message: Message) -> list[hl7.Segment]:
    # What is doubtful and could be read is UTF-8 that calls itself something else.
    text = message.raw.decode("utf-8" if message.doubtful else message.segments[0].syntax.codec)
    lines = [line.strip() for line in text.replace("\n", "\r").split("\r")]
    if any(line and line[3:4] not in ("", text[3]) for line in lines):
        return []  # a line that begins no segment: theirs is cut
    return list(hl7.parse("\r".join(line for line in lines if line)))


@pytest.mark.needs("corpora")
def test_every_field_of_every_real_message_is_as_an_independent_parser_has_it(
    corpora_dir: Path,
) -> None:
    compared = 0
    for file in sorted([*corpora_dir.glob("hl7/*.hl7"), *corpora_dir.glob("hl7_other/*.hl7")]):
        try:
            message = parse(file.read_bytes().strip(b"\x0b\x1c\r\n"))
            oracle = [one for one in _by_oracle(message) if message.has(str(one[0]))]
        except (VigieError, hl7.HL7Exception, ValueError, IndexError, KeyError):
            continue
        if [str(one[0]) for one in oracle] != [one.name for one in message.segments]:
            continue
        for found, said in zip(message.segments, oracle, strict=True):
            ours, theirs = _fields_of(found, said)
            assert ours == theirs, (file.name, found.name)
            compared += len(ours)
    assert compared > 100_000


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_word_after_a_line_end_that_looks_like_a_segment_is_refused_and_not_cut(end: str) -> None:
    """``CTA|`` may be a segment or the rest of the field before: accession and priority may follow
    it.
    """
    raw = f"{HEAD}OBR|1|PL1|FI1|CTHEAD|||||||||fall{end}CTA|||||A1\r".encode()
    with pytest.raises(Refuse) as refused:
        parse(raw)
    assert (refused.value.reason, refused.value.where) == (Reason.BAD_FIELD, "OBR")
    assert parse(raw, Sender(segments=("CTA",))).text("OBR", 13) == "fall"


@pytest.mark.parametrize(
    "name", ["obr", "O BR", "OBR ", "O&BR", "\\OBR", "OBR\N{NO-BREAK SPACE}", "(OBR)"]
)
@pytest.mark.parametrize("before", ["ORC|NW|PL1", "NTE|1||words"])
def test_a_segment_whose_name_is_damaged_is_refused_and_not_lost(before: str, name: str) -> None:
    """Joined to the line before it, a STAT with its accession was answered yes and gone."""
    with pytest.raises(Refuse) as refused:
        parse(f"{HEAD}{before}\r{name}|1|PL1|FI1|CTHEAD\r".encode())
    assert (refused.value.reason, refused.value.where) == (Reason.BAD_FIELD, "OBR")


@pytest.mark.parametrize("mark", ["\x00", "\x01", " ", "\t", "\ufeff", "\u200b", "\x1d"])
def test_what_cannot_be_seen_before_a_segment_is_no_part_of_its_name(mark: str) -> None:
    message = parse(f"{HEAD}ORC|NW|PL1{mark}\r{mark}OBR|1|PL1|FI1|CTHEAD\r".encode())
    assert (message.text("OBR", 4), message.text("ORC", 2)) == ("CTHEAD", "PL1")


@pytest.mark.parametrize("line", ["ZDS|1.2", "NTE|1||words", "ZZ9|x", "DG1|1"])
def test_segments_of_the_standard_and_those_with_a_z_end_the_one_before(line: str) -> None:
    message = parse(f"{HEAD}OBR|1|PL1|FI1|CTHEAD\r{line}\rTQ1|1||||||||S\r".encode())
    assert message.text("OBR", 4) == "CTHEAD"
    assert message.text("TQ1", 9) == "S"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"O\T\BRIEN", "O&BRIEN"),
        (r"a\S\b\R\c\F\d\E\e", "a^b~c|d\\e"),
        (r"line1\.br\line2", "line1 line2"),
        (r"BSV 4\5 re", r"BSV 4\5 re"),
        (r"a\b c\d", r"a\b c\d"),
        (r"\H\red\N\ ", "red"),
        (r"Lef\XE8\vre", "Lef\N{LATIN SMALL LETTER E WITH GRAVE}vre"),
        (r"x\X0D\OBX\F\1", "x OBX|1"),
    ],
)
def test_escapes_say_what_they_stand_for_and_a_lone_backslash_itself(raw: str, text: str) -> None:
    head = HEAD.replace("2.5.1", "2.5.1||||||8859/1")
    assert segment(f"PID|1||P1||{raw}", head).text(5) == text


@pytest.mark.parametrize(
    ("marks", "field", "component"),
    [("|^~", "|", "^"), ("|$~\\&", "|", "$"), (",^~\\&", ",", "^")],
)
def test_separators_are_those_that_the_message_declares(
    marks: str, field: str, component: str
) -> None:
    head = HEAD.replace("|", field).replace("^", component)
    head = f"MSH{marks}{head[head.index(field, 4) :]}"
    found = segment(field.join(["OBR", "1", "", "", f"CTHN{component}HEAD & NECK"]), head)
    assert found.text(4, 1) == "CTHN"
    assert found.text(4, 2) == ("HEAD" if "&" in marks else "HEAD & NECK")


def test_a_long_letter_in_a_result_costs_no_split_of_its_own() -> None:
    letter = "x|" * 100_000
    found = segment(f"OBX|1|ED|PDF||{letter.replace('|', '!')}||||||F|{letter}")
    assert found.text(11) == "F"
