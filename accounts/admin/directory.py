"""Groups of identity providers, in the console."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin

from accounts import services
from accounts.console import ServiceAdmin, ServiceForm
from accounts.lock_link import Lockable
from accounts.models import Group


class GroupForm(ServiceForm):
    """Values of a group."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Group:
        """Save the group."""
        return services.group_save(group_id=self.row_id, **values, now=now)


@admin.register(Group)
class GroupAdmin(Lockable, ServiceAdmin):
    """Groups as providers name them in their tokens; they can be declared before anybody who is in them logs in."""

    lock_kind = "group"
    form = GroupForm
    list_display = ["name", "provider", "description"]
    list_filter = ["provider"]
    list_select_related = ["provider"]
    search_fields = ["name", "description"]
    fields = ["provider", "name", "description"]

    def delete_by_service(self, row: Group) -> None:
        """Delete the group."""
        services.group_delete(group_id=row.pk)
