"""Whether enough was read of a series to say *not flagged* of it (promise 3)."""

from __future__ import annotations

from streams.errors import Reason
from triage.decoding.frames import Read
from triage.packages.manifest import BodyRule, CoverageRule

_ROUNDED = 0.01  # positions are rounded


def why_incomplete(
    rule: CoverageRule, read: Read, here: int, announced: int | None, body: BodyRule | None = None
) -> Reason | None:
    """Why *not flagged* cannot be said of what was read; None: it can.

    Args:
        here: instances of the series that are here.
        announced: instances that its sender says it has; None: it does not say.
        body: what the body must be like. Where that is a head, it must be seen up to its vertex,
            and nowhere go on where the image ends.

    A flag needs none of this: what was seen was seen.
    """
    if not read.primary:
        return Reason.NOT_PRIMARY
    if not read.plausible:
        return Reason.NO_HOUNSFIELD
    whole = (
        read.there - read.read <= rule.unreadable
        and (announced is None or here >= rule.min_announced * announced)
        and _long_enough(rule, read)
        and _without_hole(rule, read)
        and _whole_films(rule, read)
        and (body is None or body.skull_mm == 0.0 or _whole_head(read))
    )
    return None if whole else Reason.INCOMPLETE


def _long_enough(rule: CoverageRule, read: Read) -> bool:
    if rule.min_extent_mm == 0.0 and rule.max_extent_mm is None:
        return True
    extent = read.extent_mm or 0.0
    return rule.min_extent_mm <= extent <= (rule.max_extent_mm or extent)


def _whole_films(rule: CoverageRule, read: Read) -> bool:
    if rule.aspect is None or read.aspects is None:
        return True
    return rule.aspect[0] <= read.aspects[0] and read.aspects[1] <= rule.aspect[1]


def _whole_head(read: Read) -> bool:
    return read.cut == 0 and bool(read.vertex)


def _without_hole(rule: CoverageRule, read: Read) -> bool:
    if read.largest_gap_mm is None or read.spacing_mm is None:
        return rule.min_extent_mm == 0.0  # one place is no stack, however thick it says it is
    return (
        read.largest_gap_mm <= rule.max_gap * read.spacing_mm + _ROUNDED
        # Slices that are left out evenly look like a spacing that is usual there.
        and (read.gap_thicknesses or 0.0) <= rule.max_gap + _ROUNDED
        and (read.unstated_gap_mm or 0.0) <= rule.max_spacing_mm + _ROUNDED
    )
