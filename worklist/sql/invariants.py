"""What must hold in the database at any moment: queries that find nothing while all is well. Run by
`vigie check`, tests and drills.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from worklist.sql.models import OPEN

#: Name → a query that finds whatever breaks it, its public name first. Constants only.
INVARIANTS = {
    "a reading item has one row": """
        SELECT item FROM study WHERE merged_into IS NULL GROUP BY item HAVING count(*) > 1""",
    "a study has one row per patient": """
        SELECT study_uid, patient FROM study WHERE merged_into IS NULL AND study_uid <> ''
        GROUP BY 1, 2 HAVING count(*) > 1""",
    "every series is on a row": """
        SELECT f.key FROM fact f WHERE f.type = 'SeriesReceived' AND NOT EXISTS (
            SELECT 1 FROM study s
            WHERE s.merged_into IS NULL AND s.study_uid = f.body->>'study_uid')""",
    "every order is on a row": """
        SELECT f.key FROM fact f WHERE f.type = 'OrderChanged' AND NOT EXISTS (
            SELECT 1 FROM study s WHERE s.merged_into IS NULL AND s.nodes && f.nodes)""",
    "every row has a fact": """
        SELECT study FROM study s
        WHERE NOT EXISTS (SELECT 1 FROM fact f WHERE f.nodes && s.nodes)""",
    "a merged row leads to a live one": """
        SELECT s.study FROM study s JOIN study t ON t.study = s.merged_into
        WHERE t.merged_into = s.study OR s.merged_into = s.study""",
    "a merged row holds no claim": """
        SELECT study FROM study WHERE merged_into IS NOT NULL AND claimed_by IS NOT NULL""",
    "lane 3 is what cannot be read": f"""
        SELECT study FROM study WHERE {OPEN}
        AND (lane = 3) <> (state IN ('expected', 'arriving'))""",
    "a flag is never withdrawn by a machine": """
        SELECT s.study FROM study s JOIN fact f ON f.type = 'FindingsMade'
            AND f.body->>'study_uid' = s.study_uid AND f.body->>'outcome' = 'flagged'
        WHERE s.merged_into IS NULL AND s.ai <> 'flagged' AND s.cleared = '[]'
        AND f.body->>'constancy' IS DISTINCT FROM 'false' AND EXISTS (
            SELECT 1 FROM policy_version p
            WHERE p.version = s.policy_version AND p.body->'live' ? (f.body->>'package'))""",
    "every decision is in the audit": """
        SELECT study FROM study s WHERE merged_into IS NULL AND NOT EXISTS (
            SELECT 1 FROM audit a WHERE a.study = s.study AND a.act = 'rank'
            AND (a.detail->>'lane')::int = s.lane
            AND (a.detail->>'due_at')::timestamptz = s.due_at)""",
    "a row names a policy that was active": """
        SELECT study FROM study
        WHERE policy_version NOT IN (SELECT version FROM policy_version)""",
}


def violations(connection: Connection) -> dict[str, list[str]]:
    """What does not hold, each with up to ten of the rows that break it; empty when all is well."""
    found = {}
    for name, query in INVARIANTS.items():
        rows = connection.execute(text(query + " LIMIT 10")).all()
        if rows:
            found[name] = [str(row[0]) for row in rows]
    return found
