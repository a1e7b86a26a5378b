"""One series, files to frames: inside the decoder process."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from streams.errors import Reason
from triage.decoding.body import Tally, tally_of
from triage.decoding.frames import Decoded, Frame, aspects_of, has_vertex
from triage.decoding.geometry import has_millimetres, shifted, square_pixels, upright
from triage.decoding.image_header import ImageHeader, check_header, open_dataset
from triage.decoding.limits import Limits
from triage.decoding.outline import outline_of
from triage.decoding.pixels import Unit, to_values
from triage.decoding.protocol import HEADER, Request, Wanted
from triage.decoding.stacks.slabs import Slab, measure_read, slabs_of
from triage.decoding.stacks.slices import Place, axial_places, choose, place_of
from triage.decoding.stored import stored
from triage.eligibility.header_facts import facts_of, frame_types, kernel_of, text_of
from triage.eligibility.rule import NEAREST, Decision, Rule, image_decision
from triage.errors import NotAnalysed

#: Frame Type, value 4, of what no scanner measured there.
_RECKONED = frozenset(
    {
        "ADDITION",
        "DIVISION",
        "MAXIMUM",
        "MINIMUM",
        "MULTIPLICATION",
        "QUANTITY",
        "STD_DEVIATION",
        "SUBTRACTION",
    }
)
_SHORTEST = 8  # pixels: less is no image plane
_MOST_BROKEN = 8  # frames of a file one after the other: then the file is broken, not they


#: Told before each header (frame HEADER) and frame that is read: (file, frame).
Begin = Callable[[int, int], None]


def _unwatched(_file: int, _frame: int) -> None:
    """For those who need not know where a decoder ends."""


def read_series(request: Request, limits: Limits, begin: Begin = _unwatched) -> Decoded:
    """The frames that a model reads, stack by stack, and what they are of the series.

    A broken file is left out where others are not, and counted. So is what ended a decoder before.

    Raises:
        NotAnalysed: the first file's reason when none can be used; `decode_limit` when the answer
            would be too large.
    """
    if len(request.paths) > limits.files:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    wanted, found = request.wanted, _look(request, limits, _but_ended(request, begin))
    try:
        chosen = choose(found.headers, found.meant, axial=wanted.axial)
    except NotAnalysed as error:
        raise NotAnalysed(found.failed[0] if found.failed else error.reason) from None
    slabs = _slabs(chosen.stacks, 0, wanted.slab_mm)
    if _bytes(slabs) > limits.reply_bytes:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    unread = len(found.failed) + chosen.unplaced
    sums = _decode(found, slabs, wanted.min_side_px)
    _refuse_missing(request, found.failed)
    frames = [sums[at].frame(slab) for at, slab in enumerate(slabs) if at in sums]
    if not frames:
        raise NotAnalysed(found.failed[0] if found.failed else Reason.NO_PIXELS)
    left_bytes = limits.reply_bytes - sum(frame.pixels.nbytes for frame in frames)
    if left_bytes < 0:
        raise NotAnalysed(Reason.DECODE_LIMIT)
    places = [place for made in sums.values() for place in made.places]
    blank, plausible = _looked_through(sums.values())
    beside, missed = _beside(found, wanted, frames, len(chosen.stacks), left_bytes)
    made = [place_of(found.headers[file], file, frame) for file, frame in found.made]
    measured = measure_read(chosen.stacks, places, unread + missed, [*found.left_out, *made], blank)
    return Decoded(
        frames + beside,
        replace(
            measured,
            plausible=plausible,
            cut=sum(frame.cut for frame in frames),
            vertex=has_vertex(frames),
            aspects=aspects_of(frames),
            beside=len(chosen.stacks) if beside else None,
            primary=found.primary,
            digest=found.digest(places),
        ),
    )


def _slabs(stacks: Sequence[Sequence[Place]], first: int, slab_mm: float) -> list[Slab]:
    """All stacks in slabs; the first stack has the number `first`."""
    return [slab for at, stack in enumerate(stacks, first) for slab in slabs_of(stack, at, slab_mm)]


def _bytes(slabs: Sequence[Slab]) -> int:
    return sum(4 * slab.places[0].shape[0] * slab.places[0].shape[1] for slab in slabs)


def _beside(
    found: _Found, wanted: Wanted, frames: Sequence[Frame], first: int, most_bytes: int
) -> tuple[list[Frame], int]:
    """The frames that can only be flagged, beside the primary `frames`; how many were not read.

    They cost the primary ones nothing: what is too much, or of another unit, is not read.
    """
    if not found.made:
        return [], 0
    try:
        slabs = _slabs(
            choose(found.headers, found.made, axial=wanted.axial).stacks, first, wanted.slab_mm
        )
    except NotAnalysed:  # none is axial
        return [], 0
    asked = {(place.file, place.frame) for slab in slabs for place in slab.places}
    if _bytes(slabs) > most_bytes:
        return [], len(asked)
    sums = _decode(found, slabs, wanted.min_side_px)
    made = {at: one.frame(slabs[at]) for at, one in sums.items()}
    fit = {
        at: frame
        for at, frame in made.items()
        if frame.unit == frames[0].unit and min(frame.pixels.shape) >= _SHORTEST
    }
    if sum(frame.pixels.nbytes for frame in fit.values()) > most_bytes:
        return [], len(asked)
    read = {(place.file, place.frame) for at in fit for place in sums[at].places}
    return [fit[at] for at in sorted(fit)], len(asked - read)


def _but_ended(request: Request, begin: Begin) -> Begin:
    """`begin`, but that it raises NotAnalysed for what ended a decoder before."""
    ended = {(one.file, one.frame): one.reason for one in request.ended}

    def begin_unless(file: int, frame: int) -> None:
        if (file, frame) in ended:
            raise NotAnalysed(ended[file, frame])
        begin(file, frame)

    return begin_unless


@dataclass
class _Found:
    """What lies in the files of a series.

    Attributes:
        headers: by index among the files, of all that can be read.
        meant: the frames that the model is meant for, as (file, frame): the primary ones or,
            where there are none, those that can only be flagged.
        made: those that can only be flagged, beside primary ones.
        failed: why each file that may hold more of them could not be read.
        left_out: axial frames with a place that the model is not meant for by what they are.
        primary: whether `meant` are primary images.
        begin: as for `read_series`; raises NotAnalysed for what is not to be read.
    """

    begin: Begin

    headers: dict[int, ImageHeader] = field(default_factory=dict)
    meant: list[tuple[int, int]] = field(default_factory=list)
    made: list[tuple[int, int]] = field(default_factory=list)
    failed: list[Reason] = field(default_factory=list)
    left_out: list[Place] = field(default_factory=list)
    primary: bool = True

    def digest(self, places: Sequence[Place]) -> str:
        """SHA-256 of the bytes of all files that were read, in the order asked for."""
        whole = hashlib.sha256()
        for file in sorted({place.file for place in places}):
            with self.headers[file].path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        return whole.hexdigest()


def _look(request: Request, limits: Limits, begin: Begin) -> _Found:
    """Reads all headers. Raises NotAnalysed where no frame is meant for the model."""
    found, rule = _Found(begin), request.wanted.rule
    outside = list[Reason]()
    for file, name in enumerate(request.paths):
        path = Path(name)
        try:
            begin(file, HEADER)
            opened = open_dataset(path, limits)
            decisions = decide(rule, opened.dataset)
            if all(one.reason for one in decisions) and _says_what_it_is(opened.dataset, rule):
                # Left out by what it is: a report, a scout, another kernel. It need not be sound.
                outside += [one.reason for one in decisions if one.reason]
                with suppress(NotAnalysed):
                    header = check_header(path, opened, limits)
                    found.left_out += _left_out(header, file, range(header.frames))
                continue
            header = found.headers[file] = check_header(path, opened, limits)
        except NotAnalysed as error:
            found.failed.append(error.reason)
            continue
        not_meant = []
        for frame in range(header.frames):
            decision = decisions[min(frame, len(decisions) - 1)]
            if decision.reason is not None:
                outside.append(decision.reason)
                not_meant.append(frame)
            else:
                (found.meant if decision.primary else found.made).append((file, frame))
        found.left_out += _left_out(header, file, not_meant)
    _refuse_missing(request, found.failed)
    if not found.meant:
        found.meant, found.made, found.primary = found.made, [], False
    if not found.meant:
        nearest = next((reason for reason in NEAREST if reason in outside), Reason.NO_PIXELS)
        raise NotAnalysed(found.failed[0] if found.failed else nearest)
    return found


def _left_out(header: ImageHeader, file: int, frames: Sequence[int]) -> list[Place]:
    """Those of `frames` that have an axial place and are no scout."""
    if not frames:
        return []
    types = frame_types(header.dataset) or [facts_of(header.dataset).image_type]
    kinds = ((frame, types[min(frame, len(types) - 1)]) for frame in frames)
    return axial_places(header, file, [at for at, kind in kinds if "LOCALIZER" not in kind])


def _says_what_it_is(dataset: Dataset, rule: Rule | None) -> bool:
    """Whether a header is whole as far as it is asked, or of something else that has no pixels.

    One that was cut lacks words too, and may have been a slice.
    """
    modality = text_of(dataset, "Modality").upper()
    other = bool(modality) and rule is not None and modality not in rule.modalities
    return other or "Rows" in dataset


def decide(rule: Rule | None, dataset: Dataset) -> list[Decision]:
    """What `rule` says of each frame; one for all where they have no types of their own."""
    if rule is None:
        return [Decision(None, "no rule")]
    facts = facts_of(dataset)
    return [
        _of_frame(image_decision(rule, replace(facts, image_type=kind, kernel=kernel)), kind)
        for kind, kernel in _kinds_of(dataset)
    ] or [image_decision(rule, facts)]


def _kinds_of(dataset: Dataset) -> list[tuple[tuple[str, ...], str]]:
    """Image Type and kernel of each frame of an enhanced image; empty for others."""
    return [(kind, kernel_of(dataset, frame)) for frame, kind in enumerate(frame_types(dataset))]


def _of_frame(decision: Decision, kind: tuple[str, ...]) -> Decision:
    """`decision`; a frame that was reckoned from others is no primary one (PS3.3 §C.8.16.1.4)."""
    reckoned = not _RECKONED.isdisjoint(kind[3:4])
    return replace(decision, primary=decision.primary and not reckoned)


def _refuse_missing(request: Request, failed: Sequence[Reason]) -> None:
    if request.all_there and Reason.STORE_MISSING in failed:
        raise NotAnalysed(Reason.STORE_MISSING)


@dataclass(frozen=True)
class _Slice:
    """One slice, decoded, upright and with square pixels."""

    pixels: NDArray[np.float32]
    unit: Unit
    side_mm: float | None
    tally: Tally | None


class _Sum:
    """The slices of one slab, added up one by one: a stack of a thousand fits in memory so."""

    def __init__(self, first: _Slice, place: Place) -> None:
        self._total, self._first = first.pixels, first
        self.places = [place]
        self.tallies = [first.tally]

    def add(self, one: _Slice, place: Place) -> None:
        """Adds one more. Raises NotAnalysed where it does not fit the first."""
        if one.unit != self._first.unit or one.pixels.shape != self._total.shape:
            raise NotAnalysed(Reason.BAD_GEOMETRY)
        self._total = self._total + shifted(one.pixels, *self._offset(place))
        self.places.append(place)
        self.tallies.append(one.tally)

    def _offset(self, place: Place) -> tuple[int, int]:
        """Pixels by which `place` lies lower and more to the right than the first slice.

        A tilted gantry moves each slice a little; so does another field of view.
        """
        first, side_mm = self.places[0], self._first.side_mm
        if first.plane is None or first.centre is None or place.centre is None or not side_mm:
            return 0, 0
        away = place.centre - first.centre
        down, across = (float(away @ way) for way in (first.plane.down, first.plane.across))
        return round(down / side_mm), round(across / side_mm)

    def frame(self, slab: Slab) -> Frame:
        """The mean of what was added, and what of a body is seen in it."""
        count = len(self.places)
        pixels = self._total if count == 1 else self._total / np.float32(count)
        middle = sorted(self.places, key=lambda place: place.position or 0.0)[count // 2]
        first = self._first
        frame = Frame(pixels, first.unit, slab.position, slab.stack, first.side_mm, middle.file)
        if first.unit != "hu":
            return frame
        seen = outline_of(pixels)
        size = None if first.side_mm is None else seen.side_px * first.side_mm
        return replace(frame, body_mm=size, skull=seen.skull, cut=seen.cut)


def _decode(found: _Found, slabs: Sequence[Slab], min_side_px: int) -> dict[int, _Sum]:
    """By index of its slab, what could be decoded of it.

    A frame that breaks adds its reason to those that failed, and no slice.
    """
    sums = dict[int, _Sum]()
    # A frame may be in several slabs: a stack that is not whole is filled up from the first.
    wanted = defaultdict[int, dict[int, list[tuple[int, Place]]]](lambda: defaultdict(list))
    for at, slab in enumerate(slabs):
        for place in slab.places:
            wanted[place.file][place.frame].append((at, place))
    for file, mine in sorted(wanted.items()):
        header, left, broken = found.headers[file], sorted(mine), 0
        while left and broken < _MOST_BROKEN:
            read = 0
            try:
                found.begin(file, left[0])
                for frame, array in zip(left, stored(header, left), strict=False):
                    _add(sums, _slice(array, header, mine[frame][0][1], min_side_px), mine[frame])
                    read, broken = read + 1, 0
                    if read < len(left):
                        found.begin(file, left[read])
                break
            except NotAnalysed as error:
                found.failed.append(error.reason)
                left, broken = left[read + 1 :], broken + 1
    return sums


def _add(sums: dict[int, _Sum], made: _Slice, where: Sequence[tuple[int, Place]]) -> None:
    """Adds a slice to its slabs. Raises NotAnalysed where it does not fit the others."""
    for at, place in where:
        if at in sums:
            sums[at].add(made, place)
        else:
            sums[at] = _Sum(made, place)


def _looked_through(sums: Iterable[_Sum]) -> tuple[list[Place], bool]:
    """Of slices in HU those that show no body, and whether all together can be one.

    A slice without any air, where others have some, has another intercept than it says: its blood
    is too dense for blood.
    """
    each = [
        (place, tally)
        for one in sums
        for place, tally in zip(one.places, one.tallies, strict=True)
        if tally is not None
    ]
    whole = sum((tally for _, tally in each), Tally())
    blank = [
        place for place, tally in each if not tally.is_body or (whole.has_air and not tally.has_air)
    ]
    return blank, whole.is_plausible


def _slice(
    array: NDArray[np.generic], header: ImageHeader, place: Place, min_side_px: int
) -> _Slice:
    values, unit, factor = to_values(array, header, place.frame, min_side_px)
    pixels = upright(values, place.plane)
    tally = tally_of(values) if unit == "hu" else None
    if place.spacing is None:
        return _Slice(pixels, unit, None, tally)
    known = has_millimetres(header, place.frame)
    side_mm = min(place.spacing) * factor if known else None
    return _Slice(square_pixels(pixels, place.spacing), unit, side_mm, tally)
