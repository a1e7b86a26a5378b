"""Where key images wait: in a folder of their own, for those who write them may not write pixels.

Layout under the root: <study>/<part>/key-<digest>.png, as their series has it in the store
(`store`). They go when their series goes.
"""

from __future__ import annotations

import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

from streams.errors import Park, Reason
from streams.events import KEY_IMAGE

_PLACE = re.compile(KEY_IMAGE)


def place_of(reference: str, name: str) -> str:
    """The place of a key image of a series, by a name of 16 hex digits. Raises Park `bad_event`."""
    place = f"{reference}/key-{name}.png"
    if not _PLACE.fullmatch(place):
        raise Park(Reason.BAD_EVENT, "reference")
    return place


class KeyImageFolder:
    """Pictures by their places, which events name. Not synced: one that is lost is only missed."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, place: str, png: bytes) -> None:
        """Keeps a picture, whole or not at all, in the stead of another. Raises OSError."""
        file = self._file(place)
        if file is None:
            raise Park(Reason.BAD_EVENT, "reference")
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".part-{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(png)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, place: str) -> bytes | None:
        """The picture; None where it is gone, was never drawn, or is no such place."""
        file = self._file(place)
        try:
            return None if file is None else file.read_bytes()
        except OSError:
            return None

    def _file(self, place: str) -> Path | None:
        if not _PLACE.fullmatch(place):
            return None
        file = (self._root / place).resolve()
        return file if file.is_relative_to(self._root) else None

    def remove_without(self, store: Path) -> int:
        """Removes the pictures of each series that is not in `store` any more; how many went."""
        removed = 0
        for folder in list(self._root.glob("*/*")):
            if (store / folder.relative_to(self._root)).is_dir() or not folder.is_dir():
                continue
            with suppress(OSError):  # one more is drawn just now: it goes next time
                for file in list(folder.iterdir()):
                    file.unlink(missing_ok=True)
                    removed += file.suffix == ".png"
                folder.rmdir()
                folder.parent.rmdir()
        return removed
