"""Which picture belongs to a row: that of its most probable flag that stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

_FOUND = text(
    """SELECT body FROM fact
       WHERE nodes && CAST(:nodes AS text[]) AND type = 'FindingsMade'
       AND body->>'outcome' = 'flagged' AND body->>'key_image' IS NOT NULL"""
)


def key_image_of(connection: Connection, row: Mapping[str, Any]) -> str | None:
    """The place of a row's key image, by its `queue.detail`; None where there is none.

    A flag that a person withdrew has none, nor has a package in shadow.
    """
    standing = {tuple(result) for result in row["results"]}
    if row["ai"] != "flagged" or not standing:
        return None
    found = [
        (max((one["probability"] for one in body["findings"] if one["flagged"]), default=0.0), body)
        for (body,) in connection.execute(_FOUND, {"nodes": row["nodes"]})
        if (body["package"], body["series_uid"], body["input_digest"]) in standing
    ]
    if not found:
        return None
    _, best = max(found, key=lambda one: (one[0], one[1]["screened_at"]))
    return str(best["key_image"])
