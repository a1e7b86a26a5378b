"""The shipped packages know what they do not know: other anatomy and noise are not judged, own
patients are; through jail and judgement.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.triage.worker.foreign_series import (
    MakeCt,
    as_film,
    as_said,
    as_slices,
    brain_window,
    foreign_share,
    in_hounsfield,
    picture,
    said,
)
from triage.decoding.frames import Frame
from triage.inference.opening import Opened, open_network
from triage.packages.load import Package, load_package
from triage.phantoms.bleeds import BLEEDS
from triage.phantoms.bodies import BODIES, body_ct
from triage.phantoms.films import OTHER_FILMS, chest_film, other_film
from triage.phantoms.heads import head_ct
from triage.phantoms.noises import NOISES, noise
from triage.settings import shipped_models

pytestmark = pytest.mark.slow
HEAD, CHEST = (load_package(shipped_models() / name) for name in ("head-ct-ich", "chest-opacity"))
both = pytest.mark.parametrize("package", [HEAD, CHEST], ids=lambda package: package.name)
Networks = dict[str, Opened]


@pytest.fixture(scope="module")
def networks() -> Networks:
    return {package.name: open_network(package, device="cpu") for package in (HEAD, CHEST)}


def rng_of(*seed: int) -> np.random.Generator:
    return np.random.default_rng((2026, *seed))


def film(pixels: np.ndarray) -> Frame:
    return Frame(pixels.astype(np.float32) / np.float32(4095), "display")


def drawn(kind: str, seed: int) -> Frame:
    rng = rng_of(seed)
    if kind in BODIES:
        return Frame(body_ct(rng, kind).astype(np.float32), "hu")
    if kind == "head":
        return Frame(head_ct(rng, None, slices=1)[0].astype(np.float32), "hu")
    return film(chest_film(rng, opacity=False) if kind == "chest" else other_film(rng, kind))


@both
def test_drawn_anatomy_of_another_kind_is_not_judged(
    package: Package, networks: Networks, make_ct: MakeCt
) -> None:
    other = "chest" if package is HEAD else "head"
    series = [
        as_said(make_ct, package, [drawn(kind, seed)] * 2)
        for kind in (*BODIES, *OTHER_FILMS, other)
        for seed in range(5)
    ]
    assert foreign_share(said(package, networks[package.name], series)) >= 0.95


@both
def test_noise_is_not_judged(package: Package, networks: Networks, make_ct: MakeCt) -> None:
    series = [
        as_said(make_ct, package, [Frame(noise(rng_of(seed), kind), "display")] * 2)
        for kind in NOISES
        for seed in range(10)
    ]
    assert foreign_share(said(package, networks[package.name], series)) >= 0.99


def test_noise_in_hounsfield_units_is_no_head(networks: Networks, make_ct: MakeCt) -> None:
    series = [
        as_slices(
            make_ct,
            [rng.normal(middle, wide, (256, 256)).astype(np.float32) for _ in range(3)],
        )
        for number, (middle, wide) in enumerate(((0, 1000), (40, 20), (40, 300), (-500, 200)))
        for rng in (rng_of(9, number),)
    ]
    assert foreign_share(said(HEAD, networks[HEAD.name], series)) == 1.0


def test_drawn_heads_are_judged_those_with_a_bleed_and_calm_ones(
    networks: Networks, make_ct: MakeCt
) -> None:
    found = {}
    for bleed in (None, *BLEEDS):
        series = [as_slices(make_ct, head_ct(rng_of(seed), bleed, 14)) for seed in range(4)]
        found[bleed] = [one.outcome for one in said(HEAD, networks[HEAD.name], series)]
    calm = found.pop(None)
    assert calm.count("not_flagged") >= 3
    assert sum(one.count("flagged") for one in found.values()) >= 16
    assert all("not_analysed" not in one for one in found.values())


def test_drawn_chests_are_judged_those_with_an_opacity_and_calm_ones(
    networks: Networks, make_ct: MakeCt
) -> None:
    found = {}
    for opacity in (False, True):
        films = [film(chest_film(rng_of(seed), opacity, 512)) for seed in range(12)]
        series = [[as_film(make_ct, one.pixels)] for one in films]
        found[opacity] = [one.outcome for one in said(CHEST, networks[CHEST.name], series)]
    assert found[False].count("not_flagged") >= 11
    assert found[True].count("flagged") >= 11


@pytest.mark.parametrize("lies", ["prone", "feet first", "on the left side"])
def test_a_head_is_judged_however_it_lies(networks: Networks, make_ct: MakeCt, lies: str) -> None:
    series = [as_slices(make_ct, head_ct(rng_of(31), "epidural", 14), lies)]
    assert [one.outcome for one in said(HEAD, networks[HEAD.name], series)] == ["flagged"]


def test_a_stack_of_which_half_is_no_head_is_not_judged(
    networks: Networks, make_ct: MakeCt
) -> None:
    heads = [plane.astype(np.float32) for plane in head_ct(rng_of(8), None, 14)]
    limb = [body_ct(rng_of(8, at), "limb").astype(np.float32) for at in range(8)]
    mostly = [*heads[:6], *limb]
    (verdict,) = said(HEAD, networks[HEAD.name], [as_slices(make_ct, mostly)])
    assert verdict.outcome == "not_analysed"
    assert verdict.doubt is not None
    assert verdict.doubt.foreign > 0.5


def cases(corpora: Path, source: str, folds: Sequence[str]) -> dict[str, list[Path]]:
    """The pictures of each patient."""
    found: dict[str, list[Path]] = {}
    with (corpora / "images" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["set"] == source and row["fold"] in folds:
                found.setdefault(row["patient_id"], []).append(corpora / "images" / row["file"])
    return found


def abstained(package: Package, network: Opened, series: Sequence[Sequence[object]]) -> float:
    verdicts = said(package, network, series)
    return float(np.mean([one.outcome == "not_analysed" for one in verdicts]))


@pytest.mark.needs("corpora")
def test_own_patients_whom_nobody_learned_from_are_judged(
    networks: Networks, make_ct: MakeCt, corpora_dir: Path
) -> None:
    heads = [
        as_slices(make_ct, [brain_window(file) for file in sorted(files)])
        for files in cases(corpora_dir, "ct_ich", "0").values()
    ]
    assert abstained(HEAD, networks[HEAD.name], heads) <= 0.06  # one of 18
    chests = list(cases(corpora_dir, "kermany224", ("test",)).values())[:150]
    films = [[as_film(make_ct, picture(files[0]))] for files in chests]
    assert abstained(CHEST, networks[CHEST.name], films) <= 0.05


@pytest.mark.needs("corpora")
def test_chests_of_another_hospital_are_mostly_judged(
    networks: Networks, make_ct: MakeCt, corpora_dir: Path
) -> None:
    adults = cases(corpora_dir, "hannover_covid", ("external",)).values()
    films = [[as_film(make_ct, picture(files[0]))] for files in adults]
    assert abstained(CHEST, networks[CHEST.name], films) <= 0.15


@pytest.mark.needs("corpora")
def test_a_chest_in_a_heads_place_and_a_head_in_a_chests_are_not_judged(
    networks: Networks, make_ct: MakeCt, corpora_dir: Path
) -> None:
    chests = list(cases(corpora_dir, "kermany224", ("test",)).values())[:40]
    chests += list(cases(corpora_dir, "hannover_covid", ("external",)).values())[:20]
    stacks = [
        as_slices(make_ct, [in_hounsfield(Frame(picture(files[0]), "display"))] * 2)
        for files in chests
    ]
    assert foreign_share(said(HEAD, networks[HEAD.name], stacks)) >= 0.95
    heads = [files[len(files) // 2] for files in cases(corpora_dir, "ct_ich", "0").values()]
    films = [[as_film(make_ct, picture(file))] for file in heads]
    assert foreign_share(said(CHEST, networks[CHEST.name], films)) >= 0.94
