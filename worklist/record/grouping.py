"""Which facts are one reading item: facts in groups by the accessions and studies they name, apart
where they are of different persons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from streams.events import (
    Event,
    ExamProgressed,
    FindingsMade,
    Identity,
    OrderChanged,
    ReportReceived,
    SeriesReceived,
)
from worklist.record.facts import Known, Merges, order_node, same_patient


@dataclass
class _Group:
    """The facts of one item while it is put together."""

    orders: list[Known] = field(default_factory=list)
    reports: list[Known] = field(default_factory=list)
    series: list[Known] = field(default_factory=list)
    exams: list[Known] = field(default_factory=list)
    findings: list[Known] = field(default_factory=list)
    accessions: set[str] = field(default_factory=set)
    study_uid: str = ""
    conflict: bool = False
    suffix: str = ""  # tells apart the items of several patients under one accession

    def all(self) -> list[Known]:
        return self.orders + self.reports + self.series + self.exams + self.findings


def _group(
    known: Mapping[str, Known], identities: Mapping[str, Identity], merges: Merges
) -> list[_Group]:
    by_type: dict[type, list[Known]] = defaultdict(list)
    for key in sorted(known):
        by_type[type(known[key].event)].append(known[key])
    groups: dict[str, _Group] = {}

    def group(uid: str) -> _Group:
        return groups.setdefault(f"u:{uid}", _Group(study_uid=uid))

    for k in by_type[SeriesReceived]:
        g = group(k.event.study_uid)  # type: ignore[union-attr]
        g.series.append(k)
        g.accessions.update(k.event.accessions)  # type: ignore[union-attr]
    for k in by_type[ExamProgressed]:
        for uid in k.event.study_uids:  # type: ignore[union-attr]
            g = group(uid)
            g.exams.append(k)
            g.accessions.update(k.event.accessions)  # type: ignore[union-attr]
    for k in by_type[OrderChanged]:
        for uid in k.event.study_uids:  # type: ignore[union-attr]
            group(uid).accessions.update(k.event.accessions)  # type: ignore[union-attr]
    for k in by_type[OrderChanged]:
        _place_order(k, groups, identities, merges)
    for name in [n for n in groups if n.startswith("a:")]:
        _split_patients(groups, name, identities, merges)
    for g in groups.values():
        g.conflict = g.conflict or not _all_one_person(
            [k.event for k in g.series], identities, merges
        )
    for kind, name in ((ReportReceived, "reports"), (ExamProgressed, "exams")):
        for k in by_type[kind]:
            for g in _speaks_of(k.event, groups):
                if k not in getattr(g, name):
                    getattr(g, name).append(k)
    for k in by_type[FindingsMade]:
        group(k.event.study_uid).findings.append(k)  # type: ignore[union-attr]
    return list(groups.values())


def _place_order(
    k: Known, groups: dict[str, _Group], identities: Mapping[str, Identity], merges: Merges
) -> None:
    order = k.event
    assert isinstance(order, OrderChanged)
    names = set(order.accessions) | set(order.previous_accessions)
    placed = False
    for g in [
        g
        for g in groups.values()
        if g.study_uid and (g.study_uid in order.study_uids or names & g.accessions)
    ]:
        images = [s.event for s in g.series]
        if images and not all(_one_person(order, image, identities, merges) for image in images):
            g.conflict = True
            continue
        g.orders.append(k)
        g.accessions.update(order.accessions)
        placed = True
    if placed:
        return
    key = min(order.accessions, default="") or f"{order.sender}:{order.order}"
    g = groups.setdefault(f"a:{key}", _Group())
    g.orders.append(k)
    g.accessions.update(order.accessions)
    g.conflict = g.conflict or any(
        names & o.accessions or o.study_uid in order.study_uids for o in groups.values() if o.series
    )


def _split_patients(
    groups: dict[str, _Group], name: str, identities: Mapping[str, Identity], merges: Merges
) -> None:
    """Orders of several patients under one accession are an item each, and each says so."""
    whole = groups[name]
    people: list[list[Known]] = []
    for k in whole.orders:
        same = next(
            (
                p
                for p in people
                if _all_one_person([*(o.event for o in p), k.event], identities, merges)
            ),
            None,
        )
        if same is None:
            people.append([k])
        else:
            same.append(k)
    if len(people) < 2:
        return
    del groups[name]
    for orders in people:
        events = [k.event for k in orders if isinstance(k.event, OrderChanged)]
        who = next(
            (p for o in events if (p := merges.survivor(o.patient))),
            min(order_node(o) for o in events),
        )
        names = {a for o in events for a in o.accessions}
        groups[f"{name}/{who}"] = _Group(
            orders=orders, accessions=names, conflict=True, suffix=f"/{who}"
        )


def _all_one_person(
    events: list[Event], identities: Mapping[str, Identity], merges: Merges
) -> bool:
    return all(_one_person(a, b, identities, merges) for a, b in combinations(events, 2))


def _one_person(a: Event, b: Event, identities: Mapping[str, Identity], merges: Merges) -> bool:
    if a.patient and b.patient and merges.survivor(a.patient) == merges.survivor(b.patient):
        return True
    if not a.identity or not b.identity:
        return True
    return same_patient(identities[a.identity], identities[b.identity])


def _speaks_of(event: Event, groups: Mapping[str, _Group]) -> list[_Group]:
    """The groups that `event` names; a report or an exam of nothing known waits as a fact."""
    uids = getattr(event, "study_uids", ())
    if uids:
        named = [g for g in groups.values() if g.study_uid in uids]
        if named:
            return named
    return [g for g in groups.values() if set(getattr(event, "accessions", ())) & g.accessions]
