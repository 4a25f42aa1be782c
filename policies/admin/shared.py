"""What the pages of policy share: every save and every delete is a version by the person who made it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from accounts.console import ServiceAdmin, ServiceForm
from policies import services
from policies.models import PolicyVersion


class PolicyForm(ServiceForm):
    """A form whose save is a version of policy by the person who saves."""

    @property
    def publisher(self) -> services.Publisher:
        """Who publishes."""
        return services.Publisher(self.actor, PolicyVersion.Source.CONSOLE)


class PolicyServiceAdmin(ServiceAdmin):
    """Rows of policy: deleting one is a version of policy, too. `examples` stand in the empty fields."""

    form = PolicyForm
    examples: Mapping[str, str] = {}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Show an example where nothing is written yet."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in self.examples:
            field.widget.attrs["placeholder"] = self.examples[db_field.name]
        return field

    def delete_published(self, row: Any, by: services.Publisher, now: datetime) -> None:
        """Delete `row` through its service."""
        raise NotImplementedError

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete through the service, in the name of the person."""
        author: Any = request.user
        self.delete_published(obj, services.Publisher(author, PolicyVersion.Source.CONSOLE), timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete one by one through the service."""
        for row in queryset:
            self.delete_model(request, row)
