"""How large the body in a CT slice is, and whether a skull is seen around a brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage.decoding.reduction import block_mean, body_box

_BODY_HU = -300.0
#: Squares along the longer side, in which the body is looked for. Its outermost ones are worn away
#: first: a table's shell, a holder, a tube and a drape are too thin to be left.
_CELLS = 64
_RAYS, _STEPS = 72, 160  # from the middle of the body outwards, and points on each
#: A newborn's skull, thin and cut at a slant, is half bone and half what lies beside it.
_BONE_HU = 200.0
_BRAIN_HU = (-50.0, 130.0)  # with fresh blood, water, and the noise of a thin slice
_UNDER_SKIN = 0.6  # of the way to the skin: what lies deeper is no skull
_WITHIN = 0.8  # of the way to the bone: there nothing but brain is to be seen
#: Shares of the rays that meet such bone (a large craniectomy opens a third), and of what lies
#: inside that is brain.
_LEAST_RING, _LEAST_BRAIN = 0.65, 0.7
_LEAST_CUT = 0.1  # share of the rays: where less is open the bone alone is outside
_STRAIGHT = 0.5  # of a body's width, where rows without any value begin: a skin is round
_LEAST_OTHER = 0.1  # of the body: what lies beside it and is smaller is no other head


@dataclass(frozen=True)
class Outline:
    """The body in one slice.

    Attributes:
        side_px: the longer side of the box around it; 0 where no body is seen.
        skull: a ring of bone, nearly closed, lies under its skin, and soft tissue inside the ring.
        cut: that ring is open where the image ends: a part of the head is not in it; or another
            head lies beside it (a mother's, her newborn's), and one alone is read.
    """

    side_px: int
    skull: bool
    cut: bool = False


def outline_of(hounsfield: NDArray[np.float32]) -> Outline:
    """What is seen in a slice, [rows, columns] in HU, of square pixels."""
    hounsfield = _to_the_blank(hounsfield)
    factor = -(-max(hounsfield.shape) // _CELLS)
    cells = np.asarray(block_mean(hounsfield.astype(np.int32), factor), np.float32) > _BODY_HU
    if not cells.any():
        return Outline(0, skull=False)
    worn = ~_spread(~cells)
    body = _spread(_largest(worn)) & cells  # where the image ends it may go on
    if not body.any():
        return Outline(0, skull=False)
    sides = [int(np.ptp(at)) + 1 for at in np.nonzero(body)]
    skull, cut = _skull_and_cut(hounsfield, body, factor)
    rest = worn & ~body
    if skull and not cut and rest.sum() >= _LEAST_OTHER * body.sum():
        cut, _ = _skull_and_cut(hounsfield, _spread(_largest(rest)) & cells, factor)
    return Outline(max(sides) * factor, skull, cut)


def _to_the_blank(hounsfield: NDArray[np.float32]) -> NDArray[np.float32]:
    """The slice up to where rows or columns of one value cut its body off: there it ends.

    So does one that came in part, and was filled up.
    """
    kept = []
    for axis, side in enumerate(body_box(hounsfield)):
        if side == slice(0, hounsfield.shape[axis]):
            kept.append(side)
            continue
        body = np.count_nonzero(hounsfield > _BODY_HU, axis=1 - axis)
        straight = _STRAIGHT * body.max()
        start = side.start if body[side.start] >= straight else 0
        stop = side.stop if body[side.stop - 1] >= straight else len(body)
        kept.append(slice(start, stop))
    return hounsfield[kept[0], kept[1]]


def _spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`mask` with the squares beside it."""
    wider = mask.copy()
    wider[1:] |= mask[:-1]
    wider[:-1] |= mask[1:]
    wider[:, 1:] |= mask[:, :-1]
    wider[:, :-1] |= mask[:, 1:]
    return wider


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest of its regions, whose squares touch side by side."""
    if not mask.any():
        return mask
    count, number = np.count_nonzero(mask), np.zeros(mask.shape, np.intp)
    number[mask] = np.arange(count)
    down = number.T[mask.T]  # the marked squares column by column, as numbered row by row
    ways = [(np.arange(count), _begins(mask)), (down, _begins(mask.T))]
    labels, before = np.arange(count), np.zeros(count, np.intp)
    while not np.array_equal(labels, before):
        before = labels.copy()
        for order, begins in ways:  # of each run of squares all get the highest label
            lengths = np.diff(begins, append=count)
            labels[order] = np.repeat(np.maximum.reduceat(labels[order], begins), lengths)
    found = np.zeros(mask.shape, np.bool_)
    found[mask] = labels == np.bincount(labels).argmax()
    return found


def _begins(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Where each run of squares in a row begins, among the marked ones row by row."""
    begins = mask.copy()
    begins[:, 1:] &= ~mask[:, :-1]
    return np.flatnonzero(begins[mask])


def _skull_and_cut(
    hounsfield: NDArray[np.float32], body: NDArray[np.bool_], factor: int
) -> tuple[bool, bool]:
    """Whether rays from the middle of `body` outwards meet brain, and then bone under the skin;
    and whether some of them leave the image before they met that bone.
    """
    at = np.stack(np.nonzero(body)) + 0.5
    middle = at.mean(1, keepdims=True)
    reach = float(np.hypot(*(at - middle)).max()) + 1.0
    turns = np.linspace(0.0, 2.0 * np.pi, _RAYS, endpoint=False)[:, None]
    away = np.linspace(0.0, reach, _STEPS)
    rows, columns = (
        ((start + away * way) * factor).astype(np.intp)
        for start, way in zip(middle[:, 0], (np.sin(turns), np.cos(turns)), strict=True)
    )
    height, width = (side * factor for side in body.shape)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    seen = inside & body.take(rows // factor * body.shape[1] + columns // factor)
    values = hounsfield.take(rows * hounsfield.shape[1] + columns)
    skin, bone = _last(seen), _last(seen & (values > _BONE_HU))
    ring = (bone > 0) & (bone >= _UNDER_SKIN * skin)
    if ring.mean() < _LEAST_RING:
        return False, False
    # Where the ring is open, the brain ends where it does elsewhere.
    ends = _WITHIN * np.where(ring, bone, np.median(bone[ring]))[:, None]
    steps = np.arange(_STEPS)
    area = (steps <= ends) * steps  # farther out a ray stands for more
    brain = (values > _BRAIN_HU[0]) & (values < _BRAIN_HU[1])
    if (area * brain).sum() < _LEAST_BRAIN * area.sum():
        return False, False
    leaves = skin >= _last(inside)  # the body goes on up to where the image ends
    return True, bool((leaves & ~ring).mean() >= _LEAST_CUT)


def _last(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """On each ray the last step that is marked; 0 where none is."""
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(1)
    found: NDArray[np.intp] = np.where(mask.any(1), last, 0)
    return found
