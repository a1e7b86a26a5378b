"""Where pixels wait: each instance durable before its sender is answered, beside a marker that no
event names it yet.

Layout under the root, which every gateway and every triage process of a site shares::

    <study>/<part>/<instance>              the instance, a DICOM file as received
    unpublished/<study>.<part>.<instance>  its marker: facts for the event, identity sealed
    notes/<digest>                         what an exam's first message said and its last does not

A *part* is what a series has of one patient: a series that names two patients has two. All names
are digests, those of instances keyed, so nothing that a sender says ever becomes part of a path. An
instance that comes again with other bytes lies beside the first, under a name that is made of the
first's name and of the bytes. The marker is written after the instance: a marker without its
instance cannot exist, and an instance without a marker was either published or never answered for.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streams import metrics
from streams.errors import Park, Reason, Refuse

Buffer = bytes | bytearray | memoryview
_REFERENCE = re.compile(r"[0-9a-f]{32}/[0-9a-f]{32}")
_NAME = re.compile(r"[0-9a-f]{16}")
_MARKERS, _NOTES = "unpublished", "notes"
_TEMPORARY = ".part-"
_GOING = ".going-"  # a series under removal
#: A temporary file that nobody finished in a day belongs to a killed process.
_ABANDONED_S = 24 * 3600.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How often `put` makes a folder anew that the upkeep of another process removed under its hands.
_ATTEMPTS = 10
_KNOWN_FOLDERS = 4096


@dataclass(frozen=True)
class Marker:
    """One stored instance that no confirmed event names yet; `since` is when it was stored, Unix
    seconds.
    """

    reference: str
    name: str
    since: float
    body: bytes


@dataclass(frozen=True)
class Kept:
    """One instance in the store: its name, and whether other bytes came under its UID before."""

    name: str
    other_bytes: bool


def _hex(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


class Store:
    """A folder of instances. Safe for many threads and many processes at once.

    Args:
        root: the folder; made if it is not there.
        min_free: share of the disk (0–1) that stays free; below it `put` refuses.
    """

    def __init__(self, root: Path, *, min_free: float) -> None:
        self._root = root.resolve()
        self._markers = self._root / _MARKERS
        self._min_free = min_free
        self._notes = self._root / _NOTES
        self._markers.mkdir(parents=True, exist_ok=True)
        self._notes.mkdir(exist_ok=True)
        self._known: dict[str, None] = {}  # folders whose own entry is durable
        self._lock = threading.Lock()
        _sync_folder(self._root)

    def folder(self, study_uid: str, series_uid: str, statement: str = "") -> str:
        """The reference of one part of a series: what events carry. Two hex digests.

        Args:
            statement: a keyed digest of whom its images name.
        """
        return f"{_hex(study_uid)}/{_hex(series_uid, statement)}"

    def path(self, reference: str, name: str) -> Path:
        """Where the instance lies, whether or not it is there.

        Raises:
            Park: `bad_event` when reference or name are not of our making, or lead out of the
                store.
        """
        if not (_REFERENCE.fullmatch(reference) and _NAME.fullmatch(name)):
            raise Park(Reason.BAD_EVENT, "reference")
        path = (self._root / reference / name).resolve()
        if not path.is_relative_to(self._root):
            raise Park(Reason.BAD_EVENT, "reference")
        return path

    def instances(self, reference: str) -> list[str]:
        """The sorted names of all instances of a series that are here; empty when there are none.
        Raises as `path`.
        """
        if not _REFERENCE.fullmatch(reference):
            raise Park(Reason.BAD_EVENT, "reference")
        try:
            return sorted(
                name for name in os.listdir(self._root / reference) if _NAME.fullmatch(name)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def free_ratio(self) -> float:
        """Free share of the disk, 0–1, for a process without privileges."""
        stat = os.statvfs(self._root)
        ratio = stat.f_bavail / stat.f_blocks if stat.f_blocks else 1.0
        metrics.store_free_ratio.set(ratio)
        return ratio

    def put(
        self,
        reference: str,
        name: str,
        data: Buffer | Iterable[Buffer],
        mark: Callable[[bool], bytes],
    ) -> Kept:
        """Makes one instance and its marker durable. The same instance again changes nothing; with
        other bytes it is kept beside the first, which may have been read already.

        Args:
            name: of the instance, 16 hex digits (`streams.studykey.instance_name`).
            mark: the marker's body, by whether other bytes came under this name before.

        Raises:
            Refuse: `store_full` when the disk is, or would get, fuller than allowed.
            OSError: when the disk fails in another way. Nothing was promised then.
        """
        chunks: list[Buffer] = (
            [data] if isinstance(data, bytes | bytearray | memoryview) else list(data)
        )
        self._check_room(sum(map(len, chunks)))
        try:
            for _attempt in range(_ATTEMPTS):
                with suppress(FileNotFoundError):  # upkeep took the folder away under our hands
                    kept = self._put_instance(reference, name, chunks)
                    self._put_marker(reference, kept, mark)
                    # Upkeep looks for markers after it took a folder away, we look for the file
                    # after the marker is there: one of the two sees the other.
                    if self.path(reference, kept.name).exists():
                        return kept
                self._forget(reference)
            raise OSError(errno.EBUSY, "the folder of a series was removed again and again")
        except OSError as error:
            if error.errno in _FULL:
                raise Refuse(Reason.STORE_FULL) from None
            raise

    def _put_instance(self, reference: str, name: str, chunks: list[Buffer]) -> Kept:
        folder = self._make_folder(reference)
        if _there(folder, name, chunks):
            return Kept(name, other_bytes=False)
        beside = _beside(name, chunks)
        if not _there(folder, beside, chunks):
            raise OSError(errno.EEXIST, "two instances of one name")
        return Kept(beside, other_bytes=True)

    def _put_marker(self, reference: str, kept: Kept, mark: Callable[[bool], bytes]) -> None:
        """One that is there already has the earlier receipt, and stays."""
        name = _marker_name(reference, kept.name)
        if not _write(self._markers, name, [mark(kept.other_bytes)], replace=False):
            _sync_folder(self._markers)

    def _check_room(self, size: int) -> None:
        stat = os.statvfs(self._root)
        total = stat.f_blocks * stat.f_frsize
        if total and stat.f_bavail * stat.f_frsize - size < self._min_free * total:
            metrics.store_free_ratio.set(stat.f_bavail / stat.f_blocks)
            raise Refuse(Reason.STORE_FULL)

    def _make_folder(self, reference: str) -> Path:
        folder = self._root / reference
        with self._lock:
            known = reference in self._known
        if not known:
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)
            _sync_folder(self._root)
            with self._lock:
                if len(self._known) >= _KNOWN_FOLDERS:
                    self._known.clear()
                self._known[reference] = None
        return folder

    def _forget(self, reference: str) -> None:
        with self._lock:
            self._known.pop(reference, None)

    def unpublished(self) -> Iterator[Marker]:
        """All markers, also those of other gateways: any of them may resume what another left
        behind.
        """
        for entry in os.scandir(self._markers):
            study, _, rest = entry.name.partition(".")
            series, _, name = rest.partition(".")
            reference = f"{study}/{series}"
            if not (_REFERENCE.fullmatch(reference) and _NAME.fullmatch(name)):
                continue
            with suppress(FileNotFoundError):  # another gateway has just published it
                yield Marker(reference, name, entry.stat().st_mtime, Path(entry.path).read_bytes())

    def clear_marker(self, reference: str, name: str) -> None:
        """The instance is named by a confirmed event. Not synced: a marker that comes back is only
        published again.
        """
        self.path(reference, name)
        (self._markers / _marker_name(reference, name)).unlink(missing_ok=True)

    def remember(self, uid: str, body: bytes) -> None:
        """Keeps a note under the digest of `uid`, durably, for every gateway. Raises as `put`;
        nothing is known by name.
        """
        self._check_room(len(body))
        _write(self._notes, _hex(uid), [body], replace=True)

    def recall(self, uid: str) -> bytes | None:
        """The note kept under `uid`."""
        try:
            return (self._notes / _hex(uid)).read_bytes()
        except FileNotFoundError:
            return None

    def remove_older_than(self, age_s: float, *, now: float) -> int:
        """Removes each series whose newest instance is older than `age_s` seconds at `now` (Unix
        seconds).

        A series with an unpublished instance stays, whatever its age. Returns how many instances
        went.
        """
        removed = 0
        for folder in list(self._root.glob("*/*")):
            reference = folder.relative_to(self._root).as_posix().replace(_GOING, "")
            if not _REFERENCE.fullmatch(reference):
                continue
            files = _ages(folder, now)
            _remove_abandoned(folder, files)
            with suppress(FileNotFoundError):
                files[""] = (
                    now - folder.stat().st_mtime
                )  # touched by whoever writes into it, so an empty one is new too
            if folder.name.startswith(_GOING) or min(files.values(), default=0.0) > age_s:
                removed += self._remove_series(reference, folder)
        _remove_abandoned(self._markers, _ages(self._markers, now))
        for name, age in _ages(self._notes, now).items():
            if age > max(age_s, _ABANDONED_S):
                (self._notes / name).unlink(missing_ok=True)
        return removed

    def _remove_series(self, reference: str, folder: Path) -> int:
        if self._waits(reference) and not folder.name.startswith(_GOING):
            return 0
        self._forget(reference)
        going = folder.parent / f"{_GOING}{reference.partition('/')[2]}"
        if folder != going:
            try:
                os.rename(folder, going)
            # a removal that was cut short is in the way: it is finished first, this one next time
            except OSError:
                return 0
        names = [name for name in _ages(going, 0.0) if _NAME.fullmatch(name)]
        if self._waits(reference):  # sent again in this very moment
            back = self._make_folder(reference)
            for name in names:
                with suppress(FileExistsError, FileNotFoundError):
                    os.link(going / name, back / name)
            _sync_folder(back)
            removed = 0
        else:
            removed = len(names)
        for name in _ages(going, 0.0):
            (going / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: an instance of the study arrives just now
            going.rmdir()
            folder.parent.rmdir()
        return removed

    def _waits(self, reference: str) -> bool:
        """Whether a marker names an instance of this series."""
        prefix = _marker_name(reference, "")
        return any(name.startswith(prefix) for name in os.listdir(self._markers))


def _marker_name(reference: str, name: str) -> str:
    return f"{reference.replace('/', '.')}.{name}"


def _remove_abandoned(folder: Path, files: dict[str, float]) -> None:
    for name, age in files.items():
        if name.startswith(_TEMPORARY) and age > _ABANDONED_S:
            (folder / name).unlink(missing_ok=True)


def _ages(folder: Path, now: float) -> dict[str, float]:
    """Age in seconds of each file in `folder`."""
    ages = {}
    with suppress(FileNotFoundError):  # the upkeep of another process was quicker
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                ages[entry.name] = now - entry.stat().st_mtime
    return ages


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(folder: Path, name: str, chunks: list[Buffer], *, replace: bool) -> bool:
    """Durable when it returns: file synced, then named, then folder synced. False: the name was
    taken, nothing done.
    """
    temporary = folder / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        with open(temporary, "xb", buffering=0) as file:
            for chunk in chunks:
                view = memoryview(chunk)
                while len(view):  # an unbuffered write may take less than it was given
                    view = view[file.write(view) :]
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, folder / name)
        else:
            try:
                os.link(
                    temporary, folder / name
                )  # unlike rename, never overwrites what another process has just put
            except FileExistsError:
                return False
        _sync_folder(folder)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _there(folder: Path, name: str, chunks: list[Buffer]) -> bool:
    """Makes `chunks` durable under `name`; False where other bytes have it."""
    path = folder / name
    if not path.exists() and _write(folder, name, chunks, replace=False):
        metrics.store_instances.inc()
        metrics.store_bytes.inc(sum(map(len, chunks)))
        return True
    if not _same(path, chunks):
        return False
    # Whoever wrote it may have been killed between its rename and this.
    _sync_folder(folder)
    return True


def _beside(name: str, chunks: list[Buffer]) -> str:
    """The name of an instance whose bytes are not those that `name` has."""
    metrics.store_conflicts.inc()
    hasher = hashlib.sha256(name.encode())
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()[:16]


def _same(path: Path, chunks: list[Buffer]) -> bool:
    """Whether the file holds exactly `chunks`."""
    if path.stat().st_size != sum(map(len, chunks)):
        return False
    with open(path, "rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in chunks)
