"""Held calls. Nobody can be asked yet, so a held call is refused, with a sentence that says so."""

from __future__ import annotations

from policies.engine.verdicts import Hold, Verdict
from proxy.ports import Call


class NoApprovals:
    """Leaves every held call held, which refuses it: nobody can be asked, and silence is a denial."""

    async def resolve(self, hold: Hold, call: Call) -> Verdict:
        """Return the hold itself; only an Allow lets a call pass."""
        return hold
