"""What persons did to rows, as assertions: sealed in the topic, replayed like any fact."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from streams.events import Digest, Instant, Number, Patient, Text

#: A row is named by the id of one of its members.
Member = Digest

ActName = Literal[
    "finish",
    "undo",
    "reopen",
    "pin",
    "unpin",
    "promote",
    "clear_flag",
    "set_priority",
    "link",
    "unlink",
    "confirm_cancel",
    "outcome",
    "skip",
]

#: What may have come of a study; the locales say it in words.
OUTCOMES = (
    "critical_result_called",
    "referrer_called",
    "recall_for_images",
    "poor_quality",
    "second_reading",
)


class Cleared(BaseModel):
    """One result that a person withdrew: a package's, on one input of one series."""

    model_config = ConfigDict(frozen=True)

    package: str
    series_uid: str
    input_digest: str


class Act(BaseModel):
    """One act of one person.

    Attributes:
        item: the member by which the row was named.
        numbers: the joining numbers of the row, by which the act is found.
        patients: the patient numbers that the row states: a number that too many patients name
            finds the act only as theirs.
        fragments: of `finish`: the event ids of the fragments that the reader had seen.
        reports: of `finish`: the event ids of the reports and orders that were seen.
        cleared: of `clear_flag`: the results that were withdrawn.
        code: of `set_priority` the order class, of `outcome` the outcome.
        order: of `link` and `unlink`: the member id of the order.
        undoes: of `undo`: the id of the act that is undone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    act_id: Digest
    act: ActName
    item: Member
    actor: str
    role: str = ""
    at: Instant
    reason: Text = ""
    numbers: tuple[Number, ...] = ()
    patients: tuple[Patient, ...] = ()
    fragments: tuple[Digest, ...] = ()
    reports: tuple[Digest, ...] = ()
    cleared: tuple[Cleared, ...] = ()
    code: str = ""
    order: Member | None = None
    undoes: Digest | None = None

    @property
    def place(self) -> tuple[datetime, str]:
        """The order of acts: the database's clock, ties by id."""
        return self.at, self.act_id


class Acts:
    """The acts that stand: what was undone is left out."""

    def __init__(self, acts: list[Act]) -> None:
        undone = {act.undoes for act in acts if act.act == "undo"}
        self._acts = sorted(
            (a for a in acts if a.act != "undo" and a.act_id not in undone), key=lambda a: a.place
        )

    def of(self, members: frozenset[str], *names: ActName) -> list[Act]:
        """The acts of these names on a row that has these members, oldest first."""
        return [act for act in self._acts if act.act in names and act.item in members]

    def last(self, members: frozenset[str], *names: ActName) -> Act | None:
        """The newest of them."""
        found = self.of(members, *names)
        return found[-1] if found else None

    def words(self) -> list[Act]:
        """What persons said of orders and rows: links and unlinks, oldest first."""
        return [act for act in self._acts if act.act in ("link", "unlink")]

    def finishes(self) -> list[Act]:
        """All that was finished, oldest first."""
        return [act for act in self._acts if act.act == "finish"]
