"""Reports for a period, and the evidence pack that has all of them with what proves it.

The pack is JSON with sorted members; its SHA-256 is signed by the key that signs checkpoints, for the purpose `report`,
so that a pack on paper or in a folder can be shown to be the one that the gateway made.
"""

from __future__ import annotations

import base64
import json
import statistics
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, Q

from accounts.models import Lock, RoleGrant
from sessions import checkpoint_keys, reports
from sessions.models import CheckpointKey
from sessions.report_controls import CONTROLS
from sessions.reports import MAX_ROWS, Period

from . import least_privilege
from .models import ApprovalDecision, ApprovalRequest, PolicyVersion

PURPOSE: Final = "report"
LONGEST: Final = timedelta(days=400)

Section = Callable[[Period], Any]


def _emergencies(opened: Q) -> dict[str, int]:
    """Return how many requests were approved alone, and what a second person found; empty when nobody has looked."""
    alone = ApprovalRequest.objects.filter(opened, decisions__verdict=ApprovalDecision.Verdict.BREAK_GLASS)
    reviewed = ApprovalDecision.objects.filter(request__in=alone, verdict=ApprovalDecision.Verdict.REVIEW)
    found = Counter(reviewed.values_list("finding", flat=True))
    return {"all": alone.count(), "unreviewed": alone.count() - found.total(), **found}


def approvals(period: Period) -> dict[str, Any]:
    """Return the approval requests that were opened in the period: who asked, who decided, and how long it took."""
    opened = Q(opened_at__gte=period.since, opened_at__lt=period.until)
    asked = ApprovalRequest.objects.filter(opened)
    by_state = {line["state"]: line["count"] for line in asked.values("state").annotate(count=Count("pk"))}
    decided = asked.filter(decided_at__isnull=False).values_list("opened_at", "decided_at")
    seconds = sorted((done - begun).total_seconds() for begun, done in decided[:100_000] if done is not None)
    rows = (
        asked.select_related("principal", "connection")
        .prefetch_related("decisions__user", "decisions__behalf_of")
        .order_by("opened_at", "code")
    )
    lines = [
        {
            "code": row.code,
            "kind": row.kind,
            "state": row.state,
            "principal": row.principal.subject,
            "connection": row.connection.slug,
            "method": row.method,
            "name": row.name,
            "rule": row.rule_name,
            "opened_at": row.opened_at.isoformat(),
            "decided_at": None if row.decided_at is None else row.decided_at.isoformat(),
            "seconds": None if row.decided_at is None else round((row.decided_at - row.opened_at).total_seconds(), 3),
            "decisions": [
                {
                    "by": "" if decision.user is None else decision.user.get_username(),
                    "for": "" if decision.behalf_of is None else decision.behalf_of.get_username(),
                    "verdict": decision.verdict,
                    "finding": decision.finding,
                    "channel": decision.channel,
                    "reason": decision.reason,
                }
                for decision in row.decisions.all()
            ],
        }
        for row in rows[: MAX_ROWS + 1]
    ]
    return {
        "rows": lines[:MAX_ROWS],
        "is_partial": len(lines) > MAX_ROWS,
        "by_state": by_state,
        "emergencies": _emergencies(opened),
        "median_seconds": round(statistics.median(seconds), 3) if seconds else None,
        "p95_seconds": round(seconds[int(len(seconds) * 0.95)], 3) if seconds else None,
    }


def unused(period: Period) -> dict[str, Any]:
    """Return what is granted and was not used from the beginning of the period until its end."""
    days = max(1, (period.until - period.since).days)
    found = least_privilege.report(days=days, now=period.until)
    lines = [
        {
            "grant": line.grant_id,
            "holder": line.title,
            "connection": line.connection,
            "calls": line.calls,
            "last_used": None if line.last_used is None else line.last_used.isoformat(),
            "unused": list(line.unused),
            "used": list(line.used),
        }
        for line in found.lines
        if line.unused or not line.calls
    ]
    return {"rows": lines[:MAX_ROWS], "is_partial": found.is_partial or len(lines) > MAX_ROWS}


def policy(period: Period) -> dict[str, Any]:
    """Return the changes of policy in the period."""
    versions = PolicyVersion.objects.filter(created_at__gte=period.since, created_at__lt=period.until)
    lines = [
        {
            "number": row.number,
            "at": row.created_at.isoformat(),
            "by": row.author_name,
            "source": row.source,
            "comment": row.comment,
            "digest": row.digest,
        }
        for row in versions.defer("document").order_by("number")[: MAX_ROWS + 1]
    ]
    return {"rows": lines[:MAX_ROWS], "is_partial": len(lines) > MAX_ROWS}


def locks(period: Period) -> dict[str, Any]:
    """Return the locks that were placed or lifted in the period."""
    placed = Q(created_at__gte=period.since, created_at__lt=period.until)
    lifted = Q(lifted_at__gte=period.since, lifted_at__lt=period.until)
    rows = Lock.objects.filter(placed | lifted).select_related("actor", "principal", "group", "provider", "connection")
    lines = [
        {
            "of": str(row),
            "reason": row.reason,
            "source": row.source,
            "by": "" if row.actor is None else row.actor.get_username(),
            "created_at": row.created_at.isoformat(),
            "lifted_at": None if row.lifted_at is None else row.lifted_at.isoformat(),
        }
        for row in rows.order_by("created_at")[: MAX_ROWS + 1]
    ]
    return {"rows": lines[:MAX_ROWS], "is_partial": len(lines) > MAX_ROWS}


def roles(period: Period) -> dict[str, Any]:
    """Return who has which role at the console now."""
    rows = RoleGrant.objects.select_related("group__provider", "user").order_by("role", "pk")
    lines = [{"role": row.role, "of": str(row.group or row.user)} for row in rows[: MAX_ROWS + 1]]
    return {"rows": lines[:MAX_ROWS], "is_partial": len(lines) > MAX_ROWS}


SECTIONS: Final[dict[str, tuple[str, Section]]] = {
    "access": ("Access by principal and tool", reports.access),
    "denials": ("Denied calls by rule", reports.denials),
    "masking": ("Masked values", reports.masking),
    "outcomes": ("How calls ended", reports.outcomes),
    "approvals": ("Approvals and the time to decide", approvals),
    "unused": ("Grants that were not used", unused),
    "policy": ("Changes of policy", policy),
    "roles": ("Roles at the console, as they are now", roles),
    "locks": ("Locks that were placed or lifted", locks),
    "readings": ("Who read the record", reports.readings),
    "recordings": ("Recordings that were sealed", reports.recordings),
    "retention": ("Retention and legal holds", reports.retention),
    "deletions": ("What was deleted or released", reports.deletions),
    "verification": ("What proves the record", reports.verification),
}
"""The sections of the pack by name; each is a report by itself as well."""


def evidence(*, period: Period, by: str, now: datetime) -> dict[str, Any]:
    """Return the evidence pack of a period, signed.

    Raises:
        CheckpointKeyUnusable, MasterKeysUnusable: it cannot be signed.
    """
    with transaction.atomic():
        # The first key is made now, so that the pack has it among the public keys.
        checkpoint_keys.take_turns()
        checkpoint_keys.present_kid(now=now)
    pack: dict[str, Any] = {
        "type": "wardgate.evidence",
        "version": 1,
        "since": period.since.isoformat(),
        "until": period.until.isoformat(),
        "made_at": now.isoformat(),
        "made_by": by,
        "totals": reports.totals(period),
        "controls": [control._asdict() for control in CONTROLS],
        "sections": {name: section(period) for name, (_, section) in SECTIONS.items()},
    }
    digest = sha256(canonical(pack)).hexdigest()
    signature = checkpoint_keys.signed(PURPOSE, digest.encode(), now=now)
    key = CheckpointKey.objects.get(pk=signature.kid)
    return {
        "pack": pack,
        "proof": {
            "sha256": digest,
            "algorithm": "Ed25519",
            "key": signature.kid,
            "public_key": base64.b64encode(bytes(key.public_key)).decode(),
            "signature": base64.b64encode(signature.signature).decode(),
        },
    }


def canonical(pack: dict[str, Any]) -> bytes:
    """Return the bytes of a pack that are hashed: JSON, sorted, without blanks, ASCII."""
    return json.dumps(pack, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
