"""The policy: which studies may wait how long, as versioned data. It is looked up, never run."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

#: A number is counted up to so many studies of one patient, or patients; no site's limit is higher.
MOST_COUNTED = 100
#: A trauma is read under four accessions, and one accession may have a CT and a PET: no site's
#: limit is lower.
LEAST_STUDIES = 4
#: Ten years. Longer is a slip, and endless has no deadline.
_LONGEST = 10 * 366 * 24 * 60.0


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Allowance(_Data):
    """How long a study of one class, place or finding may wait; minutes since its clock began."""

    target: float = Field(
        gt=0, le=_LONGEST, description="the turnaround that the reader sees counting down"
    )
    horizon: float = Field(gt=0, le=_LONGEST, description="the wait that decides the order")

    @property
    def target_s(self) -> int:
        """The target in seconds."""
        return round(self.target * 60)

    @property
    def wait(self) -> timedelta:
        """The horizon as a duration."""
        return timedelta(minutes=self.horizon)


class Emergent(_Data):
    """Which order classes go to lane 1, before the list."""

    classes: tuple[str, ...] = ("stat",)


class Policy(_Data):
    """One version of the site's rules, as `policy.toml` holds them. Sound by construction."""

    name: str = Field(min_length=1, max_length=64)
    mode: Literal["vigie", "fifo", "strict_classes"] = "vigie"
    ai: bool = True
    oldest_backlog_days: float = Field(14, gt=0, le=3660)
    historic_after_days: float = Field(7, ge=0, le=36600)
    studies_per_number: int = Field(12, ge=LEAST_STUDIES, le=MOST_COUNTED)
    live: tuple[str, ...] = Field(
        (), description="packages whose flags rank; every other one is in shadow"
    )
    emergent: Emergent = Emergent()
    classes: dict[str, Allowance]
    locations: dict[str, Allowance] = {}
    findings: dict[str, Allowance] = {}
    abstention: Allowance | None = None

    @model_validator(mode="after")
    def _sound(self) -> Policy:
        if "unknown" not in self.classes:
            raise ValueError(
                "classes.unknown is missing: an order without a priority needs a class"
            )
        backlog = self.oldest_backlog_days * 24 * 60
        unflagged = {
            f"classes.{name}": allowance
            for name, allowance in self.classes.items()
            if name not in self.emergent.classes
        }
        unflagged |= {f"locations.{name}": given for name, given in self.locations.items()}
        for where, allowance in unflagged.items():
            if allowance.horizon < backlog:
                raise ValueError(
                    f"{where}.horizon is shorter than the oldest backlog ({backlog:.0f} minutes)"
                )
        for name in self.emergent.classes:
            if name not in self.classes:
                raise ValueError(f"emergent.classes names {name!r}, which classes does not have")
        return self

    @property
    def version(self) -> str:
        """Digest of the whole policy, 16 hex digits: the same rules have the same version."""
        # Sorted: the database gives the keys back in another order, and the policy is the same.
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def order_class(self, name: str) -> str:
        """`name` if the policy knows it, else ``unknown``: never routine by default."""
        return name if name in self.classes else "unknown"

    def without_ai(self) -> Policy:
        """The same policy with AI off: the counterfactual of each read."""
        return self.model_copy(update={"ai": False})

    def fifo(self) -> Policy:
        """First come, first read: the other counterfactual."""
        return self.model_copy(update={"mode": "fifo", "ai": False})


def parse(text: str) -> Policy:
    """The policy in TOML `text`. Raises ValueError with one line per mistake."""
    try:
        return Policy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"no TOML: {error}") from None
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or 'policy'}: {e['msg']}" for e in error.errors())
        raise ValueError("; ".join(lines)) from None


def load(site: Path) -> Policy:
    """The policy of the site's folder. Raises ValueError or OSError."""
    return parse((site / "policy.toml").read_text())
