"""What ruff does not check: names that say something, rooms that are found, and files that explain
themselves.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.test_house import PACKAGES, ROOT, WRITTEN, committed, short, tree

ROOM_FILES = 15
#: Names of one letter in the whole code, where they stand for longer than a line. It may only fall.
ONE_LETTER_CEILING = 45
#: Lines that the formatter may not touch: a matrix whose columns mean something, perhaps.
FORMAT_SKIPS = 2

ROOMS = sorted(
    folder
    for package in PACKAGES
    for folder in (ROOT / package, *(ROOT / package).rglob("*"))
    if folder.is_dir() and any(folder.glob("*.py"))
)
MAPPED_ROOMS = [room for room in ROOMS if (room / "__init__.py").is_file()]
#: What is in many rooms under the same name, and needs no word.
EVERYWHERE = {"commands", "settings", "metrics", "errors"}
TESTED_ROOMS = sorted(
    {path.parent for package in PACKAGES for path in (ROOT / "tests" / package).rglob("*.py")}
)


def one_letter_names(node: ast.AST) -> Iterator[str]:
    """Names of one letter that `node` binds, but for those that live no longer than a comprehension
    or a lambda; `_` says that nobody wants it.
    """
    if isinstance(node, ast.comprehension):
        yield from one_letter_names(node.iter)
        return
    if isinstance(node, ast.Lambda):
        yield from one_letter_names(node.body)
        return
    bound = ""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        bound = node.id
    elif isinstance(node, ast.arg):
        bound = node.arg
    if len(bound) == 1 and bound != "_":
        yield bound
    for child in ast.iter_child_nodes(node):
        yield from one_letter_names(child)


def test_names_of_one_letter_become_fewer() -> None:
    found = {short(path): list(one_letter_names(tree(path))) for path in WRITTEN}
    most = Counter({name: len(letters) for name, letters in found.items()}).most_common(8)
    assert sum(map(len, found.values())) <= ONE_LETTER_CEILING, most


def test_hardly_a_line_is_kept_from_the_formatter() -> None:
    # Written so that this line is none.
    skip = re.compile("# *fmt" + ": *(skip|off)")
    found = [
        f"{short(path)}:{number}"
        for path in committed()
        if path.suffix == ".py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if skip.search(line)
    ]
    assert len(found) <= FORMAT_SKIPS, found


@pytest.mark.parametrize("room", ROOMS, ids=short)
def test_a_room_is_small_enough_to_be_looked_through(room: Path) -> None:
    assert len([path for path in room.glob("*.py") if path.name != "__init__.py"]) <= ROOM_FILES


@pytest.mark.parametrize("room", TESTED_ROOMS, ids=short)
def test_tests_mirror_the_rooms(room: Path) -> None:
    assert (ROOT / room.relative_to(ROOT / "tests")).is_dir()


def _in_backticks(room: Path) -> list[str]:
    said = ast.get_docstring(tree(room / "__init__.py")) or ""
    return re.findall(r"`([a-z_][a-z0-9_.]*)/?`", said)


def _is_there(room: Path, word: str) -> bool:
    """Whether `word` is a module, a room or a file, from `room` or from the root, or the name of
    something in a module of `room`.
    """
    path, (module, _, name) = word.replace(".", "/"), word.rpartition(".")
    if any((at / end).exists() for at in (room, ROOT) for end in (path, f"{path}.py", word)):
        return True
    files = [room / f"{module.replace('.', '/')}.py"] if module else room.glob("*.py")
    return any(
        getattr(node, "name", "") == name
        for file in files
        if file.is_file()
        for node in ast.walk(tree(file))
    )


@pytest.mark.parametrize("room", MAPPED_ROOMS, ids=short)
def test_the_map_of_a_room_names_all_that_is_in_it_and_nothing_else(room: Path) -> None:
    modules = {path.stem for path in room.glob("*.py") if not path.stem.startswith("__")}
    rooms = {path.name for path in room.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    named = _in_backticks(room)
    assert sorted((modules | rooms) - EVERYWHERE - set(named)) == []
    assert [word for word in named if not _is_there(room, word)] == []
