"""What identity providers provision, in the console: users, members and how provisioning goes. Evidence, all of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from unfold.decorators import display

from accounts.console import EvidenceAdmin
from accounts.models import Lock, ScimMember, ScimSync, ScimUser
from accounts.scim.selectors import hint_for, hinted


@admin.register(ScimUser)
class ScimUserAdmin(EvidenceAdmin):
    """Users as their provider wrote them, whom each is on the data path, and what does not fit together."""

    list_display = ["user_name", "provider", "is_active", "shown_principal", "shown_locked", "shown_hint", "changed_at"]
    list_filter = ["provider", "is_active"]
    list_select_related = ["provider", "principal"]
    search_fields = ["user_name", "external_id", "display_name", "email"]
    fields = readonly_fields = [
        "provider",
        "user_name",
        "external_id",
        "id",
        "is_active",
        "display_name",
        "email",
        "shown_principal",
        "shown_locked",
        "shown_hint",
        "shown_groups",
        "attributes",
        "created_at",
        "changed_at",
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the users, each with its hint and with whether provisioning has stopped its principal."""
        held = Lock.objects.filter(
            kind=Lock.Kind.PRINCIPAL, principal=OuterRef("principal"), source=Lock.Source.SCIM, lifted_at=None
        )
        return hinted(super().get_queryset(request)).annotate(is_stopped=Exists(held))

    @display(description="Principal")
    def shown_principal(self, user: ScimUser) -> str:
        """Return who the user is on the data path: the subject, to the letter."""
        return "" if user.principal is None else user.principal.subject

    @display(description="Stopped by SCIM", boolean=True)
    def shown_locked(self, user: Any) -> bool:
        """Tell whether a lock of provisioning is in force."""
        return bool(user.is_stopped)

    @display(description="Hint")
    def shown_hint(self, user: ScimUser) -> str:
        """Say what does not fit, or nothing."""
        return hint_for(user)

    @display(description="Groups")
    def shown_groups(self, user: ScimUser) -> str:
        """Name the groups that the user was put into."""
        return ", ".join(user.memberships.order_by("group__name").values_list("group__name", flat=True)) or "none"


@admin.register(ScimMember)
class ScimMemberAdmin(EvidenceAdmin):
    """Who is in which group, as the provider says."""

    list_display = ["user", "group", "provider"]
    list_filter = ["group__provider", "group"]
    list_select_related = ["user", "group__provider"]
    search_fields = ["user__user_name", "group__name"]
    fields = readonly_fields = ["group", "user"]

    @display(description="Provider", ordering="group__provider__name")
    def provider(self, member: ScimMember) -> str:
        """Name the provider."""
        return member.group.provider.name


@admin.register(ScimSync)
class ScimSyncAdmin(EvidenceAdmin):
    """When each provider last provisioned, and what was last refused."""

    list_display = ["provider", "last_request_at", "last_change_at", "last_refusal_at", "last_refusal"]
    list_select_related = ["provider"]
    search_fields = ["provider__name"]
    fields = readonly_fields = [*list_display, "shown_users", "shown_groups"]

    @display(description="Users")
    def shown_users(self, sync: ScimSync) -> str:
        """Count the provisioned users."""
        users = sync.provider.scim_users
        return f"{users.count()}, of them {users.filter(is_active=False).count()} not active"

    @display(description="Groups")
    def shown_groups(self, sync: ScimSync) -> str:
        """Count the provisioned groups."""
        return str(sync.provider.groups.exclude(scim_id=None).count())
