"""The list in numbers, kept while it changes: nothing here reads what is closed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class Tally:
    """How many rows are in one state and lane; a closed row's state is ``read``, ``final``,
    ``cancelled`` or ``historic``.
    """

    state: str
    lane: int
    flagged: bool
    rows: int


@dataclass(frozen=True)
class Depth:
    """One lane: open rows, how long the oldest has waited (seconds), rows past their target."""

    lane: int
    unread: int
    oldest_s: float
    overdue: int


def tallies(connection: Connection) -> list[Tally]:
    """All rows ever, counted."""
    rows = connection.execute(
        text("""SELECT state, lane, flagged, sum(rows)::bigint AS rows FROM tally
                GROUP BY 1, 2, 3 HAVING sum(rows) <> 0 ORDER BY 1, 2, 3""")
    )
    return [Tally(**row._mapping) for row in rows]


def depths(connection: Connection) -> list[Depth]:
    """Each lane of the open list."""
    rows = connection.execute(
        text("""SELECT lanes.lane, COALESCE(t.unread, 0)::bigint AS unread,
                       GREATEST(EXTRACT(epoch FROM clock_timestamp() - oldest.clock), 0)::float
                           AS oldest_s, late.overdue
                FROM generate_series(0, 3) AS lanes(lane)
                LEFT JOIN (SELECT lane, sum(rows) AS unread FROM tally
                           WHERE state IN ('expected', 'arriving', 'readable', 'preliminary')
                           GROUP BY lane) t USING (lane),
                LATERAL (SELECT min(clock) AS clock FROM item WHERE item.lane = lanes.lane) oldest,
                LATERAL (SELECT count(*) AS overdue FROM item
                         WHERE item.lane = lanes.lane AND target_at < clock_timestamp()) late
                ORDER BY lanes.lane""")
    )
    return [Depth(row.lane, row.unread, row.oldest_s or 0.0, row.overdue) for row in rows]


@dataclass(frozen=True)
class Brief:
    """Open rows of each lane without those whose report is preliminary, which are `to_validate`;
    and those that can be read and carry a flag.
    """

    lanes: dict[str, int]
    flagged: int
    to_validate: int


def brief(connection: Connection) -> Brief:
    """The whole list in a few numbers, of the counts alone."""
    rows = connection.execute(
        text("""SELECT lane, state = 'preliminary' AS reported, flagged, sum(rows)::int AS rows
                FROM tally WHERE state IN ('expected', 'arriving', 'readable', 'preliminary')
                GROUP BY 1, 2, 3""")
    ).all()
    unread = [row for row in rows if not row.reported]
    lanes = dict.fromkeys("0123", 0)
    for row in unread:
        lanes[str(row.lane)] += row.rows
    return Brief(
        lanes,
        sum(row.rows for row in unread if row.flagged and row.lane < 3),
        sum(row.rows for row in rows if row.reported),
    )


def flagged(connection: Connection) -> int:
    """Open rows that can be read and carry a flag."""
    return int(
        connection.scalar(
            text("""SELECT COALESCE(sum(rows), 0) FROM tally WHERE flagged AND lane < 3
                    AND state IN ('expected', 'arriving', 'readable', 'preliminary')""")
        )
        or 0
    )


def unanswered(connection: Connection) -> int:
    """Open rows, up to a thousand, that no model has answered an hour after their last image: their
    series were lost on the way to screening or back, or nothing screens.
    """
    return int(
        connection.scalar(
            text("""SELECT count(*) FROM (SELECT FROM item WHERE ai = 'pending'
                    AND last_image_at < clock_timestamp() - interval '1 hour' LIMIT 1000) late""")
        )
        or 0
    )


def fold(connection: Connection) -> int:
    """Adds up the differences that were committed; returns how many there were."""
    return int(
        connection.scalar(
            text("""WITH taken AS (DELETE FROM tally WHERE id IN (
                         SELECT id FROM tally FOR UPDATE SKIP LOCKED)
                         RETURNING state, lane, flagged, rows),
                     summed AS (INSERT INTO tally (state, lane, flagged, rows)
                         SELECT state, lane, flagged, sum(rows) FROM taken GROUP BY 1, 2, 3
                         HAVING sum(rows) <> 0)
                SELECT count(*) FROM taken""")
        )
        or 0
    )


def packages(connection: Connection) -> list[tuple[str, str]]:
    """(package, version) of all that have looked at something, by steps from one to the next."""
    rows = connection.execute(
        text("""WITH RECURSIVE seen(package, version) AS (
                    (SELECT body->>'package', body->>'package_version' FROM fact
                     WHERE type = 'FindingsMade' AND body->>'package' > ''
                     ORDER BY 1, 2 LIMIT 1)
                    UNION ALL
                    SELECT after.package, after.version FROM seen, LATERAL (
                        SELECT body->>'package' AS package, body->>'package_version' AS version
                        FROM fact WHERE type = 'FindingsMade'
                        AND (body->>'package', body->>'package_version')
                            > (seen.package, seen.version)
                        ORDER BY 1, 2 LIMIT 1) after)
                SELECT package, version FROM seen""")
    )
    return [(row.package, row.version) for row in rows]
