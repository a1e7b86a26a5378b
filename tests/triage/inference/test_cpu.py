"""Compiled networks: the same logits, only from a folder that is ours and as it was made.

Nothing is compiled while serving.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from triage.inference.compile import compile_network, compile_packages
from triage.inference.cpu import (
    INDEX,
    NotCompiled,
    folder_of,
    key,
    load_compiled,
    open_folder,
)
from triage.inference.devices import EagerNetwork, fastest_precision, name_of
from triage.inference.drift import MAX_DRIFT, phantom_images
from triage.inference.network import Screener
from triage.packages.load import find_packages, load_package
from triage.settings import TriageSettings

SHAPE = (2, 32, 32)
CPU = torch.device("cpu")
PRECISION = name_of(fastest_precision(CPU))


def make_network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 1),
    ).eval()


class Package:
    name, version = "p", "1"

    def load_network(self) -> torch.nn.Module:
        return make_network()


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our network, compiled (some ten seconds)."""
    folder = tmp_path_factory.mktemp("compiled")
    assert (
        compile_network(make_network(), images(9), folder_of(folder, "p", make_network(), SHAPE))
        < MAX_DRIFT
    )
    return folder


@pytest.fixture
def artefact(cache: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    return folder_of(tmp_path, "p", make_network(), SHAPE)


@pytest.mark.needs("g++")
def test_every_batch_size_gives_the_logits_of_the_network(cache: Path) -> None:
    compiled, exact = (
        load_compiled(cache, "p", make_network(), SHAPE),
        EagerNetwork(make_network(), CPU),
    )
    expected = exact(images(70))
    for count in (1, 2, 5, 6, 7, 8, 9, 14, 64, 70):
        assert np.abs(compiled(images(70)[:count]) - expected[:count]).max() <= 0.02


@pytest.mark.needs("g++")
def test_a_compiled_network_gives_each_column_of_the_network(tmp_path: Path) -> None:
    network = make_network()
    network[-1] = torch.nn.Linear(8, 3)
    target = folder_of(tmp_path, "p", network.eval(), SHAPE)
    compile_network(network, images(9), target)
    compiled, expected = open_folder(target, SHAPE), EagerNetwork(network, CPU)(images(9))
    assert expected.shape == (9, 3)
    for count in (1, 7, 8, 9):
        assert np.abs(compiled(images(9)[:count]) - expected[:count]).max() <= 0.02


@pytest.mark.needs("g++")
def test_what_is_not_a_number_stays_one_and_harms_no_other(cache: Path) -> None:
    batch = images(8)
    batch[3] = np.nan
    scores = Screener(Package(), SHAPE, device="cpu", compiled=cache).scores(batch)
    assert list(np.isfinite(scores)) == [True] * 3 + [False] + [True] * 4


@pytest.mark.needs("g++")
def test_it_takes_as_many_threads_as_were_set_in_whichever_thread_it_runs(cache: Path) -> None:
    compiled, before = load_compiled(cache, "p", make_network(), SHAPE), torch.get_num_threads()

    def more() -> int:
        there = len(os.listdir("/proc/self/task"))
        compiled(images(64))
        return len(os.listdir("/proc/self/task")) - there

    torch.set_num_threads(1)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(more).result() == 0
    torch.set_num_threads(before)


@pytest.mark.needs("g++")
def test_the_mode_says_what_runs(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        Screener(Package(), SHAPE, device="cpu", compiled=cache).mode
        == f"cpu, {PRECISION}, compiled"
    )
    absent = Screener(Package(), SHAPE, device="cpu", compiled=tmp_path)
    assert absent.mode == f"cpu, {PRECISION}, eager (not compiled: vigie models compile)"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert (
        Screener(Package(), SHAPE, device="cpu", compiled=tmp_path).mode
        == f"cpu, {PRECISION}, eager (no C++ compiler)"
    )


def test_without_a_compiler_each_package_is_told_of_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    (made,) = compile_packages([tmp_path / "p"], tmp_path / "compiled")
    assert made.package == "p"
    assert "no C++ compiler" in made.why
    assert not (tmp_path / "compiled").exists()


@pytest.mark.needs("g++")
def test_code_that_changed_or_that_others_may_change_is_not_loaded(artefact: Path) -> None:
    library = artefact / "8.so"
    library.chmod(0o666)
    with pytest.raises(NotCompiled, match="others may write"):
        load_compiled(artefact.parent, "p", make_network(), SHAPE)
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)
    library.chmod(0o644)
    with pytest.raises(NotCompiled, match="not the one that was made"):
        load_compiled(artefact.parent, "p", make_network(), SHAPE)
    library.rename(artefact / "elsewhere")
    library.symlink_to(artefact / "elsewhere")
    with pytest.raises(NotCompiled, match="others may write"):
        load_compiled(artefact.parent, "p", make_network(), SHAPE)
    (artefact / INDEX).unlink()
    with pytest.raises(NotCompiled, match="cannot be loaded"):
        load_compiled(artefact.parent, "p", make_network(), SHAPE)


@pytest.mark.needs("g++")
def test_one_network_is_not_taken_for_another(artefact: Path) -> None:
    other = folder_of(artefact.parent, "p", make_network(1), SHAPE)
    artefact.rename(other)
    with pytest.raises(NotCompiled, match="not the one that was made"):
        load_compiled(artefact.parent, "p", make_network(1), SHAPE)


def test_the_key_is_of_every_bit_of_the_weights_and_of_the_shape() -> None:
    network = make_network()
    before = key(network, SHAPE)
    assert before == key(make_network(), SHAPE) != key(network, (2, 32, 48))
    with torch.no_grad():
        network[5].bias.view(torch.int32)[0] ^= 1  # type: ignore[index,union-attr,operator]
    assert key(network, SHAPE) != before


@pytest.mark.needs("g++")
def test_serving_starts_no_compiler_and_loads_none(cache: Path) -> None:
    serve = """
        import sys
        from pathlib import Path
        import numpy as np, torch
        from triage.inference.network import Screener

        class Package:
            name, version = "p", "1"
            def load_network(self):
                torch.manual_seed(0)
                return torch.nn.Sequential(
                    torch.nn.Conv2d(2, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
                    torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 1),
                ).eval()

        screener = Screener(Package(), (2, 32, 32), device="cpu", compiled=Path(sys.argv[1]))
        starts = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system"}
        def refuse(event, arguments):
            assert event not in {*starts, "import"}, (event, arguments[0])
        sys.addaudithook(refuse)  # ready: from here on no process starts and no module is loaded
        for count in (*range(1, 20), 64, 70):
            images = np.ones((count, 2, 32, 32), dtype=np.float32)
            assert np.isfinite(screener.scores(images)).all()
        assert "compiled" in screener.mode and "eager" not in screener.mode, screener.mode
        compilers = {"torch._dynamo", "torch._inductor", "triage.inference.compile"}
        assert not compilers & sys.modules.keys()
    """
    quiet = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(serve), cache],
        env=quiet,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "folder", find_packages(TriageSettings().models), ids=lambda folder: folder.name
)
def test_shipped_packages_are_served_within_the_stated_drift(folder: Path) -> None:
    """Compiled where `make setup` could, else eager: in both cases beside float32."""
    package, settings = load_package(folder), TriageSettings()
    served = Screener(package, package.input.shape, device="cpu", compiled=settings.compiled)
    seen = phantom_images(package)
    expected = EagerNetwork(package.load_network(), CPU)(seen)
    assert (np.abs(served.scores(seen) - expected) <= MAX_DRIFT * (1 + np.abs(expected))).all()
    if not served.mode.endswith("compiled"):
        (pytest.fail if os.environ.get("VIGIE_REQUIRE") == "all" else pytest.skip)(
            f"NOT RUN compiled, but {served.mode}"
        )
