"""Two rows that turn out to be one reading item: one row stays, and the earlier claim stands."""

from __future__ import annotations

from sqlalchemy import Connection, text

from worklist.sql import audit

#: The claim of the row that goes, and whether the row that stays is claimed too. The audit knows
#: which claim came first: the later one gives way.
_EARLIER = """SELECT (SELECT max(id) FROM audit
                      WHERE study = o.study AND act IN ('next', 'claim')) AS theirs,
                     (SELECT max(id) FROM audit
                      WHERE study = s.study AND act IN ('next', 'claim')) AS ours,
                     s.claimed_by IS NOT NULL AND s.lease_expires_at > clock_timestamp() AS taken,
                     s.claimed_by AS reader
              FROM study s, study o WHERE s.study = :into AND o.study = :study
              AND o.claimed_by IS NOT NULL AND o.lease_expires_at > clock_timestamp()"""
_MOVE = """UPDATE study SET claimed_by = o.claimed_by, lease_token = o.lease_token,
               lease_expires_at = o.lease_expires_at, opened_by = o.claimed_by
           FROM study o WHERE study.study = :into AND o.study = :study"""
_CLOSE = """UPDATE study SET merged_into = :into, claimed_by = NULL, lease_token = NULL,
                lease_expires_at = NULL, changed = txid_current(), changed_at = clock_timestamp()
            WHERE study = :study"""


def merge_rows(connection: Connection, study: str, into: str) -> None:
    """Closes row `study`, which is read under `into` from now on. A reader who loses a claim by it
    is named in the audit.
    """
    values = {"study": study, "into": into}
    claim = connection.execute(text(_EARLIER), values).first()
    if claim is not None:
        if not claim.taken or (claim.theirs or 0) < (claim.ours or 0):
            connection.execute(text(_MOVE), values)
        if claim.taken:
            audit.append(connection, "claim_superseded", into, detail={"by_merge_of": study})
    connection.execute(text(_CLOSE), values)
    audit.append(connection, "merge_rows", study, detail={"into": into})
