"""A demo that does not start leaves the logs that it names, and nothing else."""

from __future__ import annotations

import shutil

import pytest

from infra.demo.installation import Installation
from infra.embedded import StartError


@pytest.mark.parametrize(
    ("error", "left"), [(StartError("see web.log"), ["web.log"]), (KeyboardInterrupt(), None)]
)
def test_the_log_of_a_failed_start_stays(
    error: BaseException, left: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(demo: Installation) -> None:
        demo._stack.callback(demo._clear)
        (demo.folder / "web.log").write_text("why")
        (demo.folder / "keys.json").write_text("{}")
        (demo.folder / "postgres").mkdir()
        raise error

    monkeypatch.setattr(Installation, "_start", fails)
    demo = Installation()
    with pytest.raises(type(error)), demo:
        pass
    there = sorted(path.name for path in demo.folder.iterdir()) if demo.folder.is_dir() else None
    shutil.rmtree(demo.folder, ignore_errors=True)
    assert there == left
