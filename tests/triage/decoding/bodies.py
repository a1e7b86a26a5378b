"""Slices of heads and of other parts, as a scanner shows them: in a field of view, with what lies
around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage.phantoms.heads import head_ct
from triage.phantoms.shapes import grid

Plane = NDArray[np.float32]
SIDE = 512


@dataclass(frozen=True)
class Scan:
    """How a head is scanned.

    Attributes:
        long_mm: the head, from front to back.
        field_mm: of view.
        turn: degrees.
        open: degrees of a craniectomy.
        level: 0 (skull base) to 1 (vertex).
    """

    long_mm: float
    field_mm: float = 250.0
    turn: float = 0.0
    open: float = 0.0
    level: float = 0.5
    holder: bool = False
    table: bool = False
    drape: bool = False

    @property
    def side_mm(self) -> float:
        """Of a pixel."""
        return self.field_mm / SIDE


def head_slice(seed: int, scan: Scan) -> Plane:
    """One slice of a drawn head, [512, 512] in HU."""
    rng = np.random.default_rng(seed)
    volume = head_ct(rng, None, 9, 256).astype(np.float32)
    head = _alone(volume[round(scan.level * 8)])
    if scan.open:
        head = _opened(head, scan.open, float(rng.uniform(0, 360)))
    rows = np.nonzero(_alone(volume[3]) > -300)[0]
    side = round(256 * scan.long_mm / (np.ptp(rows) + 1) / scan.side_mm)
    placed = Image.fromarray(head).rotate(scan.turn, Image.Resampling.BILINEAR, fillcolor=-1000)
    placed = placed.resize((side, side), Image.Resampling.BILINEAR)
    canvas = Image.new("F", (SIDE, SIDE), -1000)
    canvas.paste(placed, ((SIDE - side) // 2, (SIDE - side) // 2))
    return _with_things(np.asarray(canvas, np.float32).copy(), scan)


def _alone(plane: Plane) -> Plane:
    """Without the rest that is drawn at times."""
    xs, ys = grid(256)
    rest = np.abs(np.hypot(xs, ys + 0.35) - 1.28) < 0.013
    return np.where(rest & (ys > 0.3), -1000, plane).astype(np.float32)


def _opened(head: Plane, degrees: float, at: float) -> Plane:
    """Without the bone of one side, from one angle to another."""
    rows, columns = np.nonzero(head > -300)
    down, across = np.mgrid[0:256, 0:256] - np.array([rows.mean(), columns.mean()])[:, None, None]
    angle = np.rad2deg(np.arctan2(down, across))
    away = np.abs((angle - at + 180) % 360 - 180)
    return np.where((head > 200) & (away < degrees / 2), 30, head).astype(np.float32)


def _with_things(image: Plane, scan: Scan) -> Plane:
    """A holder's shell around the head, a table below it, a drape over it."""
    down, across = (np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2) * scan.side_mm
    away, air = np.hypot(down, across), image < -900
    if scan.holder:
        shell = np.abs(away - scan.long_mm * 0.56) < 1.5
        image[air & shell & (down > -0.2 * scan.long_mm)] = 120
    if scan.table:
        image[air & (np.abs(down - scan.long_mm * 0.62) < 1.5)] = 150
    if scan.drape:
        image[air & (np.abs(away - scan.long_mm * 0.53) < 1.0) & (down < 0)] = -50
    return image
