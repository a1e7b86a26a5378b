"""The key image of a flag: named at once, drawn after the finding is out, or missed; the flag is
not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from streams.errors import Park
from streams.events import SeriesReceived
from streams.identity.studykey import digest
from streams.storage.key_images import place_of
from triage import metrics
from triage.worker.loaded_model import LoadedModel, Shown, Telling, Verdict

log = structlog.get_logger()
_MOST = 16  # pictures that wait; a burst of flags gets no more


class KeyImages:
    """Draws in a thread of its own, one at a time.

    Args:
        keep: keeps a PNG at its place. None: there are no key images.
    """

    def __init__(self, keep: Callable[[str, bytes], None] | None = None) -> None:
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-image")
        self._waiting = set[asyncio.Future[None]]()

    def add(self, series: SeriesReceived, model: LoadedModel, verdict: Verdict) -> Verdict:
        """The verdict with the place where its key image will be, if it can be drawn."""
        telling, plain = verdict.telling, replace(verdict, telling=None)
        if telling is None or model.draw is None or self._keep is None:
            return plain
        try:
            parts = (model.name, model.version, model.weights, series.event_id)
            name = digest(*(part.encode() for part in ("key image", *parts)))
            place = place_of(series.reference, name[:16])
        except Park:  # a reference that is none of a store's
            return plain
        if len(self._waiting) >= _MOST:
            metrics.key_images_missed.inc()
            return plain
        loop = asyncio.get_running_loop()
        drawing = loop.run_in_executor(self._thread, self._draw, model, telling, place)
        self._waiting.add(drawing)
        drawing.add_done_callback(self._waiting.discard)
        instance = series.names()[telling.file] if telling.file is not None else None
        return replace(plain, shown=Shown(place, instance))

    def _draw(self, model: LoadedModel, telling: Telling, place: str) -> None:
        assert model.draw is not None
        assert self._keep is not None
        try:
            self._keep(place, model.draw(telling.image, telling.output))
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError is torch's
            metrics.key_images_missed.inc()
            log.warning("no_key_image", package=model.name, why=type(error).__name__)

    async def drawn(self) -> None:
        """Returns once all that wait are drawn."""
        await asyncio.gather(*self._waiting)

    def close(self) -> None:
        """What waits is not drawn."""
        self._thread.shutdown(wait=False, cancel_futures=True)
