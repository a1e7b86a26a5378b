"""Where pixels wait: each instance durable before its sender is answered, beside a marker that no
event names it yet.

Layout under the root, which every gateway and every triage process of a site shares::

    <study>/<part>/<instance>              the instance, a DICOM file as received
    unpublished/<study>.<part>.<instance>  its marker: facts for the event, identity sealed
    notes/<digest>                         what an exam's first message said and its last does not
    arriving/…                             what is not whole yet

A *part* is what a series has of one patient: a series that names two patients has two. All names
are digests, those of instances keyed, so nothing that a sender says ever becomes part of a path. An
instance that comes again with other bytes lies beside the first, under the first's name but for its
first digits, which are of the bytes (`streams.instances`). Both are on the disk before either has a
name, and both names before its sender is answered: an instance without a marker was either
published or never answered for, and so was one whose marker stayed and whose own name did not, when
the machine itself went down.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from streams import metrics
from streams.errors import Park, Reason, Refuse
from streams.instances import other_names
from streams.storage.durable import (
    TEMPORARY,
    Arriving,
    Buffer,
    make_folder,
    on_the_disk,
    patiently,
    sync_folder,
    together,
    write,
)

_REFERENCE = re.compile(r"[0-9a-f]{32}/[0-9a-f]{32}")
_NAME = re.compile(r"[0-9a-f]{16}")
_MARKERS, _NOTES, _ARRIVING = "unpublished", "notes", "arriving"
_GOING = ".going-"  # a series under removal
#: A temporary file that nobody finished in a day belongs to a killed process.
_ABANDONED_S = 24 * 3600.0
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
        self._arriving = self._root / _ARRIVING
        for folder in (self._markers, self._notes, self._arriving):
            make_folder(folder)
        self._known: dict[str, None] = {}  # folders whose own entry is durable
        self._lock = threading.Lock()
        sync_folder(self._root)

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

    def has_study(self, study_uid: str) -> bool:
        """Whether anything of a study is here."""
        return (self._root / _hex(study_uid)).is_dir()

    def free_ratio(self) -> float:
        """Free share of the disk, 0–1, for a process without privileges."""
        stat = os.statvfs(self._root)
        ratio = stat.f_bavail / stat.f_blocks if stat.f_blocks else 1.0
        metrics.store_free_ratio.set(ratio)
        return ratio

    def arriving(self) -> Arriving:
        """A file for an instance that arrives. Raises Refuse `store_full`, or OSError."""
        return Arriving(self._arriving, self._check_room)

    def put(
        self,
        reference: str,
        name: str,
        data: Arriving | Buffer | Iterable[Buffer],
        mark: Callable[[bool], bytes],
    ) -> Kept:
        """Makes one instance and its marker durable. The same instance again changes nothing; with
        other bytes it is kept beside the first, which may have been read already.

        Args:
            name: of the instance, 16 hex digits (`streams.identity.studykey.instance_name`).
            data: bytes, or a file of `arriving`, which stays its owner's to discard.
            mark: the marker's body, by whether other bytes came under this name before.

        Raises:
            Refuse: `store_full` when the disk is, or would get, fuller than allowed.
            OSError: when the disk fails in another way. Nothing was promised then.
        """
        if isinstance(data, Arriving):
            return self._put(reference, name, data, mark)
        file = self.arriving()
        try:
            for chunk in [data] if isinstance(data, bytes | bytearray | memoryview) else data:
                file.write(chunk)
            return self._put(reference, name, file, mark)
        finally:
            file.discard()

    def _put(
        self, reference: str, name: str, file: Arriving, mark: Callable[[bool], bytes]
    ) -> Kept:
        self._check_room(0)
        with on_the_disk():
            for _attempt in range(_ATTEMPTS):
                with suppress(FileNotFoundError):  # upkeep took the folder away under our hands
                    kept = patiently(partial(self._put_once, reference, name, file, mark))
                    # Upkeep looks for markers after it took a folder away, we look for the file
                    # after the marker is there: one of the two sees the other.
                    if kept is not None and self.path(reference, kept.name).exists():
                        return kept
                self._forget(reference)
            raise OSError(errno.EBUSY, "the folder of a series was removed again and again")

    def _put_once(
        self, reference: str, name: str, file: Arriving, mark: Callable[[bool], bytes]
    ) -> Kept | None:
        """None where another put an instance of this name meanwhile."""
        kept = _free_name(self._root / reference, name, file)
        marker = Arriving(self._markers, self._check_room)
        try:
            marker.write(mark(kept.other_bytes))
            together(file.settle, marker.settle)
            folder = self._make_folder(reference)
            path = folder / kept.name
            if file.link(path):
                metrics.store_instances.inc()
                metrics.store_bytes.inc(file.size)
                metrics.store_conflicts.inc(kept.other_bytes)
            elif not file.same(path):
                return None
            # One that is there already has the earlier receipt, and stays.
            marker.link(self._markers / _marker_name(reference, kept.name))
            # Also what was there: whoever linked it may have been killed before this.
            together(partial(sync_folder, folder), partial(sync_folder, self._markers))
            return kept
        finally:
            marker.discard()

    def _check_room(self, size: int) -> None:
        stat = patiently(lambda: os.statvfs(self._root))
        total = stat.f_blocks * stat.f_frsize
        if total and stat.f_bavail * stat.f_frsize - size < self._min_free * total:
            metrics.store_free_ratio.set(stat.f_bavail / stat.f_blocks)
            raise Refuse(Reason.STORE_FULL)

    def _make_folder(self, reference: str) -> Path:
        folder = self._root / reference
        with self._lock:
            known = reference in self._known
        if not known:
            make_folder(folder)
            sync_folder(folder.parent)
            sync_folder(self._root)
            with self._lock:
                if len(self._known) >= _KNOWN_FOLDERS:
                    self._known.clear()
                self._known[reference] = None
        return folder

    def _forget(self, reference: str) -> None:
        with self._lock:
            self._known.pop(reference, None)

    def unpublished(self) -> Iterator[Marker]:
        """The markers of what is there, also those of other gateways: any of them may resume what
        another left behind.
        """
        for entry in os.scandir(self._markers):
            study, _, rest = entry.name.partition(".")
            series, _, name = rest.partition(".")
            reference = f"{study}/{series}"
            if not (_REFERENCE.fullmatch(reference) and _NAME.fullmatch(name)):
                continue
            # After a power failure the marker may be there without its instance, which nobody was
            # promised; or upkeep has its folder for a moment.
            if not self.path(reference, name).exists():
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
        with on_the_disk():
            patiently(lambda: write(self._notes, _hex(uid), [body], replace=True))

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
        for made in (self._markers, self._arriving):
            _remove_abandoned(made, _ages(made, now))
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
            # Not by what is known: whoever sent it may have made the folder that was just renamed.
            back = self._root / reference
            make_folder(back)
            sync_folder(back.parent)
            for name in names:
                with suppress(FileExistsError, FileNotFoundError):
                    os.link(going / name, back / name)
            sync_folder(back)
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
        if name.startswith(TEMPORARY) and age > _ABANDONED_S:
            (folder / name).unlink(missing_ok=True)


def _ages(folder: Path, now: float) -> dict[str, float]:
    """Age in seconds of each file in `folder`."""
    ages = {}
    with suppress(FileNotFoundError):  # the upkeep of another process was quicker
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                ages[entry.name] = now - entry.stat().st_mtime
    return ages


def _free_name(folder: Path, name: str, file: Arriving) -> Kept:
    """Under which name `file` is to be kept: its own, unless other bytes have that."""
    path = folder / name
    if not path.exists() or file.same(path):
        return Kept(name, other_bytes=False)
    for other in other_names(name, file.digest(name.encode())):
        path = folder / other
        if not path.exists() or file.same(path):
            return Kept(other, other_bytes=True)
    raise OSError(errno.EEXIST, "one instance came with too many different bytes")
