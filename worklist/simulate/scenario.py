"""A scenario: what arrives, who reads, which AIs look, which policies are compared."""

from __future__ import annotations

from itertools import combinations, product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from worklist.simulate import limits
from worklist.simulate.closed_forms import NoSteadyState
from worklist.simulate.disciplines import NAMES
from worklist.simulate.engine import Floats, Staff
from worklist.simulate.studies import DAY, HOUR, WEEK, Data, Flag, Kind, Normal, ReadingTime

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SETS = {"all": _DAYS, "weekdays": _DAYS[:5], "weekend": _DAYS[5:]}

Share = Annotated[float, Field(ge=0, le=1)]
Shares = dict[str, Share]
Rate = Annotated[float, Field(ge=0, le=100_000)]
Profile = Annotated[tuple[Rate, ...], Field(min_length=24, max_length=24)]
Time = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Shift(Data):
    """When somebody sits there; an end at or before the start is on the next day."""

    days: str = "all"
    start: Time
    end: Time

    @model_validator(mode="after")
    def _known(self) -> Shift:
        if self.days not in (*_SETS, *_DAYS):
            raise ValueError(
                f"days is {self.days!r}: one of {', '.join((*_SETS, *_DAYS))} is needed"
            )
        return self

    def windows(self) -> list[tuple[float, float]]:
        """Minutes of the week; the last may reach into the next."""
        start, end = (int(t[:2]) * HOUR + int(t[3:]) for t in (self.start, self.end))
        length = (end - start) % DAY or DAY
        days = [_DAYS.index(day) for day in _SETS.get(self.days, (self.days,))]
        return [(day * DAY + start, day * DAY + start + length) for day in days]


class Readers(Data):
    """Readers who are alike. Without subspecialties they read everything, without shifts always."""

    count: int = Field(1, ge=1, le=500)
    subspecialties: tuple[str, ...] = ()
    shifts: tuple[Shift, ...] = ()

    def windows(self) -> list[tuple[float, float]]:
        """Minutes of the week in which each is there: shifts that overlap are one presence. The
        last may reach into the next week, but not into the first there.
        """
        found: list[tuple[float, float]] = []
        for start, end in sorted(w for s in self.shifts for w in s.windows()):
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        while len(found) > 1 and found[0][1] <= found[-1][1] - WEEK:
            del found[0]  # all of it lies in what reaches over from the week before
        if found:
            found[-1] = (found[-1][0], min(found[-1][1], found[0][0] + WEEK))
        return found

    def minutes(self) -> float:
        """Of a week that they read, all together."""
        each = sum(end - start for start, end in self.windows())
        return self.count * (each if self.shifts else WEEK)


class Burst(Data):
    """Many studies at once: an accident, a screening list, a modality that was offline."""

    per_day: float = Field(gt=0, le=100)
    studies: int = Field(ge=2, le=1000)
    over_minutes: float = Field(ge=0, le=1440)
    examination: str = Field("", description="of which; none: of all, by their shares")


class Arrivals(Data):
    """How many studies come: steadily, as a load of the readers, or by the hour of the day."""

    per_hour: float | None = Field(None, gt=0, le=100_000)
    load: float | None = Field(None, gt=0, description="of the readers; they read always")
    weekday: Profile | None = None
    weekend: Profile | None = None
    bursts: tuple[Burst, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Arrivals:
        if sum(x is not None for x in (self.per_hour, self.load, self.weekday)) != 1:
            raise ValueError(
                "say how many come in one way: per_hour, load, or weekday (24 numbers, one an hour)"
            )
        if self.weekend is not None and self.weekday is None:
            raise ValueError("weekend needs weekday beside it")
        if self.load is not None and self.bursts:
            raise ValueError("load cannot have bursts beside it: say per_hour")
        return self


class Disease(Data):
    """What some studies of an examination show; a study shows one at most."""

    name: str
    prevalence: Share
    urgent: bool = False
    read: ReadingTime | None = None
    orders: Shares = Field(default_factory=dict)


class Examination(Data):
    """A kind of study."""

    name: str
    share: Share = 1.0
    subspecialty: str = ""
    read: ReadingTime
    orders: Shares = Field(default_factory=dict)
    locations: Shares = Field(default_factory=dict)
    diseases: tuple[Disease, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Examination:
        if (total := sum(d.prevalence for d in self.diseases)) > 1:
            raise ValueError(
                f"the prevalences add up to {total:g}: a study shows one disease at most"
            )
        for where, shares in (
            ("orders", self.orders),
            ("locations", self.locations),
            *((f"orders of {d.name}", d.orders) for d in self.diseases),
        ):
            if shares and abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"the {where} add up to {sum(shares.values()):g}: make it 1")
        return self


class Scores(Data):
    """Where an AI's scores lie, with the disease and without."""

    diseased: Normal
    other: Normal


class Ai(Data):
    """A package: what it looks at, what it finds, how well: an operating point, or scores and a
    threshold.
    """

    name: str
    code: str = Field(description="the finding code that the policy knows")
    finds: str
    examinations: tuple[str, ...] = Field(min_length=1)
    sensitivity: Share | None = None
    specificity: Share | None = None
    scores: Scores | None = None
    threshold: float | None = None
    after_minutes: float = Field(0, ge=0, le=1440)
    level: int = Field(1, ge=1, le=999, description="its class in hierarchical, 1 is read first")

    @model_validator(mode="after")
    def _one_way(self) -> Ai:
        point = (self.sensitivity is not None, self.specificity is not None)
        scored = (self.scores is not None, self.threshold is not None)
        if (point, scored) not in (((True, True), (False, False)), ((False, False), (True, True))):
            raise ValueError(
                "say how well it finds: sensitivity and specificity, or scores and threshold"
            )
        return self

    def flags(self, disease: str) -> float:
        """Share of studies with `disease` that it flags."""
        target = disease == self.finds
        if self.scores is not None and self.threshold is not None:
            return (self.scores.diseased if target else self.scores.other).above(self.threshold)
        assert self.sensitivity is not None
        assert self.specificity is not None
        return self.sensitivity if target else 1 - self.specificity


class Scenario(Data):
    """A whole scenario; times in minutes and days from a Monday at 0:00."""

    name: str
    seed: int = Field(ge=0, description="the same seed draws the same studies")
    days: float = Field(28, gt=0, le=3660, description="that are counted, of each replication")
    warm_up_days: float = Field(7, ge=0, le=366, description="before and after, not counted")
    replications: int = Field(20, ge=2, le=10_000)
    service: Literal["non-preemptive", "preemptive-resume"] = "non-preemptive"
    policy: str = Field(
        "", description="the list's policy, a file beside this one; none: the site's"
    )
    policies: tuple[str, ...] = ("vigie", "fifo")
    baseline: str = "ai-off"
    guard_minutes: float = Field(240, gt=0, le=100_000)
    worthwhile_minutes: float = Field(15, gt=0, description="sooner by less is not counted as help")
    arrivals: Arrivals
    readers: tuple[Readers, ...] = Field(min_length=1)
    examinations: tuple[Examination, ...] = Field(min_length=1)
    ais: tuple[Ai, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Scenario:
        for name in (self.baseline, *self.policies):
            if name not in NAMES:
                raise ValueError(f"no policy is called {name!r}: there are {', '.join(NAMES)}")
        known = {e.name: {d.name for d in e.diseases} for e in self.examinations}
        if len(known) < len(self.examinations):
            raise ValueError("two examinations have the same name")
        if abs((total := sum(e.share for e in self.examinations)) - 1) > 1e-6:
            raise ValueError(f"the shares of the examinations add up to {total:g}: make it 1")
        for burst in self.arrivals.bursts:
            if burst.examination and burst.examination not in known:
                raise ValueError(f"a burst is of {burst.examination!r}, which is no examination")
        for ai in self.ais:
            if unknown := set(ai.examinations) - set(known):
                raise ValueError(f"{ai.name} looks at {sorted(unknown)}, which are no examinations")
            if not any(ai.finds in known[name] for name in ai.examinations):
                raise ValueError(
                    f"{ai.name} finds {ai.finds!r}, which no examination that it looks at shows"
                )
        self._check_names()
        limits.check_parts(self)
        if self.arrivals.load is not None and not any(k.read.mean for k in self.kinds()):
            raise ValueError("arrivals.load: every read takes 0 minutes: say per_hour")
        self.check_load()
        limits.check_studies(self)
        limits.check_warm_up(self)
        return self

    def _check_names(self) -> None:
        shared = {e.name for e in self.examinations if e.share}
        for burst in self.arrivals.bursts:
            if burst.examination and burst.examination not in shared:
                raise ValueError(f"a burst is of {burst.examination!r}, whose share is 0")
        named = {name for r in self.readers for name in r.subspecialties}
        if unread := sorted(named - set(self.pools)):
            raise ValueError(f"readers: subspecialties {unread} are of no examination")

    # ---- what the event loop needs

    @property
    def pools(self) -> list[str]:
        """Subspecialties; studies without one are everybody's."""
        return ["", *sorted({e.subspecialty for e in self.examinations} - {""})]

    def kinds(self) -> list[Kind]:
        """Every kind of study that can arrive, with its share."""
        found = []
        for exam in self.examinations:
            rest = 1 - sum(d.prevalence for d in exam.diseases)
            nothing = Disease(name="", prevalence=max(0.0, rest))
            for disease in (*exam.diseases, nothing):
                found += self._kinds(exam, disease)
        return [kind for kind in found if kind.share > 0]

    def _kinds(self, exam: Examination, disease: Disease) -> list[Kind]:
        looking = [ai for ai in self.ais if exam.name in ai.examinations]
        calls = [((ai, True), (ai, False)) for ai in looking]
        orders = disease.orders or exam.orders or {"unknown": 1.0}
        found = []
        for order, place, called in product(
            orders.items(), (exam.locations or {"": 1.0}).items(), product(*calls)
        ):
            share = exam.share * disease.prevalence * order[1] * place[1]
            for ai, flagged in called:
                share *= ai.flags(disease.name) if flagged else 1 - ai.flags(disease.name)
            raised = tuple(
                Flag(ai.name, ai.code, ai.after_minutes, ai.level)
                for ai, flagged in called
                if flagged
            )
            found.append(
                Kind(
                    share=share,
                    read=disease.read or exam.read,
                    group=exam.name,
                    disease=disease.name,
                    order_class=order[0],
                    location=place[0],
                    flags=raised,
                    seen_by=tuple(ai.name for ai in looking),
                    pool=self.pools.index(exam.subspecialty),
                )
            )
        return found

    def rates(self) -> Floats:
        """Studies a minute in each hour of the week, bursts not among them."""
        arrivals = self.arrivals
        if arrivals.weekday is None:
            return np.full(168, self.steady_rate())
        weekend = arrivals.weekend or arrivals.weekday
        return np.array([*arrivals.weekday * 5, *weekend * 2]) / HOUR

    def steady_rate(self) -> float:
        """Studies a minute where the rate does not change."""
        if self.arrivals.load is not None:
            work = sum(kind.share * kind.read.mean for kind in self.kinds())
            return self.arrivals.load * sum(r.count for r in self.readers) / work
        return (self.arrivals.per_hour or 0.0) / HOUR

    @property
    def alike(self) -> bool:
        """Whether nothing changes with time and every reader reads everything, as theory wants."""
        steady = self.arrivals.weekday is None and not self.arrivals.bursts
        return steady and not any(r.shifts or r.subspecialties for r in self.readers)

    def staff(self, days: float) -> Staff:
        """All readers, with their shifts of so many days from a Monday on."""
        bits = {name: 1 << number for number, name in enumerate(self.pools)}
        masks: list[int] = []
        shifts: list[tuple[float, float, int]] = []
        for readers in self.readers:
            own = sum(bits.get(name, 0) for name in {"", *readers.subspecialties})
            for _ in range(readers.count):
                reader = len(masks)
                masks.append(own if readers.subspecialties else -1)
                if not readers.shifts:
                    shifts.append((0.0, float("inf"), reader))
                for start, end in readers.windows():
                    # From the week before: its last shift may reach into the first day.
                    weeks = np.arange(-1, int(np.ceil(days / 7))) * WEEK
                    shifts += [(max(0.0, w + start), w + end, reader) for w in weeks if w + end > 0]
        shifts.sort()
        starts, ends, of = (np.array(column) for column in zip(*shifts, strict=True))
        return Staff(np.array(masks, np.int64), starts, ends, of.astype(np.int64))

    def load(self) -> float:
        """The work that arrives over the work that can be read, of the busiest subspecialties."""
        return max(load for load, _ in self._loads())

    def check_load(self) -> None:
        """Raises NoSteadyState, with whose load it is, where the list would grow for ever."""
        load, names = max(self._loads())
        if load >= 1:
            whose = f" of {', '.join(n or 'no subspecialty' for n in names)}" if names else ""
            raise ValueError(f"arrivals{whose}: {NoSteadyState(load)}")

    def _loads(self) -> list[tuple[float, tuple[str, ...]]]:
        """Per set of subspecialties: their work over the minutes of those who can do it."""
        shares = dict.fromkeys(self.pools, 0.0)  # minutes of reading in an average study
        for kind in self.kinds():
            shares[self.pools[kind.pool]] += kind.share * kind.read.mean
        work = {name: float(self.rates().sum()) * HOUR * share for name, share in shares.items()}
        for burst in self.arrivals.bursts:
            chosen = [k for k in self.kinds() if burst.examination in ("", k.group)]
            total = sum(k.share for k in chosen)
            for kind in chosen:
                minutes = kind.share / total * kind.read.mean
                work[self.pools[kind.pool]] += 7 * burst.per_day * burst.studies * minutes
        some = [name for name in self.pools if work[name]]
        sizes = range(1, len(some) + 1) if len(some) <= 12 else (1, len(some))
        found: list[tuple[float, tuple[str, ...]]] = []
        for names in (names for size in sizes for names in combinations(some, size)):
            able = [
                r
                for r in self.readers
                if not r.subspecialties or {"", *r.subspecialties} & {*names}
            ]
            minutes = sum(r.minutes() for r in able)
            need = sum(work[name] for name in names)
            found.append(
                (need / minutes if minutes else float("inf"), names if len(some) > 1 else ())
            )
        return found
