"""Files that are durable when a function returns, on disks that are away for a moment or full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streams.errors import Reason, Refuse
from streams.storage.durable import Arriving, make_folder, on_the_disk, patiently, write


def _room(_size: int) -> None:
    """There is."""


class Away:
    """Fails so many times as a network file system does."""

    def __init__(self, times: int, code: int) -> None:
        self.left, self.code = times, code

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise OSError(self.code, "away")
        return "done"


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_a_network_file_system_that_is_away_for_a_moment_is_asked_again(code: int) -> None:
    pauses: list[float] = []
    assert patiently(Away(2, code), pauses.append) == "done"
    assert pauses == sorted(pauses)
    assert len(pauses) == 2


def test_one_that_stays_away_is_given_up() -> None:
    with pytest.raises(OSError, match="away"):
        patiently(Away(9, errno.ESTALE), lambda _: None)


def test_what_will_not_pass_is_not_tried_again() -> None:
    away = Away(1, errno.EACCES)
    with pytest.raises(PermissionError):
        patiently(away, lambda _: None)
    assert away.left == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_refusal(code: int) -> None:
    with pytest.raises(Refuse) as refusal, on_the_disk():
        raise OSError(code, "full")
    assert refusal.value.reason is Reason.STORE_FULL


def test_promise_1_a_flush_that_failed_once_is_not_believed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of lost pages once."""
    file = Arriving(tmp_path, _room)
    file.write(b"12345")
    away, flush = Away(1, errno.EIO), os.fsync
    monkeypatch.setattr("streams.storage.durable.os.fsync", lambda handle: away() and flush(handle))
    with pytest.raises(Refuse) as refusal:
        patiently(file.settle, lambda _: None)
    assert refusal.value.reason is Reason.STORE_FAILED
    file.discard()


def test_room_is_asked_for_again_while_a_large_file_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.storage.durable._ROOM_EACH", 10)
    asked: list[int] = []
    file = Arriving(tmp_path, asked.append)
    for _ in range(10):
        file.write(b"12345")
    file.discard()
    assert len(asked) > 3
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    assert write(tmp_path, "name", [b"first"], replace=False)
    assert not write(tmp_path, "name", [b"second"], replace=False)
    assert (tmp_path / "name").read_bytes() == b"first"
    assert write(tmp_path, "name", [b"second"], replace=True)
    assert (tmp_path / "name").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_what_arrived_is_compared_and_viewed_without_being_held(tmp_path: Path) -> None:
    file = Arriving(tmp_path, _room)
    for chunk in (b"ab", memoryview(b"cd")):
        file.write(chunk)
    assert bytes(file.view()) == b"abcd"
    for other, same in ((b"abcd", True), (b"abce", False), (b"abc", False)):
        (tmp_path / "other").write_bytes(other)
        assert file.same(tmp_path / "other") is same
    assert file.digest(b"1") != file.digest(b"2")
    file.discard()


def test_a_file_without_bytes_can_be_viewed(tmp_path: Path) -> None:
    file = Arriving(tmp_path, _room)
    assert bytes(file.view()) == b""
    file.discard()


def test_folders_above_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "one" / "two")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")} == {0o700}
