"""Keyed pseudonyms: alike for the same thing, apart for others, no way back without the key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.studykey import digest, patient_pseudonym, pseudonym, topic_key

SECRET = b"p" * 32
names = st.text("ABC123-", min_size=1, max_size=6)


@given(issuer=names, patient=names)
def test_a_pseudonym_is_canonical(issuer: str, patient: str) -> None:
    plain = patient_pseudonym(SECRET, issuer, patient)
    assert plain == patient_pseudonym(SECRET, f" {issuer} ", f"{patient}  ")
    assert plain is not None
    assert len(plain) == 32
    assert set(plain) <= set("0123456789abcdef")
    assert plain != patient_pseudonym(b"q" * 32, issuer, patient)


@given(a=st.tuples(names, names), b=st.tuples(names, names))
def test_different_patients_have_different_pseudonyms(
    a: tuple[str, str], b: tuple[str, str]
) -> None:
    assert (patient_pseudonym(SECRET, *a) == patient_pseudonym(SECRET, *b)) == (a == b)


def test_parts_do_not_run_together_and_kinds_are_apart() -> None:
    assert pseudonym(SECRET, "patient", "A", "BC") != pseudonym(SECRET, "patient", "AB", "C")
    assert pseudonym(SECRET, "patient", "1") != pseudonym(SECRET, "accession", "1")
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def test_who_gives_no_id_has_no_pseudonym() -> None:
    assert patient_pseudonym(SECRET, "CHU", "  ") is None


@given(
    accessions=st.lists(names, min_size=1, max_size=4),
    uids=st.lists(st.text("0123456789.", min_size=1, max_size=9), max_size=3),
)
def test_the_key_of_a_study_does_not_depend_on_the_order_of_its_names(
    accessions: list[str], uids: list[str]
) -> None:
    key = topic_key(SECRET, accessions=tuple(accessions), study_uids=tuple(uids), patient="ab" * 16)
    assert key == topic_key(
        SECRET, accessions=tuple(reversed(accessions)), study_uids=(), patient=None
    )
    by_uid = topic_key(SECRET, accessions=(), study_uids=tuple(uids), patient="ab" * 16)
    assert by_uid == topic_key(
        SECRET, accessions=(), study_uids=tuple(reversed(uids)), patient="ab" * 16
    )


def test_promise_8_a_topic_key_is_never_a_name_or_a_number_of_the_study() -> None:
    key = topic_key(SECRET, accessions=("20260314-0001",), study_uids=("1.2.840.1",), patient=None)
    assert "2026" not in key
    assert topic_key(SECRET, accessions=(), study_uids=(), patient="ab" * 16) == "ab" * 16
    assert len(topic_key(SECRET, accessions=(), study_uids=(), patient=None)) == 32
