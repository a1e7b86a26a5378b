"""Whether screening answers, and whether the policy counts it: what a list has to say of its AI.

Only rows that wait are read, by their own index; what models answered lately is asked when some do.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from worklist.order.policy import Policy


@dataclass(frozen=True)
class Screening:
    """How AI stands to the list.

    Attributes:
        off: the active policy ranks without it.
        late: open rows, up to a thousand, whose modality a model answered within 24 h (of what was
            closed meanwhile the newest 5,000 are asked), and which wait for any finding,
            abstentions included, for longer than allowed.
        late_s: for how long the oldest of them has waited since its last image, seconds.
        packages: who answers that modality, as far as its results count.
        silent: open rows of any modality that nobody has answered for an hour.
        reranking: rows, up to a thousand, that another policy ranked.
    """

    off: bool = False
    late: int = 0
    late_s: float = 0.0
    packages: tuple[str, ...] = ()
    silent: int = 0
    reranking: int = 0


_WAITING = text(
    """SELECT modality, count(*) AS rows, count(*) FILTER (WHERE last_image_at
              < clock_timestamp() - interval '1 hour') AS silent,
              EXTRACT(epoch FROM clock_timestamp() - min(last_image_at))::float AS oldest_s
       FROM (SELECT modality, last_image_at FROM item WHERE ai = 'pending'
             AND last_image_at < clock_timestamp() - make_interval(secs => :limit_s)
             ORDER BY last_image_at LIMIT 1000) waiting GROUP BY modality"""
)
_ANSWERED = text(
    """SELECT DISTINCT answered.modality, package FROM (
           SELECT modality, models FROM item WHERE modality = ANY(:modalities) AND ai <> 'pending'
           AND last_image_at > clock_timestamp() - interval '1 day'
           UNION ALL
           SELECT modality, models FROM (
               SELECT modality, models, ai FROM closed
               WHERE closed_at > clock_timestamp() - interval '1 day'
               ORDER BY closed_at DESC LIMIT 5000) newest
           WHERE modality = ANY(:modalities) AND ai <> 'pending') answered
       LEFT JOIN LATERAL jsonb_object_keys(models) package ON true ORDER BY 1, 2"""
)
_OTHERS = text(
    """SELECT (SELECT count(*) FROM (SELECT FROM item WHERE policy_version < :version
                                     LIMIT 1000) earlier)
            + (SELECT count(*) FROM (SELECT FROM item WHERE policy_version > :version
                                     LIMIT 1000) later)"""
)


def screening(connection: Connection, policy: Policy, limit_s: float) -> Screening:
    """How AI stands to the list now; `limit_s`: an answer that takes longer is late, seconds."""
    off = not policy.ai or policy.mode != "vigie"
    reranking = min(1000, connection.scalar(_OTHERS, {"version": policy.version}) or 0)
    waiting = connection.execute(_WAITING, {"limit_s": limit_s}).all()
    if not waiting:
        return Screening(off=off, reranking=reranking)
    modalities = sorted(row.modality for row in waiting)
    answered = connection.execute(_ANSWERED, {"modalities": modalities}).all()
    known = {row.modality for row in answered}
    late = [row for row in waiting if row.modality in known]
    return Screening(
        off=off,
        late=sum(row.rows for row in late),
        late_s=max((row.oldest_s for row in late), default=0.0),
        packages=tuple(sorted({row.package for row in answered if row.package})),
        silent=sum(row.silent for row in waiting),
        reranking=reranking,
    )
