"""Logs: one event a line, to stderr, text or JSON; the settings at start, secrets starred. Never an
identity.
"""

from __future__ import annotations

import logging
import sys

import structlog

from streams.settings import StreamsSettings, describe


def start_logs(settings: StreamsSettings) -> None:
    """Sets the process's logging up and prints its settings."""
    log_to_stderr(json=settings.log == "json")
    structlog.get_logger().info("settings", **describe(settings))


def log_to_stderr(*, json: bool = False) -> None:
    """For a command that prints data: it has stdout to itself."""
    # Libraries may quote what they could not read: only their errors pass, without arguments.
    logging.basicConfig(
        stream=sys.stderr, level=logging.ERROR, format="%(levelname)s %(name)s", force=True
    )
    renderer = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=lambda *_: structlog.PrintLogger(
            sys.stderr
        ),  # as it is then: tests replace it
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
