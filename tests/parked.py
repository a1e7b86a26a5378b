"""What a gateway parks of a message, for tests of what is done with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.errors import Reason
from streams.events import Parked


def parked_message(original: str, at: datetime, **more: Any) -> Parked:
    """The message `original`, sealed, that was refused for a field at `at`; `more` says the rest
    of it, or something else.
    """
    said = {
        "stage": "gateway",
        "topic": "mllp",
        "partition": 0,
        "offset": 0,
        "key": "k",
        "reason": Reason.BAD_FIELD,
        "attempts": 1,
        "parked_at": at,
        "original": original,
    }
    return Parked.model_validate(said | more)
