"""Figures of the inbox: how soon people decide, how much expires, and which rules ask more than they find."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

DAYS = 30
MOST_RULES = 50
_QUERY = """
WITH seen AS (
    SELECT r.rule_name AS rule, r.state, r.opened_at, r.decided_at, r.end_reason,
        EXISTS (
            SELECT FROM policies_approvaldecision d WHERE d.request_id = r.id AND d.verdict = 'break_glass'
        ) AS alone
    FROM policies_approvalrequest r WHERE r.opened_at > %s AND r.opened_at <= %s
)
SELECT CASE WHEN GROUPING(rule) = 1 THEN NULL ELSE rule END AS rule,
    count(*) AS asked,
    count(*) FILTER (WHERE state = 'held') AS waiting,
    count(*) FILTER (WHERE decided_at IS NOT NULL AND state <> 'rejected') AS approved,
    count(*) FILTER (WHERE state = 'rejected') AS rejected,
    count(*) FILTER (WHERE state = 'expired' AND decided_at IS NULL) AS expired,
    count(*) FILTER (WHERE state = 'cancelled') AS withdrawn,
    count(*) FILTER (WHERE alone) AS emergencies,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - opened_at))
        FILTER (WHERE decided_at IS NOT NULL) AS p50,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - opened_at))
        FILTER (WHERE decided_at IS NOT NULL) AS p95
FROM seen GROUP BY GROUPING SETS ((rule), ()) ORDER BY GROUPING(rule) DESC, asked DESC LIMIT %s
"""


def figures(*, now: datetime) -> dict[str, Any]:
    """Return the figures of the last `DAYS` days, of all requests and of each rule; times in seconds.

    `noise` of a rule is the part of what it stopped that people approved: near 1, it asks them for nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, [now - timedelta(days=DAYS), now, MOST_RULES + 1])
        columns = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        decided = row["approved"] + row["rejected"]
        row["noise"] = round(100 * row["approved"] / decided) if decided else None
        ended = decided + row["expired"]
        row["expiry"] = round(100 * row["expired"] / ended) if ended else None
        for name in ("p50", "p95"):
            row[name] = None if row[name] is None else int(float(row[name]) * 1_000_000)
    return {"total": rows[0], "rules": rows[1:], "days": DAYS}
