"""Seals: what is sealed opens with the ring alone, unchanged, through rotations (promise 8)."""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Misconfigured, Park, Reason
from streams.identity.seal import KeyRing, new_ring, read_ring, write_ring
from streams.sealed import Identity

RING = KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32)
WHO = Identity(patient_id="4711", issuer="CHU", name="MARTIN^Anne", birth_date="19610412", sex="F")


def reason(ring: KeyRing, sealed: str) -> Reason:
    with pytest.raises(Park) as error:
        ring.open_identity(sealed)
    assert error.value.__cause__ is None
    assert "MARTIN" not in repr(error.value)
    return error.value.reason


@given(plain=st.binary(max_size=300))
def test_what_is_sealed_opens_unchanged_and_no_two_seals_are_alike(plain: bytes) -> None:
    first, second = RING.seal(plain), RING.seal(plain)
    assert RING.open(first) == RING.open(second) == plain
    assert first != second


@given(
    identity=st.builds(
        Identity,
        patient_id=st.text(max_size=20),
        name=st.text(max_size=40),
        birth_date=st.text(max_size=8),
    )
)
def test_promise_8_an_identity_comes_back_and_does_not_show_through(identity: Identity) -> None:
    sealed = RING.seal_identity(identity)
    assert RING.open_identity(sealed) == identity
    if len(identity.name) > 5:
        assert identity.name not in sealed


@given(data=st.data())
def test_a_seal_that_was_changed_anywhere_does_not_open(data: st.DataObject) -> None:
    name, _, box = RING.seal_identity(WHO).partition(".")
    raw = bytearray(base64.b64decode(box))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert reason(RING, f"{name}.{base64.b64encode(raw).decode()}") is Reason.BAD_SEAL


@given(sealed=st.text(max_size=60))
def test_what_is_no_seal_is_refused(sealed: str) -> None:
    assert reason(RING, sealed) is Reason.BAD_SEAL


def test_another_ring_or_another_name_of_the_key_opens_nothing() -> None:
    sealed = RING.seal_identity(WHO)
    assert reason(KeyRing("k1", {"k1": b"x" * 32}, b"p" * 32), sealed) is Reason.BAD_SEAL
    both = replace(RING, keys={"k1": RING.keys["k1"], "k2": RING.keys["k1"]})
    assert (
        reason(both, sealed.replace("k1.", "k2.", 1)) is Reason.BAD_SEAL
    )  # the name is authenticated too
    assert reason(RING, RING.seal(b"[]")) is Reason.BAD_SEAL  # sealed, and no identity


def test_keys_rotate_old_seals_open_until_their_key_is_taken_off() -> None:
    old = RING.seal_identity(WHO)
    rotated = KeyRing("k2", RING.keys | {"k2": os.urandom(32)}, RING.pseudonym)
    assert rotated.open_identity(old) == rotated.open_identity(rotated.seal_identity(WHO)) == WHO
    assert rotated.seal_identity(WHO).startswith("k2.")
    retired = replace(rotated, keys={"k2": rotated.keys["k2"]})
    assert reason(retired, old) is Reason.BAD_SEAL


def test_a_ring_survives_its_file_which_its_owner_alone_reads(tmp_path: Path) -> None:
    ring = new_ring()
    write_ring(ring, tmp_path / "keys.json")
    assert read_ring(tmp_path / "keys.json") == ring
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert new_ring() != ring


def test_a_ring_that_everybody_can_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_ring(RING, path)
    path.chmod(0o640)
    assert read_ring(path) == RING  # a group may be the operators'
    path.chmod(0o604)
    with pytest.raises(Misconfigured, match=r"VIGIE_KEYS: .* chmod 600 .*keys\.json"):
        read_ring(path)


def test_a_ring_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"VIGIE_KEYS: .*none\.json .*vigie keys"):
        read_ring(tmp_path / "none.json")


@pytest.mark.parametrize(
    "change",
    [
        {"current": "k9"},
        {"keys": {"k1": "AAAA"}},
        {"pseudonym": ""},
        {"pseudonym": "AAAA"},
        {"keys": {}},
        {"keys": 3},
        {"current": None},
    ],
)
def test_a_file_that_holds_no_ring_is_refused_without_its_keys(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "keys.json"
    write_ring(RING, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"keys\.json") as error:
        read_ring(path)
    assert base64.b64encode(RING.keys["k1"]).decode() not in str(error.value)


def test_promise_8_a_ring_does_not_show_its_keys() -> None:
    shown = f"{RING!r} {RING}"
    assert "k1" in shown
    assert repr(RING.keys["k1"]) not in shown
    assert "ppp" not in shown
