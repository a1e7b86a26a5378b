"""A package whose files, manifest or weights were changed is refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from triage.packages.load import Package, PackageError, load_package
from triage.packages.manifest import MANIFEST, WEIGHTS
from triage.settings import shipped_models

NAMES = ("chest-opacity", "head-ct-ich")
each = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> Package:
    return load_package(shipped_models() / name)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A package that a test may change."""
    return Path(shutil.copytree(shipped_models() / NAMES[0], tmp_path / NAMES[0]))


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / MANIFEST).read_text()
    assert old in text
    (folder / MANIFEST).write_text(text.replace(old, new))


def resave(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """New weights under a hash that is right: only the content can give them away."""
    before = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    save_file(tensors, folder / WEIGHTS)
    rewrite(folder, before, hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


@each
def test_a_shipped_package_loads_and_is_small(name: str) -> None:
    package = load(name)
    package.load_network()
    assert sum(file.stat().st_size for file in package.folder.iterdir()) < 20_000_000
    assert package.manifest.results


def test_a_changed_weight_bit_is_noticed(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS).write_bytes(content)
    with pytest.raises(PackageError, match="sha256"):
        load_package(copy)


def test_an_unknown_field_is_refused_by_name(copy: Path) -> None:
    rewrite(copy, "[operating]", "[operating]\nsurprise = 1")
    with pytest.raises(PackageError, match="surprise"):
        load_package(copy)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[1.0, 5.0]", "[5.0, 1.0]", "age_years"),
        ("[1.0, 5.0]", "[-3.0, 5.0]", "age_years"),
        ('["CR", "DX"]', '["dx"]', "modalities"),
        ('["CR", "DX"]', '["computed radiography"]', "modalities"),
        ('["AP", "PA"]', '["ap"]', "views"),
        ("[coverage]", "sop_classes = ['DX']\n[coverage]", "sop_classes"),
        ("[coverage]", "[coverage]\nmin_extent_mm = 9.0\nmax_extent_mm = 3.0", "max_extent_mm"),
        ("[coverage]\naspect = [0.75, 2.0]", "[coverage]\naspect = [2.0, 0.75]", "aspect"),
        ("[coverage]", "[body]\nsize_mm = [7.0, 28.0]\n[coverage]", "size_mm"),
        ("[coverage]", "[body]\nsize_mm = [0.07, 0.28]\n[coverage]", "size_mm"),
        ("[coverage]", "[body]\nskull_mm = 20.0\n[coverage]", "body"),
    ],
)
def test_words_that_no_image_could_fit_are_refused_by_their_key(
    copy: Path, old: str, new: str, key: str
) -> None:
    rewrite(copy, old, new)
    with pytest.raises(PackageError, match=f"^{copy.name}: .*{key}"):
        load_package(copy)


def test_a_manifest_of_nothing_but_brackets_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_text("a = " + "[" * 5000)
    with pytest.raises(PackageError, match="is not TOML"):
        load_package(copy)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["network.members.0.head.weight"] = torch.zeros(1, 3)
    resave(copy, tensors)
    with pytest.raises(PackageError, match="do not fit"):
        load_package(copy).load_network()


def test_weights_that_are_no_numbers_are_refused(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["network.members.1.head.bias"] = torch.full_like(
        tensors["network.members.1.head.bias"], float("nan")
    )
    resave(copy, tensors)
    with pytest.raises(PackageError, match="not finite"):
        load_package(copy).load_network()


def test_a_package_that_abstains_without_a_guard_is_refused(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    resave(copy, {name: one for name, one in tensors.items() if not name.startswith("guard.")})
    with pytest.raises(PackageError, match="no tensors of a guard"):
        load_package(copy)


def test_a_package_that_never_abstains_needs_no_guard(copy: Path) -> None:
    text = (copy / MANIFEST).read_text()
    before, _, rest = text.partition("[abstention]")
    (copy / MANIFEST).write_text(before + rest[rest.index("[[foreign]]") :])  # the table alone
    tensors = load_file(copy / WEIGHTS)
    resave(copy, {name: one for name, one in tensors.items() if not name.startswith("guard.")})
    network = load_package(copy).load_network()
    assert network(torch.zeros(2, 2, 160, 160)).shape == (2,)


def test_a_guard_of_another_shape_is_refused(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    tensors["guard.mean"] = torch.zeros(3)
    resave(copy, tensors)
    with pytest.raises(PackageError, match="do not fit"):
        load_package(copy).load_network()


def test_a_package_that_ran_away_from_its_name_is_refused(copy: Path) -> None:
    with pytest.raises(PackageError, match="calls itself"):
        load_package(copy.rename(copy.with_name("other")))
