"""Keyed pseudonyms: alike for the same thing, apart for others, no way back without the key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.events import Number, NumberKind, Patient
from streams.identity.studykey import digest, instance_name, patient_of, pseudonym, topic_key
from streams.instances import pack, unpack

SECRET = b"p" * 32
names = st.text("ABC123-", min_size=1, max_size=6)


@given(authority=names, value=names)
def test_a_pseudonym_is_canonical(authority: str, value: str) -> None:
    plain = patient_of(SECRET, authority, value)
    assert plain is not None
    assert plain == patient_of(SECRET, authority, f"{value}  ")
    assert len(plain.value) == 32
    assert set(plain.value) <= set("0123456789abcdef")
    assert plain != patient_of(b"q" * 32, authority, value)


@given(a=st.tuples(names, names), b=st.tuples(names, names))
def test_a_number_of_another_value_or_authority_is_another_patient(
    a: tuple[str, str], b: tuple[str, str]
) -> None:
    one, other = patient_of(SECRET, *a), patient_of(SECRET, *b)
    assert one is not None
    assert other is not None
    assert (one == other) == (a == b)
    # An open number has to meet those of every authority.
    assert (one.value == other.value) == (a[1] == b[1])


def test_parts_do_not_run_together_and_kinds_are_apart() -> None:
    assert pseudonym(SECRET, "patient", "A", "BC") != pseudonym(SECRET, "patient", "AB", "C")
    assert pseudonym(SECRET, "patient", "1") != pseudonym(SECRET, "accession", "1")
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def test_who_gives_no_id_is_no_patient() -> None:
    assert patient_of(SECRET, "CHU", "  ") is None


def test_an_instance_s_name_is_keyed_and_says_nothing_of_its_uid() -> None:
    name = instance_name(SECRET, "1.2.840.1")
    assert len(unpack(pack([name]))) == 1
    assert name != instance_name(b"q" * 32, "1.2.840.1")
    assert name != instance_name(SECRET, "1.2.840.2")


def number(kind: NumberKind, value: str) -> Number:
    return Number(kind=kind, value=value)


PATIENT = Patient(value="ab" * 16)


@given(
    accessions=st.lists(names, min_size=1, max_size=4),
    uids=st.lists(st.text("0123456789.", min_size=1, max_size=9), min_size=1, max_size=3),
)
def test_the_key_of_a_study_does_not_depend_on_the_order_of_its_names(
    accessions: list[str], uids: list[str]
) -> None:
    by_accession = [number("accession", value) for value in accessions]
    by_uid = [number("study", value) for value in uids]
    key = topic_key(SECRET, by_uid + by_accession, PATIENT)
    assert key == topic_key(SECRET, reversed(by_accession), None)
    assert topic_key(SECRET, by_uid, PATIENT) == topic_key(SECRET, reversed(by_uid), None)


def test_an_order_and_an_image_of_one_accession_have_one_key() -> None:
    """Whoever gave it out: the image may not know."""
    order = [number("placer", "P1"), Number(kind="accession", authority="HOSP", value="A1")]
    image = [number("accession", "A1"), number("study", "1.2.3")]
    assert topic_key(SECRET, order, PATIENT) == topic_key(SECRET, image, None)


def test_a_visit_is_no_study() -> None:
    assert topic_key(SECRET, [number("visit", "V1")], PATIENT) == PATIENT.value


def test_promise_8_a_topic_key_is_never_a_name_or_a_number_of_the_study() -> None:
    found = [number("accession", "20260314-0001"), number("study", "1.2.840.1")]
    assert "2026" not in topic_key(SECRET, found, None)
    assert topic_key(SECRET, (), PATIENT) == PATIENT.value
    assert len(topic_key(SECRET, (), None)) == 32
