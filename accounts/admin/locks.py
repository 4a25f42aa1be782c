"""WHO is stopped, in the console: locks, revoked tokens, and who may push security events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts import proofs, services
from accounts.actors import person_of
from accounts.console import EvidenceAdmin, ServiceAdmin, ServiceForm
from accounts.models import EventTransmitter, Lock, RevocationState, RevokedToken, SeenToken
from accounts.proof_pages import ProofAdmin

_TARGETS = ["principal", "group", "provider", "connection", "token", "agent"]
_STATE_LABELS = {"in force": "danger", "lifted": "success", "ended": "info"}


class LockForm(ServiceForm):
    """What to stop, why, and until when."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="For those who meet the lock, and for the record.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Lock:
        """Place the lock in the name of the person at the console."""
        return services.lock_place(**values, source=Lock.Source.CONSOLE, actor=self.actor, now=now)


class StateFilter(admin.SimpleListFilter):
    """In force, or over."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("in_force", "in force"), ("over", "over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Lock]) -> QuerySet[Lock]:
        """Return the locks of the chosen state at this moment."""
        condition = services.in_force(timezone.now())
        chosen = {"in_force": condition, "over": ~condition}.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)


@admin.register(Lock)
class LockAdmin(ServiceAdmin):
    """Instant stops. One is placed and lifted, never edited nor deleted: it is its own evidence."""

    form = LockForm
    list_display = ["shown_target", "reason", "source", "actor", "created_at", "ends_at", "shown_state"]
    list_filter = [StateFilter, "kind", "source"]
    list_select_related = ["principal", "group__provider", "provider", "connection", "actor"]
    search_fields = ["reason", "principal__subject", "principal__display_name", "group__name", "agent"]
    autocomplete_fields = ["principal", "group", "provider", "connection"]
    actions = ["lift_selected"]
    actions_detail = ["lift_one"]
    fieldsets = (
        (None, {"fields": ["kind"]}),
        (
            "Target: the one that the kind names; a token by its jti has its provider too",
            {"fields": _TARGETS},
        ),
        ("Why and how long", {"fields": ["reason", "ends_at"]}),
    )
    evidence = ("Evidence", {"fields": ["shown_state", "source", "actor", "created_at", "lifted_at", "lifted_by"]})
    readonly_fields = ["shown_state", "source", "actor", "created_at", "lifted_at", "lifted_by"]

    @display(description="Target", ordering="kind")
    def shown_target(self, lock: Lock) -> str:
        """Say what is stopped."""
        return str(lock)

    @display(description="State", label=_STATE_LABELS)
    def shown_state(self, lock: Lock) -> str:
        """Say whether the lock stops anybody now."""
        if services.is_in_force(lock, timezone.now()):
            return "in force"
        return "ended" if lock.lifted_at is None else "lifted"

    def get_fieldsets(self, request: HttpRequest, obj: Lock | None = None) -> Any:
        """Show what became of a lock only where there is one."""
        return self.fieldsets if obj is None else (*self.fieldsets, self.evidence)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a lock is lifted and placed anew."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a lock is evidence."""
        return False

    def has_lift_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Tell whether the person may lift locks."""
        return request.user.has_perm("accounts.change_lock")

    @admin.action(description="Lift", permissions=["lift"])
    def lift_selected(self, request: HttpRequest, queryset: QuerySet[Lock]) -> HttpResponse | None:
        """Ask first, then lift one by one."""
        now = timezone.now()
        if not proofs.is_recent(request, now):
            return proofs.ask(request)
        locks = list(queryset.filter(services.in_force(now)))
        if not locks:
            self.message_user(request, "None of these locks is in force.", messages.WARNING)
            return None
        if request.POST.get("confirmed") != "yes":
            context = {
                **self.admin_site.each_context(request),
                "title": "Lift",
                "opts": self.opts,
                "locks": locks,
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/accounts/lock/lift.html", context)
        for lock in locks:
            services.lock_lift(lock_id=lock.pk, actor=person_of(request), now=now)
        self.message_user(request, f"{len(locks)} lifted.", messages.SUCCESS)
        return None

    @action(description="Lift", permissions=["lift"])
    def lift_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation for the lock that is shown."""
        asked = self.lift_selected(request, self.get_queryset(request).filter(pk=object_id))
        return asked or HttpResponseRedirect(reverse("admin:accounts_lock_changelist"))


@admin.register(RevokedToken)
class RevokedTokenAdmin(EvidenceAdmin):
    """Tokens that are refused although they verify, until they have expired by themselves."""

    list_display = ["kind", "issuer", "shown_value", "source", "reason", "issued_until", "revoked_at", "expires_at"]
    list_filter = ["kind", "source"]
    search_fields = ["issuer", "value"]
    fields = readonly_fields = [
        "kind",
        "issuer",
        "value",
        "issued_until",
        "source",
        "reason",
        "revoked_at",
        "expires_at",
    ]

    @display(description="Value")
    def shown_value(self, row: RevokedToken) -> str:
        """Shorten a digest: the list is for people."""
        return f"{row.value[:16]}…" if row.kind == RevokedToken.Kind.DIGEST else row.value


@admin.register(SeenToken)
class SeenTokenAdmin(EvidenceAdmin):
    """Logout and security event tokens that had their effect and are refused when they come again."""

    list_display = fields = readonly_fields = ["issuer", "jti", "seen_at", "expires_at"]
    search_fields = ["issuer", "jti"]


@admin.register(RevocationState)
class RevocationStateAdmin(EvidenceAdmin):
    """The version of locks and revocations, which the database moves and every gateway process watches."""

    list_display = fields = readonly_fields = ["version", "changed_at"]


class TransmitterForm(ServiceForm):
    """Values of a transmitter of security events."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> EventTransmitter:
        """Save the transmitter."""
        return services.transmitter_save(transmitter_id=self.row_id, **values, now=now)


@admin.register(EventTransmitter)
class EventTransmitterAdmin(ProofAdmin, ServiceAdmin):
    """Who may push security events about the principals of a provider."""

    form = TransmitterForm
    entries = ["algorithms"]
    list_display = ["name", "provider", "issuer", "is_active", "last_event_at"]
    list_filter = ["is_active", "provider"]
    list_select_related = ["provider"]
    search_fields = ["name", "issuer"]
    readonly_fields = ["last_event_at", "created_at"]
    fieldsets = (
        (None, {"fields": ["name", "provider", "issuer", "audience", "is_active"]}),
        (
            "Keys: with neither URL nor set, the provider's",
            {"fields": ["jwks_url", "pinned_jwks", "algorithms"]},
        ),
        ("History", {"fields": ["last_event_at", "created_at"]}),
    )

    def delete_by_service(self, row: EventTransmitter) -> None:
        """Delete the transmitter."""
        services.transmitter_delete(transmitter_id=row.pk)
