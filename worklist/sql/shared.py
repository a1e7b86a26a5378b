"""Numbers that too many name, and that join nothing by it: listed, so that somebody mends them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from streams.events import Patient
from worklist.order.policy import Policy
from worklist.record.world import MOST_PATIENTS

#: A number alone is named by patients, a number as one patient's by studies of that patient.
_BAD = """FROM node WHERE named IS NOT NULL AND uses > LEAST(:patients, :studies)
          AND uses > CASE WHEN named ? 'patient' THEN :studies ELSE :patients END"""
_LIST = text(f"SELECT uses, named {_BAD} ORDER BY uses DESC, key DESC LIMIT :most")
_ACTIVE = """SELECT (body->>'studies_per_number')::int FROM policy_version
             ORDER BY activated_at DESC, version LIMIT 1"""
_COUNT = text(
    f"""SELECT count(*) FILTER (WHERE NOT of_one) AS patients,
               count(*) FILTER (WHERE of_one) AS studies
        FROM (SELECT named ? 'patient' AS of_one
              {_BAD.replace(":studies", f"({_ACTIVE})")} LIMIT 1000) bad"""
)


@dataclass(frozen=True)
class SharedNumber:
    """One of them.

    Attributes:
        authority: who gives it out, as it was named when it was found to be bad; empty: open.
        named_by: ``patients``, or ``studies`` of one patient.
        count: how many name it; 101 stands for more than a hundred.
        patient: of `studies`: whose, by pseudonym; None where nobody is stated.
    """

    kind: str
    authority: str
    value: str
    named_by: str
    count: int
    patient: Patient | None = None


def listed(connection: Connection, policy: Policy, most: int) -> list[SharedNumber]:
    """The `most` worst of them."""
    rows = connection.execute(
        _LIST,
        {
            "studies": policy.studies_per_number,
            "patients": MOST_PATIENTS,
            "most": most,
        },
    )
    return [_shared(row.uses, row.named) for row in rows]


def _shared(uses: int, named: dict[str, str]) -> SharedNumber:
    whose = named.get("patient")
    return SharedNumber(
        named["kind"],
        named["authority"],
        named["value"],
        "patients" if whose is None else "studies",
        uses,
        Patient(value=whose, authority=named["patient_authority"]) if whose else None,
    )


def counted(connection: Connection) -> dict[str, int]:
    """How many there are under the active policy, by what names them; up to a thousand."""
    row = connection.execute(_COUNT, {"patients": MOST_PATIENTS}).one()
    return dict(row._mapping)
