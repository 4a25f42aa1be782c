"""The numbers of this gateway process in Prometheus' text format, for a monitoring system that may see the record.

Numbers of the data path are those of the process that answers; a scraper asks each process by its own address.
Sources: Prometheus exposition format 0.0.4.
"""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from accounts.rest_authentication import scopes_by_method
from proxy import wiring

_HELP = {
    "wardgate_ready": (
        "gauge",
        "1 when a call could pass: the record can be written, the policy is current.",
    ),
    "wardgate_record_up": ("gauge", "1 while events are being written."),
    "wardgate_record_waiting_events": (
        "gauge",
        "Events that wait for their commit; at the bound calls are refused.",
    ),
    "wardgate_record_queue_bound_events": ("gauge", "Most events that may wait."),
    "wardgate_record_events_total": ("counter", "Events made durable."),
    "wardgate_record_batches_total": ("counter", "Commits."),
    "wardgate_record_refused_total": ("counter", "Calls refused because their intent could not be written."),
    "wardgate_record_reconnects_total": ("counter", "Times the connection of the record was made again."),
    "wardgate_calls_live": ("gauge", "Calls and streams under way."),
    "wardgate_calls_held": ("gauge", "Clients that wait for an approval."),
    "wardgate_policy_version": ("gauge", "Version of policy in force."),
}


def exposition(numbers: dict[str, float]) -> str:
    """Return the numbers in Prometheus' text format."""
    lines: list[str] = []
    for name, value in numbers.items():
        kind, text = _HELP[name]
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
    return "\n".join([*lines, ""])


class MetricsViewSet(viewsets.ViewSet):
    """Numbers of the gateway process that answers."""

    permission_classes = [IsAuthenticated]
    required_scopes = scopes_by_method(read="audit")

    @extend_schema(operation_id="metrics", responses={(200, "text/plain"): OpenApiTypes.STR})
    def list(self, request: Request) -> HttpResponse:
        """Show them; this takes the permission to view gateway processes."""
        if not request.user.has_perm("gateway_sessions.view_gatewayinstance"):
            raise PermissionDenied
        path = wiring.current()
        numbers: dict[str, float] = {"wardgate_ready": 0.0} if path is None else path.numbers()
        return HttpResponse(exposition(numbers), content_type="text/plain; version=0.0.4; charset=utf-8")
