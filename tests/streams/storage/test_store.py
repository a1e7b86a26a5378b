"""Promise 1 in the store: what was answered is there, with its marker, also after kill -9."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import metrics
from streams.errors import Park, Reason, Refuse
from streams.identity.studykey import instance_name
from streams.instances import how_many, other_names
from streams.storage.store import Kept, Store

SECRET = b"p" * 32
FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", min_free=0.0)


def put(
    store: Store, study: str, series: str, sop: str, data: Any = b"x", mark: bytes = b"m"
) -> Kept:
    reference = store.folder(study, series)
    return store.put(reference, instance_name(SECRET, sop), data, lambda _: mark)


@FIXTURES
@given(
    uids=st.tuples(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80)),
    data=st.binary(max_size=200),
)
def test_promise_1_whatever_the_uids_what_was_put_is_inside_the_store_and_readable(
    store: Store, uids: tuple[str, str, str], data: bytes
) -> None:
    uids = tuple(uid.encode("utf-8", "replace").decode() for uid in uids)  # type: ignore[assignment]
    name = put(store, *uids, data, b"mark").name
    reference = store.folder(uids[0], uids[1])
    assert re.fullmatch(r"[0-9a-f/]{1,200}", reference)
    path = store.path(reference, name)
    assert path.is_relative_to(store._root)
    assert name in store.instances(reference)
    assert (reference, name) in {(marker.reference, marker.name) for marker in store.unpublished()}


def test_the_same_instance_again_changes_nothing(store: Store) -> None:
    names = {put(store, "1", "2", "3", [b"a", memoryview(b"b")]).name for _ in range(3)}
    assert store.instances(store.folder("1", "2")) == sorted(names)
    assert len(list(store.unpublished())) == 1


def test_other_bytes_for_the_same_instance_are_kept_beside_the_first_and_counted(
    store: Store,
) -> None:
    before = metrics.store_conflicts._value.get()
    first = put(store, "1", "2", "3", b"first")
    other = put(store, "1", "2", "3", b"other")
    assert (first.other_bytes, other.other_bytes) == (False, True)
    reference = store.folder("1", "2")
    assert store.path(reference, first.name).read_bytes() == b"first"
    assert store.path(reference, other.name).read_bytes() == b"other"
    assert metrics.store_conflicts._value.get() == before + 1
    assert put(store, "1", "2", "3", b"first") == first
    assert put(store, "1", "2", "3", b"other") == other
    assert put(store, "1", "2", "3", b"third").name not in (first.name, other.name)
    assert len(store.instances(reference)) == 3


def test_whatever_comes_under_one_name_is_kept_and_is_one_instance(store: Store) -> None:
    folder, name = store.folder("1.2", "1.2.3"), "ab" * 8
    for body in (b"a", b"b", b"c", b"b", b"a"):
        store.put(folder, name, body, lambda _: b"m")
    kept = store.instances(folder)
    assert {store.path(folder, one).read_bytes() for one in kept} == {b"a", b"b", b"c"}
    assert len(kept) == 3
    assert how_many(kept) == 1
    store.put(folder, "ac" * 8, b"a", lambda _: b"m")
    assert how_many(store.instances(folder)) == 2


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_names_of_other_bytes_are_many_and_none_is_the_first_s(number: int, digest: bytes) -> None:
    name = f"{number:016x}"
    others = list(other_names(name, digest.hex()))
    assert len(others) >= 15 or digest.hex().count(name[:4])
    assert how_many([name, *others]) == 1
    assert name not in others


def test_the_marker_of_other_bytes_says_so(store: Store) -> None:
    name = instance_name(SECRET, "3")
    for data in (b"first", b"other"):
        store.put(store.folder("1", "2"), name, data, lambda other: str(other).encode())
    assert {marker.body for marker in store.unpublished()} == {b"False", b"True"}


def test_what_names_another_patient_lies_apart(store: Store) -> None:
    assert store.folder("1", "2", "somebody") != store.folder("1", "2", "another")
    assert store.folder("1", "2", "somebody") != store.folder("1", "2somebody")


def test_many_threads_putting_the_same_instances_agree(store: Store) -> None:
    def work() -> None:
        for number in range(20):
            put(store, "1", "2", str(number), b"x" * 1000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reference = store.folder("1", "2")
    assert len(store.instances(reference)) == 20
    assert not [
        name for name in os.listdir(store.path(reference, "0" * 16).parent) if name.startswith(".")
    ]


def test_a_confirmed_instance_has_no_marker_and_one_sent_again_has(store: Store) -> None:
    name = put(store, "1", "2", "3").name
    reference = store.folder("1", "2")
    store.clear_marker(reference, name)
    store.clear_marker(reference, name)
    assert list(store.unpublished()) == []
    put(store, "1", "2", "3", mark=b"again")
    assert [marker.body for marker in store.unpublished()] == [b"again"]


def test_a_marker_that_waits_keeps_the_first_receipt(store: Store) -> None:
    put(store, "1", "2", "3", mark=b"first")
    put(store, "1", "2", "3", mark=b"later")
    assert [marker.body for marker in store.unpublished()] == [b"first"]


def test_a_marker_whose_instance_a_power_failure_took_names_nothing(store: Store) -> None:
    kept = put(store, "1", "2", "3")
    put(store, "1", "2", "4")
    store.path(store.folder("1", "2"), kept.name).unlink()
    assert [marker.name for marker in store.unpublished()] != [kept.name]
    assert len(list(store.unpublished())) == 1


@pytest.mark.parametrize(
    "reference",
    ["../../x", "/etc", "a" * 32, "a" * 32 + "/..", "a" * 32 + "/" + "b" * 31 + "\n", ""],
)
def test_a_reference_that_is_not_ours_is_parked(store: Store, reference: str) -> None:
    with pytest.raises(Park) as parked:
        store.path(reference, "0" * 16)
    assert parked.value.reason is Reason.BAD_EVENT
    with pytest.raises(Park):
        store.instances(reference)


def test_a_link_out_of_the_store_is_not_followed(store: Store, tmp_path: Path) -> None:
    (store._root / ("a" * 32)).symlink_to(tmp_path)
    with pytest.raises(Park):
        store.path("a" * 32 + "/" + "b" * 32, "c" * 16)


def test_a_full_disk_refuses_before_it_writes(tmp_path: Path) -> None:
    store = Store(tmp_path, min_free=1.0)
    with pytest.raises(Refuse) as refused:
        put(store, "1", "2", "3")
    assert refused.value.reason is Reason.STORE_FULL
    assert store.instances(store.folder("1", "2")) == []
    assert 0 < store.free_ratio() <= 1


def test_old_series_go_and_unpublished_ones_stay(store: Store) -> None:
    published = put(store, "1", "2", "3").name
    store.clear_marker(store.folder("1", "2"), published)
    put(store, "1", "9", "3")
    store.remember("1.2", b"note")
    later = time.time() + 4 * 86400
    assert store.remove_older_than(3 * 86400, now=time.time()) == 0
    assert store.recall("1.2") == b"note"
    assert store.remove_older_than(3 * 86400, now=later) == 1
    assert store.instances(store.folder("1", "2")) == []
    assert len(store.instances(store.folder("1", "9"))) == 1
    assert store.recall("1.2") is None
    assert put(store, "1", "2", "3").name == published


@pytest.mark.slow
def test_promise_1_removal_beside_a_sender_loses_nothing_answered(store: Store) -> None:
    """Upkeep for which 20 milliseconds are old runs as fast as it can while the same instances come
    again and again.
    """
    stop = threading.Event()

    def upkeep() -> None:
        while not stop.is_set():
            store.remove_older_than(0.02, now=time.time())

    thread = threading.Thread(target=upkeep)
    thread.start()
    reference = store.folder("1", "2")
    try:
        for number in range(100):
            time.sleep(number % 7 * 0.005)  # now before upkeep thinks it old, now just when it does
            name = put(store, "1", "2", str(number % 3)).name
            deadline = time.monotonic() + 5
            while name not in store.instances(reference):  # it may be on its way back
                assert time.monotonic() < deadline
            store.clear_marker(reference, name)
    finally:
        stop.set()
        thread.join()


CHILD = """
import sys
from pathlib import Path
from streams.storage.store import Store
store = Store(Path(sys.argv[1]), min_free=0.0)
for number in range(100000):
    data = b"x" * 50000 + str(number).encode()
    store.put(store.folder("1", str(number % 7)), f"{number:016x}", data, lambda _: b"mark")
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.slow
@pytest.mark.parametrize("answers", [1, 17, 60])
def test_promise_1_kill_9_in_mid_store_loses_nothing_answered(tmp_path: Path, answers: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    answered = [int(child.stdout.readline()) for _ in range(answers)]
    child.send_signal(signal.SIGKILL)
    answered += [int(line) for line in child.stdout.read().split("\n") if line]
    child.stdout.close()
    child.wait()
    store = Store(tmp_path, min_free=0.0)
    markers = {(marker.reference, marker.name) for marker in store.unpublished()}
    for number in answered:
        reference, name = store.folder("1", str(number % 7)), f"{number:016x}"
        assert store.path(reference, name).read_bytes() == b"x" * 50000 + str(number).encode()
        assert (reference, name) in markers
    for reference, name in markers:  # none without its instance
        assert name in store.instances(reference)
