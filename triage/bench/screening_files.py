"""A series that a package of ours is meant for, as uncompressed files of 512²."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from triage.packages.input_spec import AnyInput
from triage.phantoms.files import film_file, write_slice
from triage.phantoms.heads import head_ct

SLICES, SIDE = 12, 512  # of a series of slices; pixels along a side


def series_files(wanted: AnyInput, folder: Path, seed: int = 1) -> list[Path]:
    """One chest film, or a head in slices, in `folder`."""
    if not wanted.axial:
        film = folder / f"film{seed}"
        film.write_bytes(film_file(seed, SIDE))
        return [film]
    within, uid = folder / f"head{seed}", generate_uid()
    within.mkdir()
    head = head_ct(np.random.default_rng(seed), None, SLICES, SIDE)
    return [
        write_slice(within, pixels, index, uid, compressed=False)[0]
        for index, pixels in enumerate(head)
    ]
