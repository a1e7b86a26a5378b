"""Drawn studies: which kinds there are, how often, when they come and how long they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from worklist.simulate.engine import Floats, Ints

HOUR = 60.0
DAY = 24 * HOUR
WEEK = 7 * DAY


class Data(BaseModel):
    """What a person writes: closed, frozen, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Exponential(Data):
    """Memoryless reading times, as queueing theory likes them."""

    family: Literal["exponential"] = "exponential"
    mean: float = Field(ge=0.001, le=1440, description="minutes")

    @property
    def square(self) -> float:
        """Mean of the square."""
        return 2 * self.mean**2

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """`count` reading times."""
        return random.standard_exponential(count) * self.mean


class Lognormal(Data):
    """Reading times as they are measured: many short, some long."""

    family: Literal["lognormal"]
    mean: float = Field(ge=0.001, le=1440, description="minutes")
    deviation: float = Field(gt=0, le=1440, description="standard deviation, minutes")

    @property
    def square(self) -> float:
        """Mean of the square."""
        return self.mean**2 + self.deviation**2

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """`count` reading times."""
        sigma = np.sqrt(np.log1p((self.deviation / self.mean) ** 2))
        return random.lognormal(np.log(self.mean) - sigma**2 / 2, sigma, count)


class Empirical(Data):
    """Reading times out of a list of measured ones."""

    family: Literal["empirical"]
    values: tuple[Annotated[float, Field(ge=0, le=1440)], ...] = Field(
        min_length=1, description="minutes"
    )

    @property
    def mean(self) -> float:
        """Minutes."""
        return float(np.mean(self.values))

    @property
    def square(self) -> float:
        """Mean of the square."""
        return float(np.mean(np.square(self.values)))

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """`count` reading times."""
        return random.choice(np.array(self.values), count)


ReadingTime = Annotated[Exponential | Lognormal | Empirical, Field(discriminator="family")]


class Normal(Data):
    """Where an AI's scores lie."""

    mean: float
    deviation: float = Field(gt=0)

    def above(self, threshold: float) -> float:
        """Share of scores of at least `threshold`."""
        return 1 - NormalDist(self.mean, self.deviation).cdf(threshold)


@dataclass(frozen=True)
class Flag:
    """An AI's call, `after` minutes from the study's arrival. `level`: its class, 1 the highest."""

    ai: str
    code: str
    after: float = 0.0
    level: int = 1


@dataclass(frozen=True)
class Kind:
    """All that there is to know of a study but its times; studies of one kind rank alike."""

    share: float
    read: Exponential | Lognormal | Empirical
    group: str = ""
    disease: str = ""
    order_class: str = "unknown"
    location: str = ""
    flags: tuple[Flag, ...] = ()
    seen_by: tuple[str, ...] = ()  # the AIs that looked
    pool: int = 0


@dataclass(frozen=True)
class Studies:
    """Some studies, in the order in which the list breaks ties; times in minutes."""

    arrived: Floats
    read: Floats
    kind: Ints
    kinds: Sequence[Kind]
    pool: Ints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", np.array([k.pool for k in self.kinds])[self.kind])

    def __len__(self) -> int:
        return len(self.arrived)


def draw_kinds(
    kinds: Sequence[Kind],
    count: int,
    random: np.random.Generator,
    shares: Sequence[float] | None = None,
) -> Ints:
    """`count` kinds by their shares, or by others."""
    edges = np.cumsum([k.share for k in kinds] if shares is None else shares)
    drawn = np.searchsorted(edges / edges[-1], random.random(count), side="right")
    return np.asarray(drawn, np.int64)


def draw_reads(kinds: Sequence[Kind], kind: Ints, random: np.random.Generator) -> Floats:
    """A reading time for each study. Exponential ones all at once: they are most of them."""
    scale = np.array([k.read.mean if k.read.family == "exponential" else 0.0 for k in kinds])
    result: Floats = random.standard_exponential(len(kind)) * scale[kind]
    for number, one in enumerate(kinds):
        if one.read.family != "exponential":
            chosen = kind == number
            result[chosen] = one.read.draw(random, int(chosen.sum()))
    return result


def steady(kinds: Sequence[Kind], rate: float, count: int, random: np.random.Generator) -> Studies:
    """`count` studies of a Poisson stream of `rate` a minute."""
    arrived = np.cumsum(random.standard_exponential(count)) / rate
    kind = draw_kinds(kinds, count, random)
    return Studies(arrived, draw_reads(kinds, kind, random), kind, kinds)


def weekly(rates: Floats, minutes: float, random: np.random.Generator) -> Floats:
    """Arrivals of a Poisson stream over `minutes` from a Monday at 0:00; `rates`: a minute, one for
    each of the week's 168 hours.
    """
    hours = np.resize(rates, int(np.ceil(minutes / HOUR))) * HOUR
    expected = np.concatenate(([0.0], np.cumsum(hours)))
    count = random.poisson(expected[-1])
    # Given their number, arrivals are independent, in the stretched time in which the rate is one.
    stretched = np.sort(random.random(count)) * expected[-1]
    at = np.interp(stretched, expected, np.arange(len(expected)) * HOUR)
    return np.asarray(at[at < minutes], np.float64)
