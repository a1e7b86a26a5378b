"""Labelled pictures of noise, of every mode, shape and depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from triage.evaluation.labels import Labelled


def pictures(folder: Path, count: int) -> list[Labelled]:
    """Small pictures of every mode, shape and depth."""
    cases = []
    for number in range(count):
        rng = np.random.default_rng(number)
        shape = [(96, 128), (1, 1), (3, 400), (200, 20)][number % 4]
        noise = Image.fromarray(
            rng.integers(0, 255, (*shape, 4), np.uint8), "RGBA" if number % 3 else None
        )
        mode = ("RGBA", "LA", "L", "RGB", "P", "1")[number % 6]
        picture = noise.convert("RGB").convert("P") if mode == "P" else noise.convert(mode)
        if number % 7 == 0:
            picture = Image.fromarray(rng.integers(0, 4095, shape, np.uint16))
        picture.save(folder / f"{number}.png")
        cases.append(Labelled(folder / f"{number}.png", number % 2, f"p{number}"))
    return cases


def labelled(folder: Path) -> Path:
    """Six of them, two of each patient, and a `labels.csv` that names them; its path."""
    lines = ["file,truth,patient_id"]
    for number, case in enumerate(pictures(folder, 6)):
        lines.append(f"{case.file.name},{case.truth},p{number // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"
