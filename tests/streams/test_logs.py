"""Logs: each line on stderr is ours in form, library lines are bounded, and none quotes a value."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from streams.logs import LibraryLines, set_up_logs, tell


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lines are JSON for one test; what that sets of the interpreter is put back."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    handlers = logging.getLogger().handlers[:]
    monkeypatch.setenv("VIGIE_LOG", "json")
    set_up_logs()
    yield
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def library_error(logger: logging.Logger) -> None:
    logger.error("cannot read %s", "DOE^JANE")


def test_a_library_s_error_is_one_of_our_lines_without_its_text(
    as_json: None, capsys: pytest.CaptureFixture[str]
) -> None:
    library_error(logging.getLogger("some.library"))
    (line,) = lines(capsys)
    assert (line["event"], line["library"], line["level"]) == ("library", "some.library", "error")
    assert str(line["at"]).startswith("test_logs.py:")
    assert "DOE" not in json.dumps(line)


def test_a_library_s_exception_is_named_by_its_class_alone(
    as_json: None, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise ConnectionResetError("DOE^JANE")
    except ConnectionResetError:
        logging.getLogger("some.library").exception("lost %s", "DOE^JANE")
    (line,) = lines(capsys)
    assert line["error"] == "ConnectionResetError"
    assert "DOE" not in json.dumps(line)


def test_an_outage_of_100_seconds_is_a_few_lines_and_says_how_many_it_left_out(
    as_json: None, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    logger = logging.Logger("aiokafka")
    logger.addHandler(LibraryLines(lambda: clock[0]))
    for tenth in range(1000):
        clock[0] = tenth / 10
        library_error(logger)
    first, second = lines(capsys)
    assert "repeated" not in first
    assert second["repeated"] == 599


def test_another_place_in_the_library_has_a_line_of_its_own(
    as_json: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("some.library")
    library_error(logger)
    logger.error("something else")
    assert len(lines(capsys)) == 2


def test_a_line_for_a_person_is_json_too(as_json: None, capsys: pytest.CaptureFixture[str]) -> None:
    tell("the disk is full:\nfree some")
    (line,) = lines(capsys)
    assert line["event"] == "the disk is full: free some"


@pytest.mark.parametrize(
    "crash",
    [
        "raise ValueError('DOE^JANE')",
        "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
        "warnings.warn('DOE^JANE')",
        "type('Bad', (), {'__del__': lambda self: 1 / 0})()",
    ],
)
def test_what_python_itself_says_on_stderr_is_json_and_quotes_nothing(crash: str) -> None:
    program = (
        f"import threading, warnings\nfrom streams.logs import set_up_logs\nset_up_logs()\n{crash}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "VIGIE_LOG": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stderr.splitlines():
        assert json.loads(line)["event"] == "crashed"
    assert "DOE" not in done.stderr
    assert done.stdout == ""
