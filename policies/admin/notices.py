"""Notifications at the console: channels with their tests, and the log of what was sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.exceptions import DomainError
from accounts.proof_pages import ProofAdmin
from policies import services
from policies.models import ApprovalRule, NoticeChannel, NoticeDelivery
from policies.notices.message import CHOSEN

_MOST_AT_ONCE = 20


class NoticeChannelForm(ServiceForm):
    """Values of a channel; its secrets are written and never shown."""

    secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=(
            "Webhook: what messages are signed with. Slack: bot token. Teams: URL of the workflow. "
            "Leave empty to keep the one there is."
        ),
    )
    keeps_old_secret = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Webhook: sign with the secret so far as well, until the channel is saved without this.",
    )
    signing_secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Slack: what Slack signs with when somebody presses a button. Leave empty to keep the one there is.",
    )
    events = forms.MultipleChoiceField(
        required=False,
        choices=[(event.value, event.value.replace("_", " ").capitalize()) for event in CHOSEN],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None: all of them.",
    )
    risks = forms.MultipleChoiceField(
        required=False,
        choices=ApprovalRule.Risk.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None: all of them.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> NoticeChannel:
        """Save the channel."""
        return services.notice_channel_save(channel_id=self.row_id, **values, now=now)


@admin.register(NoticeChannel)
class NoticeChannelAdmin(ProofAdmin, ServiceAdmin):
    """Places that are told when something waits for a decision."""

    form = NoticeChannelForm
    entries = ["allowed_networks"]
    list_display = ["name", "kind", "is_active", "shown_state", "sent", "sent_at"]
    list_filter = ["kind", "is_active"]
    search_fields = ["name"]
    autocomplete_fields = ["approval_rules", "connections"]
    actions = ["test_selected"]
    readonly_fields = ["shown_state", "sent", "sent_at", "failures", "last_error", "retry_at", "created_at"]
    fieldsets = (
        (None, {"fields": ["name", "kind", "target", "is_active"]}),
        ("Secrets", {"fields": ["secret", "keeps_old_secret", "signing_secret"]}),
        ("Of what it is told", {"fields": ["events", "risks", "approval_rules", "connections"]}),
        ("How much", {"fields": ["includes_arguments", "most_per_minute"]}),
        ("Network", {"fields": ["allowed_networks"]}),
        ("How it goes", {"fields": readonly_fields}),
    )

    @display(description="State", label={"works": "success", "rests": "danger", "off": "info"})
    def shown_state(self, channel: NoticeChannel) -> str:
        """Say whether it takes what it is sent."""
        if not channel.is_active:
            return "off"
        return "rests" if channel.failures else "works"

    def delete_by_service(self, row: NoticeChannel) -> None:
        """Delete the channel."""
        services.notice_channel_delete(channel_id=row.pk)

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may have channels tested: whoever may change them."""
        return request.user.has_perm("policies.change_noticechannel")

    @admin.action(description="Send a test", permissions=["test"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[NoticeChannel]) -> None:
        """Send a message to each, and say what became of it."""
        for channel in queryset[:_MOST_AT_ONCE]:
            try:
                services.notice_channel_test(channel_id=channel.pk, now=timezone.now())
            except DomainError as error:
                self.message_user(request, f"{channel}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{channel}: it took the test.", messages.SUCCESS)


@admin.register(NoticeDelivery)
class NoticeDeliveryAdmin(EvidenceAdmin):
    """What was sent to whom, and what became of it."""

    list_display = ["created_at", "event", "request", "way", "told", "state", "attempts", "next_at", "error"]
    list_filter = ["state", "way", "event", "channel"]
    list_select_related = ["request"]
    search_fields = ["request__code", "told"]
    actions = ["retry_selected"]
    exclude = ["outbox", "subscription", "updates"]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may have messages sent again: whoever may change channels."""
        return request.user.has_perm("policies.change_noticechannel")

    @admin.action(description="Send again", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[NoticeDelivery]) -> None:
        """Send those again that were given up, and say why not the others."""
        for delivery in queryset[:_MOST_AT_ONCE]:
            try:
                services.delivery_retry(delivery_id=delivery.pk, now=timezone.now())
            except DomainError as error:
                self.message_user(request, f"{delivery}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{delivery}: it is sent again.", messages.SUCCESS)
