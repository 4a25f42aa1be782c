"""The first page of the console: what the gateway did in the last hour, and what wants attention."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from connections import selectors as connection_selectors
from policies import services as policy_services
from policies.models import PolicyState
from proxy import wiring
from sessions import selectors as session_selectors
from sessions.checkpoint_state import record_state

RECENT_SESSIONS = 8


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the overview to the context of the index; each part only for those who may see what it counts."""
    now = timezone.now()
    user: Any = request.user
    path = wiring.current()
    context["is_refusing"] = path is not None and not path.is_ready
    if user.has_perm("gateway_sessions.view_session"):
        sessions = session_selectors.sessions_visible_to(user=user)
        context["verdicts"] = session_selectors.verdicts_since(since=now - timedelta(hours=1))
        context["open_sessions"] = sessions.filter(ended_at=None).count()
        context["recent_sessions"] = list(sessions[:RECENT_SESSIONS])
    if user.has_perm("gateway_sessions.view_gatewayinstance"):
        alive = session_selectors.instances_alive(now=now, dead_seconds=settings.WARDGATE_INSTANCE_DEAD_SECONDS)
        context["instances_alive"] = alive.count()
    if user.has_perm("gateway_sessions.view_checkpoint"):
        context["record"] = record_state(now=now)
    if user.has_perm("connections.view_connection"):
        context["without_credential"] = list(connection_selectors.connections_without_credential()[:20])
    if user.has_perm("connections.view_tool"):
        context["tools_to_review"] = connection_selectors.tools_to_review().count()
    if user.has_perm("policies.see_all_approvalrequest"):
        context["emergencies"] = policy_services.emergencies().count()
        context["emergencies_overdue"] = policy_services.reviews_overdue(now=now).count()
    if user.has_perm("policies.view_policystate"):
        context["policy"] = PolicyState.objects.first()
    return context
