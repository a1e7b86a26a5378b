"""What closes a row and what brings it back: reports per order, finishes, cancels. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.events import FindingsMade, SeriesReceived
from worklist.record.acts import Act, Acts
from worklist.record.ai import Ai
from worklist.record.images import Images, names_of
from worklist.record.orders import Order
from worklist.record.rows import Related


@dataclass(frozen=True)
class Closing:
    """Whether a row is closed, by what, and what is new since.

    Attributes:
        state: ``final`` or ``cancelled`` where reports or the sender closed it; else empty.
        finish: the act that finished it and stands.
        since: first receipt of what is new since it was read; None: nothing is.
        withdrawn: a report was withdrawn.
        waiting: how many orders still wait for their report while others are final.
        closed_at: when it was last read, reported or confirmed as cancelled.
    """

    state: str = ""
    finish: Act | None = None
    since: datetime | None = None
    withdrawn: bool = False
    waiting: int = 0
    closed_at: datetime | None = None


def closing_of(row: Related, images: Images, acts: Acts, kin: Collection[str], ai: Ai) -> Closing:
    """What closes `row`, and what brings it back.

    Args:
        kin: the members of all rows of the row's person.
    """
    members = frozenset(row.owned)
    states = [order.state for order in row.orders]
    finishes = [act for act in acts.finishes() if _is_of(act, row, kin)]
    finish = finishes[-1] if finishes else None
    until = max((state.covered for state in states if state.covered), default=None)
    flags = _on_unseen_series(row, ai)
    since = _since(row, images, finishes, until, acts.last(members, "reopen"), flags)
    cancelled, confirm = _cancelled(row, images, acts, members)
    known = any(order.reports for order in row.orders) and not images.exist
    known = known and all(state.outcome_only for state in states)
    final = (known or any(s.final for s in states)) and not any(s.open for s in states)
    state = "final" if final else "cancelled" if cancelled else ""
    open_ = since is not None
    return Closing(
        state="" if open_ else state,
        finish=None if open_ else finish,
        since=since,
        withdrawn=any(state.withdrawn for state in states),
        waiting=sum(state.open for state in states) if any(s.final for s in states) else 0,
        closed_at=max(
            [act.at for act in (finish, confirm) if act] + ([until] if final and until else []),
            default=None,
        ),
    )


def _is_of(act: Act, row: Related, kin: Collection[str]) -> bool:
    """A finish belongs to the person of the row that was finished, and is of the fragments that it
    lists: a study that only a join had closed is another person's when the join is undone.
    """
    if act.fragments:
        return act.item in kin and any(fact.key in act.fragments for fact in row.series)
    return act.item in row.owned


def _since(
    row: Related,
    images: Images,
    finishes: Sequence[Act],
    until: datetime | None,
    reopen: Act | None,
    flags: Sequence[datetime],
) -> datetime | None:
    """First receipt of what is new since the row was read; None: it never was, or nothing is."""
    news = _new_orders(row, finishes, until)
    if not _had_closed(row, [order for order, _ in news]):
        # While another order waits, the report on one covers no image: nobody knows whose it is.
        until = None
    if not finishes and until is None:
        return _since_preliminary(row, images, flags)
    names = names_of(f for f in row.series if any(f.key in a.fragments for a in finishes))
    found = [image.received for image in images.uncovered(names, until)]
    found += [when for _, when in news]
    closed = max([*(act.at for act in finishes), *([until] if until else [])])
    found += [reopen.at] if reopen and reopen.at > closed else []
    found += [at for at in flags if at > closed]
    return min(found, default=None)


def _since_preliminary(row: Related, images: Images, flags: Sequence[datetime]) -> datetime | None:
    """First receipt of what no preliminary report can speak of, while there is no other: nobody has
    looked at it, so that it is not to validate but to read.
    """
    waiting = [order.state for order in row.orders if order.state.open]
    if not waiting or not all(state.report == "preliminary" for state in waiting):
        return None
    told = max(state.reported_at for state in waiting if state.reported_at)
    found = [image.received for image in images.uncovered((), told)]
    return min([*found, *(at for at in flags if at > told)], default=None)


def _on_unseen_series(row: Related, ai: Ai) -> list[datetime]:
    """When something was flagged on a series of which no image is here yet: nobody read that."""
    here = {f.event.series_uid for f in row.series if isinstance(f.event, SeriesReceived)}
    return [
        event.screened_at
        for event in (fact.event for fact in row.findings)
        if isinstance(event, FindingsMade)
        and event.series_uid not in here
        and (event.package, event.series_uid, event.input_digest) in ai.results
    ]


def _new_orders(
    row: Related, finishes: Sequence[Act], until: datetime | None
) -> list[tuple[Order, datetime]]:
    """Orders that no finish and no final report knew, and withdrawn reports: with their receipt."""
    seen = {key for act in finishes for key in act.reports}
    found: list[tuple[Order, datetime]] = []
    for order in row.orders:
        state = order.state
        if state.withdrawn and not state.cancelled:
            if not state.withdrawn_keys & seen:
                found.append((order, state.withdrawn.received))
        elif state.open and not order.reports and not any(f.key in seen for f in order.sent):
            first = min(fact.received for fact in order.sent)
            late = bool(finishes) or (until is not None and first > until)
            found += [(order, first)] if late else []
    return found


def _had_closed(row: Related, news: Sequence[Order]) -> bool:
    """Whether reports had closed the row before what is new came."""
    before = [o for o in row.orders if o.state.withdrawn or not any(o is new for new in news)]
    ended = all(not o.state.open or (o.state.withdrawn and o.state.covered) for o in before)
    return ended and any(o.state.covered for o in before)


def _cancelled(
    row: Related, images: Images, acts: Acts, members: frozenset[str]
) -> tuple[bool, Act | None]:
    """Whether the sender cancelled all of it, and who confirmed that of its images.

    Nobody has read them: a later cancel, image or flag asks again.
    """
    states = [order.state for order in row.orders]
    if not states or not all(state.cancelled for state in states):
        return False, None
    if not images.exist:
        return True, None
    act = acts.last(members, "confirm_cancel", "reopen")
    if act is None or act.act != "confirm_cancel":
        return False, None
    later = [state.cancelled_at for state in states if state.cancelled_at]
    later += [image.received for image in images.alike]
    later += flagged_at(row)
    return (False, None) if any(at > act.at for at in later) else (True, act)


def flagged_at(row: Related) -> list[datetime]:
    """When something of it was flagged."""
    return [
        fact.event.screened_at
        for fact in row.findings
        if isinstance(fact.event, FindingsMade) and fact.event.outcome == "flagged"
    ]
