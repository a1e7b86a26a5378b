"""Who may do what to a row, and which acts need a reason: one table, that page and API ask too."""

from __future__ import annotations

from typing import NamedTuple

_NOBODY: frozenset[str] = frozenset()
_READERS = frozenset({"reader", "lead"})
_LEADS = frozenset({"lead"})


class Right(NamedTuple):
    """Roles that may do it to what is their own, and to what is another's; and whether they must
    say why: never, always, or to another's only.
    """

    own: frozenset[str]
    others: frozenset[str]
    reason: str = "never"


#: One's own is: the lease that one holds, the pin that one set, the act that one did.
RIGHTS = {
    "next": Right(_READERS, _READERS),
    "claim": Right(_READERS, _READERS),
    "renew": Right(_READERS, _NOBODY),
    "release": Right(_READERS, _LEADS, "others"),
    "hand_over": Right(_READERS, _NOBODY, "always"),
    "take_over": Right(_READERS, _READERS, "always"),
    "finish": Right(_READERS, _NOBODY),
    "undo": Right(_READERS, _NOBODY),
    "skip": Right(_READERS, _READERS, "always"),
    "outcome": Right(_READERS, _READERS),
    "promote": Right(_READERS, _READERS, "always"),
    "reopen": Right(_READERS, _READERS, "always"),
    "pin": Right(_READERS, _READERS, "always"),
    "unpin": Right(_READERS, _LEADS, "others"),
    "clear_flag": Right(_LEADS, _LEADS, "always"),
    "set_priority": Right(_LEADS, _LEADS, "always"),
    "link": Right(_LEADS, _LEADS, "always"),
    "unlink": Right(_LEADS, _LEADS, "always"),
    "confirm_cancel": Right(_LEADS, _LEADS, "always"),
}


def may(role: str, act: str, own: bool = True) -> bool:
    """Whether a person of that role may do `act` to what is their own, or to another's."""
    right = RIGHTS[act]
    return role in (right.own if own else right.others)


def gives_reason(reason: str) -> bool:
    """Whether a reason says anything that can be seen."""
    return any(letter.isprintable() and not letter.isspace() for letter in reason)


def needs_reason(act: str, own: bool = True) -> bool:
    """Whether `act` has to say why."""
    reason = RIGHTS[act].reason
    return reason == "always" or (reason == "others" and not own)
