"""The last step of a package: a guard is fitted to its networks, which stay as they are.

By outlier exposure (Hendrycks et al. 2019): from features of images of its own kind and of what is
foreign to it. Its limit lies where folds that it did not learn from put it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from triage.inference.devices import fastest_precision
from triage.packages.architectures import Ensemble
from triage.packages.guard import Guard, Guarded
from triage.packages.manifest import Abstention
from triage.train.corpus import Case, read_cases
from triage.train.examples import case_examples, phantom_examples, prepare_plain
from triage.train.foreign import foreign_examples, foreign_files, kinds_of
from triage.train.package import as_stored
from triage.train.recipes import Recipe

Array = NDArray[np.float32]
Say = Callable[[str], None]
_STEPS, _HALF_BATCH = 600, 64
_HIDDEN_SHARE = 0.2  # of the features, in each batch others
_MOST = 2000  # own cases
_SMOOTH = 0.02  # of a label
_PAINTED = 0.3  # share of the normal ones that get a finding: the guard must know those, too
_FAR, _ROOM = 0.02, 0.4
_UNSURE = 0.01  # of own series
_MIN_SHARE = 0.5


@dataclass(frozen=True)
class Known:
    """What a guard learns from: features [n, f], whether each is foreign, and its fold.

    Attributes:
        weight: how often each is drawn, among its own or among the foreign.
        plain: own images as they are: on those the limits are set.
        fold: of a patient's image; of a foreign one any; empty for phantoms.
    """

    features: Array
    foreign: NDArray[np.bool_]
    weight: NDArray[np.float64]
    plain: NDArray[np.bool_]
    fold: NDArray[np.str_]

    def __getitem__(self, which: NDArray[np.bool_]) -> Known:
        names = ("features", "foreign", "weight", "plain", "fold")
        return Known(*(getattr(self, name)[which] for name in names))


def fit_guard(
    network: Ensemble, recipe: Recipe, images: Path, dicom: Path, seed: int, say: Say
) -> tuple[Guarded, Abstention]:
    """`network` with a guard, and when that abstains; of the held-out fold nothing is used."""
    cases = [case for case in read_cases(images, [recipe.source]) if case.fold != recipe.held_out]
    chosen = np.random.default_rng(seed).permutation(len(cases))[:_MOST]
    cases = [cases[at] for at in chosen]
    guarded = Guarded(network).eval()
    known, spreads = _learn_from(guarded, recipe, cases, images, dicom, seed)
    say(f"guard: {int((~known.foreign).sum())} own images, {int(known.foreign.sum())} foreign")
    limit = _limit(known, seed, say)
    guarded.guard = fitted(known, seed)
    with torch.no_grad():
        guarded.guard.last.bias.sub_(limit)
    as_stored(guarded.guard)
    # Members know their patients, so that strangers part them more: the limit has room for it.
    spread = float(np.quantile(spreads, 1 - _UNSURE))
    say(f"guard: limit {limit:.2f}, spread {spread:.2f}")
    return guarded, Abstention(max_foreign=0.5, min_share=_MIN_SHARE, max_spread=round(spread, 3))


def _learn_from(
    guarded: Guarded, recipe: Recipe, cases: list[Case], images: Path, dicom: Path, seed: int
) -> tuple[Known, Array]:
    """Own images, as they are and varied, phantoms, and what is foreign.

    Second is how far the members are apart on the own images as they are, [n].
    """
    spec, guard = recipe.spec, recipe.guard
    files = foreign_files(images, guard.sources, dicom, guard.same_anatomy, held_out=False)
    kinds = [kind for kind in (*files, *kinds_of(spec)) if kind not in guard.left_out]
    shown = foreign_examples(spec, files, kinds, guard.each, seed).images
    varied = case_examples(cases, spec, range(guard.rounds), seed, _PAINTED)
    drawn = phantom_examples(spec, guard.phantoms, seed)
    plain, logits = _seen(guarded, prepare_plain(cases, spec))
    folds = sorted({case.fold for case in cases})
    parts = [
        (plain, [case.fold for case in cases], 1.0),
        (_seen(guarded, varied.images)[0], list(varied.fold), 1.0),
        (_seen(guarded, drawn.images)[0], [""] * len(drawn.images), 0.5),
        (_seen(guarded, shown)[0], [folds[at % len(folds)] for at in range(len(shown))], 1.0),
    ]
    sizes = [len(features) for features, _, _ in parts]
    number = np.repeat(np.arange(len(parts)), sizes)
    known = Known(
        np.concatenate([features for features, _, _ in parts]),
        number == 3,
        np.repeat([weight for _, _, weight in parts], sizes),
        number == 0,
        np.concatenate([fold for _, fold, _ in parts]),
    )
    return known, np.asarray(logits.std(0, ddof=1), np.float32)


def _seen(guarded: Guarded, images: NDArray[np.floating]) -> tuple[Array, Array]:
    """Features [n, f] and the members' logits [m, n], in the precision that they are served in."""
    features, logits = [], []
    precision = fastest_precision(torch.device("cpu"))
    lower = precision != torch.float32
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=lower):
        for start in range(0, len(images), 64):
            batch = torch.from_numpy(images[start : start + 64].astype(np.float32))
            seen = guarded.network.seen(batch.to(memory_format=torch.channels_last))
            logits.append(seen[0].numpy())
            features.append(seen[1].numpy())
    return np.concatenate(features), np.concatenate(logits, 1)


def _limit(known: Known, seed: int, say: Say) -> float:
    """The logit from which on images are foreign, by guards that did not learn from their fold.

    Between the own of which a share _FAR is beyond, and the foreign of which as few are below: not
    midway, for what nobody thought of lies nearer, but with room for hospitals unlike the own.
    """
    own, folds = np.empty(len(known.fold), np.float32), sorted(set(known.fold[known.plain]))
    for number, fold in enumerate(folds):
        guard = fitted(known[known.fold != fold], seed + number)
        asked = known.fold == fold
        own[asked] = _asked(guard, known.features[asked])
    near = float(np.quantile(own[known.plain], 1 - _FAR))
    far = max(near, float(np.quantile(own[known.foreign], _FAR)))
    limit = near + _ROOM * (far - near)
    caught, lost = (float((own[one] >= limit).mean()) for one in (known.foreign, known.plain))
    say(f"guard: by folds, {caught:.3f} of the foreign and {lost:.3f} of the own are beyond")
    return limit


def _asked(guard: Guard, features: Array) -> Array:
    with torch.inference_mode():
        found: Array = guard(torch.from_numpy(features)).numpy()
    return found


def fitted(known: Known, seed: int) -> Guard:
    """A guard that learned from `known`, half of each batch foreign."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    guard = Guard(known.features.shape[1])
    own = ~known.foreign
    guard.mean = torch.from_numpy(known.features[own].mean(0))
    guard.spread = torch.from_numpy(known.features[own].std(0) + 1e-3)
    draws = []
    for group in (np.flatnonzero(own), np.flatnonzero(known.foreign)):
        share = known.weight[group] / known.weight[group].sum()
        draws.append(rng.choice(group, (_STEPS, _HALF_BATCH), p=share))
    wanted = torch.tensor([_SMOOTH, 1 - _SMOOTH]).repeat_interleave(_HALF_BATCH)
    optimiser = torch.optim.AdamW(guard.parameters(), 1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=_STEPS)
    for chosen in np.concatenate(draws, 1):
        usual = (torch.from_numpy(known.features[chosen]) - guard.mean) / guard.spread
        # Not single numbers: to draw one for each takes longer than all else.
        kept = (torch.rand(usual.shape[1]) >= _HIDDEN_SHARE) / (1 - _HIDDEN_SHARE)
        logits = guard.judged(usual * kept)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return guard.eval()
