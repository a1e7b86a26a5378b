"""How far served logits may be from eager float32 on the CPU, and the phantoms that tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triage.inputs.prepare import prepare
from triage.packages.input_spec import InputSpec
from triage.packages.load import Package
from triage.phantoms.series import phantom_series

#: A way to run a network is refused if a logit is farther from float32, in shares of 1 + |logit|.
MAX_DRIFT = 0.1
_PHANTOMS = 6


class Drifted(Exception):
    """The logits are not those of the network; the text says how far they are."""


def phantom_images(package: Package) -> NDArray[np.float32]:
    """Prepared phantoms [n, c, h, w], as the package would be shown them; noise, if it is not of
    ours.
    """
    rng = np.random.default_rng(0)
    if not isinstance(package.input, InputSpec):
        return rng.standard_normal((_PHANTOMS, *package.input.shape), np.float32)
    return np.concatenate(
        [
            prepare(phantom_series(rng, package.input.kind)[0], package.input)
            for _ in range(_PHANTOMS)
        ]
    )


def logits_of(given: NDArray[np.float32]) -> NDArray[np.float32]:
    """The finding's logits [n] among what a network gives, [n] or [n, columns]."""
    return given if given.ndim == 1 else given[:, 0]


def drift(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest distance of the finding's logits in `given` from those in `expected`.

    What a guard gives beside them is not compared: constancy compares what it leads to. Raises
    Drifted where one is over `MAX_DRIFT`, or is no number.
    """
    exact = logits_of(expected)
    apart = np.abs(logits_of(given) - exact)
    near = apart <= MAX_DRIFT * (1 + np.abs(exact))  # false if it is no number
    if not near.all():
        raise Drifted(f"its logits are {float(apart.max()):.3g} from those of the network")
    return float(apart.max())
