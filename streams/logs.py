"""Logs: one event a line on stderr, text or JSON, of our code and of the libraries; never a value.

A library's error line is replaced by where it came from: its text may quote what it could not read
(promise 8). A place that repeats itself is logged once a minute, with a count.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import structlog

_AGAIN_S = 60.0  # one place of a library has one line in so many seconds
_FRAMES = 6  # of a traceback that are named: the innermost ones


def as_json() -> bool:
    """Whether lines are JSON: ``VIGIE_LOG``, or ``vigie --log json``, which sets it."""
    return os.environ.get("VIGIE_LOG") == "json"


def set_up_logs() -> None:
    """For every command, before it does anything: stdout is for data, stderr for lines."""
    json = as_json()
    logging.basicConfig(handlers=[LibraryLines()], level=logging.ERROR, force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer()
            if json
            else structlog.dev.ConsoleRenderer(colors=False),
        ],
        # stderr as it is when a line is written: a test may replace it
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    if json:
        log_crashes()


def log_crashes() -> None:
    """What nobody caught becomes one line without its text; Python would print a traceback."""
    logging.captureWarnings(True)  # warnings go to a logger, whose level drops them
    sys.excepthook = lambda kind, error, trace: _crashed("main", kind, trace)
    sys.unraisablehook = lambda args: _crashed("unraisable", args.exc_type, args.exc_traceback)
    threading.excepthook = lambda args: _crashed(
        args.thread.name if args.thread else "thread", args.exc_type, args.exc_traceback
    )


def _crashed(where: str, kind: type[BaseException], trace: TracebackType | None) -> None:
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(trace)[-_FRAMES:]
    ]
    structlog.get_logger().critical("crashed", where=where, error=kind.__name__, frames=frames)


def tell(text: str) -> None:
    """One line for a person, on stderr: the text as it is, or a JSON object that holds it."""
    line = text.replace("\n", " ")
    if as_json():
        structlog.get_logger().info(line)
        return
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class LibraryLines(logging.Handler):
    """Errors of libraries, each as one of our lines: which library, file and line, error's class.

    Args:
        now: seconds of any steady clock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._told: dict[tuple[str, int], tuple[float, int]] = {}  # place → when, untold since

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line, or counts it."""
        place = (record.pathname, record.lineno)
        now = self._now()
        told_at, untold = self._told.get(place, (-_AGAIN_S, 0))
        if now - told_at < _AGAIN_S:
            self._told[place] = (told_at, untold + 1)
            return
        self._told[place] = (now, 0)
        error = record.exc_info[0] if record.exc_info else None
        structlog.get_logger().error(
            "library",
            library=record.name,
            at=f"{record.filename}:{record.lineno}",
            **({"error": error.__name__} if error else {}),
            **({"repeated": untold} if untold else {}),
        )
