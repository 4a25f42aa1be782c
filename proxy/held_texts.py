"""PURE: what the client of a held call reads: a text that a model can act on, and the same as data."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any, Final

from proxy.held import Standing

KEY: Final = "wardgate/approval"
LOST_ACCESS: Final = "the caller lost access while the call was held"
"""Why a held call does not run whose caller has been cut off meanwhile."""
_LONGEST: Final = 300


def line(text: str, limit: int = _LONGEST) -> str:
    """Return what a person or an upstream wrote as one harmless line."""
    kept = (letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in text[: 4 * limit])
    cleaned = " ".join("".join(kept).split()).replace('"', "'")
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def waiting(standing: Standing) -> str:
    """Return the short text of progress: clients draw it on one line."""
    return (
        f"Waiting for approval {standing.code} ({line(standing.waits_for, 60)}, expires {_clock(standing.expires_at)}) "
        f"{standing.url}"
    )


def changed(standing: Standing, what: str) -> str:
    """Say that something which an approval is bound to is not what it was when it was given."""
    return (
        f'NOT EXECUTED. "{line(what, 100)}" was approved ({standing.code}), but the policy, the connection or the '
        "approval itself has changed since. Calling again asks anew."
    )


def unknown(standing: Standing) -> str:
    """Say that nobody knows what came of a call that was sent."""
    return (
        "Approved and sent, but the upstream answer was lost. It may have run. Do not repeat; check, then ask the "
        f"user. ({standing.code})"
    )


def final(standing: Standing, what: str, connection: str) -> str:
    """Say what became of a held call, or how to go on when its client can wait no longer.

    Args:
        standing: where the request stands.
        what: the name of what was called.
        connection: its name, for people.
    """
    name = f'"{line(what, 100)}"'
    match standing.state:
        case "rejected":
            by, why = line(standing.decided_by, 80) or "an approver", line(standing.reason)
            return (
                f"NOT EXECUTED. Denied by {by} at {_clock(standing.decided_at)} UTC: "
                f'"{why}" ({standing.code}). Do not retry or work around; ask the user.'
            )
        case "expired":
            return f"NOT EXECUTED. Approval {standing.code} expired without a decision. Calling again asks anew."
        case "cancelled":
            return f"NOT EXECUTED. Approval {standing.code} was withdrawn. Calling again asks anew."
        case _:
            return (
                f"NOT EXECUTED. {name} on connection {line(connection, 60)} needs approval {standing.code} "
                f"(rule: {line(standing.rule, 80)}). Status: waiting for {line(standing.waits_for, 80)} until "
                f"{_clock(standing.expires_at)} UTC. {standing.url}. Tell the user; when it is approved, call the same "
                "tool again with exactly the same arguments. Changing the arguments starts a new approval. Do not try "
                "another way to do this."
            )


def data(standing: Standing, *, may_repeat: bool) -> dict[str, Any]:
    """Return the same for programs, to stand under `_meta`."""
    return {
        "approval_id": standing.code,
        "status": "pending" if standing.state in {"held", "approved"} else standing.state,
        "url": standing.url,
        "expires_at": datetime.fromtimestamp(standing.expires_at, UTC).isoformat(timespec="seconds"),
        "rule": standing.rule,
        "retry": "same_arguments" if may_repeat else "no",
    }


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M")
