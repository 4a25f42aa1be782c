"""What a connection's page shows of clients that give up while their calls are held."""

from __future__ import annotations

from typing import Any

from django import template

from policies import selectors
from policies.engine.client_kinds import advice

register = template.Library()
_MOST = 20


@register.inclusion_tag("admin/policies/clientpatience/of_connection.html")
def impatient_clients(user: Any, connection: Any) -> dict[str, Any]:
    """Return the clients that gave up on this connection, newest first, each with what to change at it."""
    found = selectors.patiences_visible_to(user=user).filter(connection=connection, gave_up_seconds__isnull=False)
    rows = [
        (row, advice(row.user_agent, row.client_name, row.gave_up_seconds or 0.0))
        for row in found.order_by("-changed_at")[:_MOST]
    ]
    return {"rows": rows, "connection": connection, "may_set": user.has_perm("policies.add_clientbudget")}
