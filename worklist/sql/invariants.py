"""What must hold in the database at any moment: queries that find nothing while all is well. Run by
`vigie check`, tests and drills; they read closed rows too, and may take minutes.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_ROWS = """(SELECT name, NULL::timestamptz AS closed_at, uid, person, birth_date, members,
                   fragments, reports, ai, cleared_by FROM item
            UNION ALL
            SELECT name, closed_at, uid, person, birth_date, members, fragments, reports, ai,
                   cleared_by FROM closed)"""

#: A row that went to the archive takes its facts' place with it: what was received before the
#: oldest row that is left is not asked for.
_KEPT = """f.received > CASE WHEN EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'archive')
                         THEN (SELECT min(closed_at) FROM closed) ELSE '-infinity' END"""

#: Name → a query that finds whatever breaks it, its public name first. Constants only.
INVARIANTS = {
    "a row is open or closed": """
        SELECT name FROM item JOIN closed USING (name)""",
    "what is read was read by somebody": """
        SELECT name FROM closed WHERE state = 'read' AND finished_at IS NULL""",
    "a flagged row leaves the list by a person, a report or its cancellation": """
        SELECT name FROM closed WHERE ai = 'flagged' AND state = 'historic'""",
    "a study has one row per person": f"""
        SELECT min(name) FROM {_ROWS} r WHERE uid <> '' AND person <> ''
        GROUP BY uid, person, birth_date HAVING count(*) > 1""",
    "every series is on one row": f"""
        SELECT f.key FROM fact f
        LEFT JOIN (SELECT unnest(fragments) AS key FROM {_ROWS} r) p ON p.key = f.key
        WHERE f.type = 'SeriesReceived' AND {_KEPT}
        GROUP BY f.key HAVING count(p.key) <> 1""",
    "every order and report is on a row": f"""
        SELECT f.key FROM fact f
        LEFT JOIN (SELECT unnest(reports) AS key FROM {_ROWS} r) p ON p.key = f.key
        WHERE f.type IN ('OrderChanged', 'ReportReceived') AND {_KEPT} AND p.key IS NULL
        AND NOT EXISTS (SELECT 1 FROM fact h WHERE h.nodes && f.nodes
                        AND h.type = 'OrderChanged' AND h.body->>'imaging' = 'false')""",
    "a row answers to its members": f"""
        SELECT r.name FROM {_ROWS} r CROSS JOIN LATERAL unnest(r.members) AS named
        LEFT JOIN member m ON m.member = named
        WHERE m.name IS DISTINCT FROM r.name OR m.closed_at IS DISTINCT FROM r.closed_at""",
    "a row is named by one of its members": f"""
        SELECT r.name FROM {_ROWS} r WHERE NOT (r.name = ANY (r.members))""",
    "a flag is never withdrawn by a machine": f"""
        SELECT min(r.name) FROM fact f JOIN {_ROWS} r ON r.uid = f.body->>'study_uid'
        JOIN policy_version p ON p.version = (
            SELECT version FROM policy_version ORDER BY activated_at DESC, version LIMIT 1)
        WHERE f.type = 'FindingsMade' AND f.body->>'outcome' = 'flagged'
        AND f.body->>'constancy' IS DISTINCT FROM 'false' AND p.body->'live' ? (f.body->>'package')
        GROUP BY f.key HAVING NOT bool_or(r.ai IN ('flagged', 'withdrawn'))""",
    "a flag is withdrawn by somebody": f"""
        SELECT name FROM {_ROWS} r WHERE ai = 'withdrawn' AND cleared_by = ''""",
    "every decision is in the audit": """
        SELECT name FROM item i WHERE NOT EXISTS (
            SELECT 1 FROM audit a WHERE a.item = i.name AND a.act = 'rank'
            AND (a.detail->>'open')::boolean AND a.detail->>'state' = i.state
            AND (a.detail->>'lane')::int = i.lane
            AND (a.detail->>'due_at')::timestamptz = i.due_at)""",
    "a finish closes one row": """
        SELECT a.item FROM audit a JOIN audit r ON r.xid = a.xid AND r.act = 'rank'
            AND r.detail->>'finish' = a.detail->>'act_id'
        WHERE a.act = 'finish' GROUP BY a.id, a.item HAVING count(DISTINCT r.item) > 1""",
    "a row names a policy that was active": """
        SELECT name FROM item WHERE policy_version NOT IN (SELECT version FROM policy_version)""",
    "the counts are those of the list": """
        SELECT DISTINCT state || ' ' || lane FROM (
            SELECT state, lane, ai = 'flagged' AS flagged, count(*) AS rows FROM item
            GROUP BY 1, 2, 3) i
        FULL JOIN (
            SELECT state, lane, flagged, sum(rows) AS rows FROM tally
            WHERE state IN ('expected', 'arriving', 'readable', 'preliminary')
            GROUP BY 1, 2, 3) t USING (state, lane, flagged)
        WHERE COALESCE(i.rows, 0) <> COALESCE(t.rows, 0)""",
}


def violations(connection: Connection) -> dict[str, list[str]]:
    """What does not hold, each with up to ten of the rows that break it; empty when all is well."""
    found = {}
    for name, query in INVARIANTS.items():
        rows = connection.execute(text(query + " LIMIT 10")).all()
        if rows:
            found[name] = [str(row[0]) for row in rows]
    return found
