"""What gateways say of a sender, added up: each counts since it started, and starts anew. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from streams.events import SenderSeen

_HOUR = timedelta(hours=1)
#: So long what was heard is remembered hour by hour.
MEMORY = timedelta(weeks=8)
_MINUTES = 10
#: So many different procedures that are no imaging are kept of one sender.
_SAMPLES = 50


@dataclass(frozen=True)
class Counts:
    """What a gateway had counted when it spoke last, since it started."""

    since: datetime | None
    answers: Mapping[str, int]
    refusals: Mapping[str, int]
    not_imaging: Mapping[str, int]

    @classmethod
    def of(cls, word: SenderSeen) -> Counts:
        """Those of `word`."""
        return cls(word.since, word.answers, word.refusals, word.not_imaging)


@dataclass
class Heard:
    """A sender at one door, over all gateways.

    Attributes:
        recent: messages by minute (seconds since 1970), of the last ten.
    """

    known_since: datetime
    last_at: datetime | None = None
    answers: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    not_imaging: Counter[str] = field(default_factory=Counter)
    recent: Counter[int] = field(default_factory=Counter)

    def hear(self, word: SenderSeen, before: Counts | None) -> list[tuple[datetime, int]]:
        """Adds what `word` says beyond `before`, the last word of the same gateway.

        Returns:
            For each hour that a silence which has now ended touched, how long it had become there,
            seconds.
        """
        before = None if before is None or _began_anew(before, word) else before
        came = _more(word.answers, before.answers if before else {})
        self.answers.update(came)
        self.refusals.update(_more(word.refusals, before.refusals if before else {}))
        for name, count in _more(word.not_imaging, before.not_imaging if before else {}).items():
            if name in self.not_imaging or len(self.not_imaging) < _SAMPLES:
                self.not_imaging[name] += count
        if came:
            minute = int(word.at.timestamp()) // 60 * 60
            self.recent[minute] += came.total()
            newest = max(self.recent) - _MINUTES * 60
            self.recent = Counter({at: n for at, n in self.recent.items() if at > newest})
        last = self.last_at
        if word.last_at is None or (last is not None and word.last_at <= last):
            return []
        self.last_at = word.last_at
        return [] if last is None else list(silences(last, word.last_at))

    def per_minute(self, now: datetime) -> float:
        """Messages a minute over the last ten; over fewer, of a sender that is younger."""
        oldest = now.timestamp() - _MINUTES * 60
        came = sum(count for at, count in self.recent.items() if at > oldest - 60)
        known = (now - self.known_since).total_seconds() / 60
        return came / min(max(known, 1.0), _MINUTES)


def _began_anew(before: Counts, word: SenderSeen) -> bool:
    """Whether the gateway was started between the two; one that does not say when counts less."""
    pairs = ((before.answers, word.answers), (before.refusals, word.refusals))
    return before.since != word.since or any(
        count > now.get(name, 0) for was, now in pairs for name, count in was.items()
    )


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> Counter[str]:
    return Counter(
        {name: more for name, count in now.items() if (more := count - before.get(name, 0)) > 0}
    )


def silences(since: datetime, until: datetime) -> Iterator[tuple[datetime, int]]:
    """Nothing was heard between the two: for each hour, how long that had been at its longest."""
    hour = _hour_of(max(since, until - MEMORY))
    while hour <= until:
        yield hour, int((min(hour + _HOUR, until) - since).total_seconds())
        hour += _HOUR


def _hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
