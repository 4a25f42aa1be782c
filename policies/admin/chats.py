"""Who is who in Slack, in the console. Links are made by their people and ended here, never edited."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.console import EvidenceAdmin
from policies.models import SlackIdentity
from policies.services.slack_links import slack_link_end


@admin.register(SlackIdentity)
class SlackIdentityAdmin(EvidenceAdmin):
    """Which person of the console is which user of a Slack workspace."""

    list_display = ["user", "team", "slack_user", "slack_name", "linked_at", "expires_at", "used_at", "ended_at"]
    list_filter = ["team", ("ended_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user"]
    search_fields = ["user__username", "slack_user", "slack_name"]
    actions = ["end_selected"]

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may end links of others."""
        return request.user.has_perm("policies.change_slackidentity")

    @admin.action(description="End", permissions=["end"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[SlackIdentity]) -> None:
        """End the selected links; nothing is decided with them any more."""
        now = timezone.now()
        ended = sum(slack_link_end(identity_id=row.pk, now=now) for row in queryset)
        self.message_user(request, f"{ended} ended.", messages.SUCCESS)
