"""The approver of the demo: decides about held calls through the REST API, with a token made for one tour."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2

from accounts.models import ApiToken
from accounts.services import api_token_create, api_token_revoke, person_log_in

from .people import PEOPLE

NAME = "bob"
LOOK_SECONDS = 0.2
TOKEN_MINUTES = 5


@dataclass(frozen=True, slots=True)
class Decision:
    """What the approver says about one call."""

    approve: bool
    reason: str


def badge(*, issuer: str, now: datetime) -> tuple[ApiToken, str]:
    """Return an API token of the approver, who gets the roles of their groups as by a login.

    Raises:
        NotAllowed: the person has no role any more, or is locked.
        ValidationError: the token cannot be saved.
    """
    bob = PEOPLE[NAME]
    user = person_log_in(
        issuer=issuer,
        subject=bob.subject,
        display_name=bob.name,
        email=bob.email,
        groups=frozenset(bob.groups),
        now=now,
    )
    until = now + timedelta(minutes=TOKEN_MINUTES)
    return api_token_create(
        user=user, name="demo tour", scopes=["read", "approve"], expires_at=until, actor=user, now=now
    )


def give_back(token: ApiToken, *, now: datetime) -> None:
    """Revoke the token of a tour that has ended."""
    api_token_revoke(token_id=token.pk, actor=token.user, now=now)


async def decide(api: str, token: str, decisions: Mapping[str, Decision]) -> None:
    """Decide about held refunds by their order, until this is cancelled; what is not named stays as it is.

    Args:
        api: address of the REST API, with a slash at its end.
        token: of the approver.
        decisions: by the order that would be refunded.

    Raises:
        httpx2.HTTPError: the API cannot be reached, or refuses.
    """
    async with httpx2.AsyncClient(base_url=api, headers={"Authorization": f"Bearer {token}"}, timeout=10) as http:
        while True:
            waiting = await http.get("approvals/", params={"state": "held", "limit": "50"})
            waiting.raise_for_status()
            for row in waiting.json()["results"]:
                decision = decisions.get((row["arguments"] or {}).get("order_id", ""))
                if decision is not None and row["name"] == "refund_order" and row["principal"]:
                    said = {"approve": decision.approve, "reason": decision.reason, "seen_at": row["changed_at"]}
                    await http.post(f"approvals/{row['id']}/decide/", json=said)
            await asyncio.sleep(LOOK_SECONDS)
