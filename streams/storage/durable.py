"""Files of the store: whole and on the disk when a function returns, readable by their owner alone.

Folders are 0700 and files 0600 whatever the umask. What a network file system answers when it is
away for a moment is tried again; a full disk is a refusal.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from streams.errors import Reason, Refuse

Buffer = bytes | bytearray | memoryview
Result = TypeVar("Result")
TEMPORARY = ".part-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: What NFS says when its server is away, or has forgotten a handle.
_PASSING = {errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.EREMOTEIO, errno.EAGAIN}
_PAUSES_S = (0.1, 0.5, 2.0)
_CHUNK = 1024 * 1024
_WORKERS = ThreadPoolExecutor(16, "flush")
#: So many bytes are written before it is asked again whether there is room.
_ROOM_EACH = 64 * 1024 * 1024


def patiently(work: Callable[[], Result], pause: Callable[[float], None] = time.sleep) -> Result:
    """`work`, again after a pause where the file system was away for a moment. Raises OSError."""
    for seconds in _PAUSES_S:
        try:
            return work()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        pause(seconds)
    return work()


@contextmanager
def on_the_disk() -> Iterator[None]:
    """While files are written: a full disk or quota becomes Refuse `store_full`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Refuse(Reason.STORE_FULL) from None
        raise


def make_folder(folder: Path) -> None:
    """Makes `folder` and what is missing above it, for the owner alone."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """What `folder` names is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def together(*works: Callable[[], None]) -> None:
    """All of `works` at once: a disk makes several flushes that wait into one. Raises what one did,
    once all are over.
    """
    others = [_WORKERS.submit(work) for work in works[1:]]
    try:
        works[0]()
    finally:
        wait(others)
    for other in others:
        other.result()


class Arriving:
    """A file that is being written; nobody sees it before it is linked to its name.

    Args:
        room: refuses `store_full` where so many bytes more have no room.
    """

    def __init__(self, folder: Path, room: Callable[[int], None]) -> None:
        self._room = room
        room(0)
        self._path = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with on_the_disk():
            self._handle = patiently(lambda: os.open(self._path, flags, 0o600))
        self.size = 0
        self._asked = 0
        self._lost = False  # the kernel may have dropped some of it

    def write(self, chunk: Buffer) -> None:
        """Raises Refuse `store_full`, or OSError."""
        view = memoryview(chunk)
        if self.size + len(view) - self._asked > _ROOM_EACH:
            self._room(len(view))
            self._asked = self.size
        self.size += len(view)
        with on_the_disk():
            while len(view):
                view = view[os.write(self._handle, view) :]

    def settle(self) -> None:
        """What was written is on the disk.

        A flush that failed is never made up for: the kernel says once that pages are lost, and
        calls the next flush good. Raises Refuse `store_full`, or `store_failed` when it failed
        before, or OSError.
        """
        if self._lost:
            raise Refuse(Reason.STORE_FAILED)
        try:
            with on_the_disk():
                os.fsync(self._handle)
        except OSError:
            self._lost = True
            raise

    def link(self, path: Path) -> bool:
        """Gives it a name; False where another has it. Unlike a rename it overwrites nothing."""
        try:
            os.link(self._path, path)
        except FileExistsError:
            return False
        return True

    def replace(self, path: Path) -> None:
        """Gives it a name, whoever has it."""
        os.replace(self._path, path)

    def same(self, path: Path) -> bool:
        """Whether the file at `path` holds the same bytes."""
        if path.stat().st_size != self.size:
            return False
        with open(path, "rb", buffering=0) as other:
            return all(mine == other.read(len(mine)) for mine in self._chunks())

    def digest(self, first: bytes) -> str:
        """Of `first` and the bytes, hex."""
        hasher = hashlib.sha256(first)
        for chunk in self._chunks():
            hasher.update(chunk)
        return hasher.hexdigest()

    def _chunks(self) -> Iterator[bytes]:
        at = 0
        while chunk := os.pread(self._handle, _CHUNK, at):
            yield chunk
            at += len(chunk)

    def view(self) -> memoryview:
        """The bytes, mapped while the view lives: only what is looked at takes memory."""
        if not self.size:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._handle, self.size, access=mmap.ACCESS_READ))

    def discard(self) -> None:
        """Its names stay, if it got any; nothing else of it does."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def write(folder: Path, name: str, chunks: Iterable[Buffer], *, replace: bool) -> bool:
    """Makes a small file: synced, then named, then its folder synced. False: the name was taken,
    nothing done.
    """
    file = Arriving(folder, lambda _size: None)
    try:
        for chunk in chunks:
            file.write(chunk)
        file.settle()
        path = folder / name
        if replace:
            file.replace(path)
        elif not file.link(path):
            return False
        sync_folder(folder)
        return True
    finally:
        file.discard()
