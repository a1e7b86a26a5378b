"""What closes a row and what brings it back: reports per order, finishes, cancels. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.events import ReportReceived
from worklist.record.acts import Act, Acts
from worklist.record.facts import stands, text_of
from worklist.record.images import Images, names_of
from worklist.record.orders import Order
from worklist.record.relate import Related

_ENDS = frozenset({"cancelled", "replaced"})
_FINAL = frozenset({"final", "corrected", "addendum"})
#: An addendum is about what was read: it covers no image that came since.
_COVERS = frozenset({"final", "corrected"})


@dataclass(frozen=True)
class OrderState:
    """Where one order stands.

    Attributes:
        report: ``preliminary``, ``final``, ``withdrawn`` or empty.
        covered: receipt of the newest final or corrected report: it covers what came before.
        received: first receipt of the order.
    """

    status: str
    report: str
    covered: datetime | None
    received: datetime
    reported_at: datetime | None

    @property
    def cancelled(self) -> bool:
        """The sender ended it."""
        return self.status in _ENDS

    @property
    def final(self) -> bool:
        """Its report is final."""
        return self.report == "final"

    @property
    def open(self) -> bool:
        """It still waits for somebody."""
        return not self.cancelled and not self.final


def order_state(order: Order) -> OrderState:
    """Where `order` stands."""
    status = stands(order.said, text_of("status"))
    told = stands(order.reports, text_of("status"))
    word = told[1] if told else ""
    final = word in _FINAL
    covers = [
        f.received
        for f in order.reports
        if isinstance(f.event, ReportReceived) and f.event.status in _COVERS
    ]
    return OrderState(
        status=status[1] if status else "",
        report="final" if final else word,
        covered=max(covers, default=None) if final else None,
        received=min(f.received for f in order.facts),
        reported_at=told[0].received if told and word != "withdrawn" else None,
    )


@dataclass(frozen=True)
class Closing:
    """Whether a row is closed, by what, and what is new since.

    Attributes:
        state: ``final`` or ``cancelled`` where reports or the sender closed it; else empty.
        finish: the act that finished it and stands.
        since: first receipt of what is new since it was read; None: nothing is.
        withdrawn: a report was withdrawn.
        waiting: how many orders still wait for their report while others are final.
    """

    state: str = ""
    finish: Act | None = None
    since: datetime | None = None
    withdrawn: bool = False
    waiting: int = 0
    confirmed: bool = False


def closing_of(row: Related, states: Sequence[OrderState], images: Images, acts: Acts) -> Closing:
    """What closes `row`, and what brings it back."""
    members = frozenset(row.owned) | frozenset(row.study_members())
    finishes = [act for act in acts.finishes() if _covers(act, row, members)]
    covered = [state.covered for state in states if state.covered]
    until = max(covered, default=None)
    names = names_of(f for f in row.series if any(f.key in a.fragments for a in finishes))
    new = images.uncovered(names, until) if finishes or covered else []
    withdrawn = any(state.report == "withdrawn" for state in states)
    reopened = _reopened(acts, members, finishes, until)
    finish = finishes[-1] if finishes else None
    final = any(s.final for s in states) and not any(s.open for s in states)
    if finish and _after(row, states, finish):
        reopened = max(filter(None, (reopened, _after(row, states, finish))))
    fresh = [image.received for image in new] + ([reopened] if reopened else [])
    since = min(fresh, default=None) if finish or final else None
    waiting = sum(state.open for state in states) if any(s.final for s in states) else 0
    cancelled, confirmed = _cancelled(states, images, acts, members)
    state = "final" if final else "cancelled" if cancelled else ""
    if since is not None:
        return Closing("", None, since, withdrawn, waiting)
    return Closing(state, finish, None, withdrawn, waiting, confirmed)


def _covers(act: Act, row: Related, members: frozenset[str]) -> bool:
    """A finish is of the fragments that it lists; where there are none, of the item."""
    keys = {fact.key for fact in row.series}
    return bool(keys & set(act.fragments)) or act.item in members


def _reopened(
    acts: Acts, members: frozenset[str], finishes: Sequence[Act], until: datetime | None
) -> datetime | None:
    """When a person reopened the row, after all that had closed it."""
    last = acts.last(members, "reopen")
    closed = max([*(act.at for act in finishes), *([until] if until else [])], default=None)
    return last.at if last and (closed is None or last.at > closed) else None


def _after(row: Related, states: Sequence[OrderState], finish: Act) -> datetime | None:
    """First receipt of what a finish did not know: a withdrawn report, an order without report."""
    seen = set(finish.reports)
    found = [
        f.received
        for order in row.orders
        for f in order.reports
        if isinstance(f.event, ReportReceived)
        and f.event.status == "withdrawn"
        and f.key not in seen
        and f.received > finish.at
    ]
    for order, state in zip(row.orders, states, strict=True):
        if state.open and not any(f.key in seen for f in order.facts):
            found += [state.received] if state.received > finish.at else []
    return max(found, default=None)


def _cancelled(
    states: Sequence[OrderState], images: Images, acts: Acts, members: frozenset[str]
) -> tuple[bool, bool]:
    """Whether the sender cancelled all of it, and whether a person confirmed that of its images."""
    gone = bool(states) and all(state.cancelled for state in states)
    if not gone:
        return False, False
    if not images.exist:
        return True, False
    act = acts.last(members, "confirm_cancel")
    confirmed = act is not None and not any(
        image.received > act.at for image in images.by_name.values()
    )
    return confirmed, confirmed
