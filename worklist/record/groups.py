"""Sets that only ever unite (union-find), whatever their members are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

Member = TypeVar("Member", bound=Any)


class Groups(Generic[Member]):
    """Disjoint sets, each named by its smallest member: the order of joins does not matter."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._of: dict[Member, Member] = {member: member for member in members}

    def copy(self) -> Groups[Member]:
        """The same sets, to try something."""
        other: Groups[Member] = Groups(())
        other._of = dict(self._of)
        return other

    def find(self, member: Member) -> Member:
        """The name of its set."""
        path = []
        while self._of[member] != member:
            path.append(member)
            member = self._of[member]
        for passed in path:
            self._of[passed] = member
        return member

    def join(self, one: Member, other: Member) -> None:
        """Unites two sets."""
        first, second = sorted((self.find(one), self.find(other)))
        self._of[second] = first

    def sets(self) -> dict[Member, list[Member]]:
        """Name → members, in the order in which they were given."""
        found: dict[Member, list[Member]] = defaultdict(list)
        for member in self._of:
            found[self.find(member)].append(member)
        return found
