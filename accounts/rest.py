"""What the resources of the REST API share: strict bodies, model permissions, and writes through services."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import models
from django.utils import timezone
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.request import Request
from rest_framework.response import Response

from .rest_authentication import scopes_by_method


class ModelPermissions(DjangoModelPermissions):
    """Django's permissions of the model, the one to view it too."""

    perms_map = {
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }


class Pages(CursorPagination):
    """Pages in the order that the resource names; a page stays what it was while rows are added."""

    page_size_query_param = "limit"
    max_page_size = 200

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        """Return the resource's order."""
        return tuple(view.page_ordering)


class StrictFields(serializers.Serializer):
    """Refuses members of a body that the resource does not have, and those that only the gateway writes."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values.

        Raises:
            ValidationError: a member is unknown or read only, or a value is refused.
        """
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(str(name) for name in data if name not in writable)
            if unknown:
                raise serializers.ValidationError(
                    {name: serializers.ErrorDetail("This cannot be set.", code="unknown_field") for name in unknown}
                )
        return super().to_internal_value(data)


class StrictModelSerializer(StrictFields, serializers.ModelSerializer):
    """A model's fields, each of them named, with strict bodies."""


class Texts(serializers.ListField):
    """A list of texts."""

    child = serializers.CharField(max_length=1024)


class ReadViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Lists and shows what the user may see; what may not be seen does not exist.

    `required_scopes` says what an API token must have been made for, by method; what is not listed is closed to tokens.
    """

    required_scopes: Mapping[str, str] = scopes_by_method(read="read")

    permission_classes = [ModelPermissions]
    pagination_class = Pages
    page_ordering: tuple[str, ...] = ("id",)

    def visible(self, user: Any) -> models.QuerySet[Any]:
        """Return the rows that `user` may see."""
        raise NotImplementedError

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return the rows that the user may see."""
        return self.visible(self.request.user)


class ServiceViewSet(ReadViewSet):
    """Adds, changes and deletes through services as well."""

    required_scopes: Mapping[str, str] = scopes_by_method(read="read", write="write")

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> models.Model:
        """Call the service; `row_id` is None for a new row."""
        raise NotImplementedError

    def delete_by_service(self, row_id: Any) -> None:
        """Call the service that deletes."""
        raise NotImplementedError

    def create(self, request: Request) -> Response:
        """Add one; 201."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        saved = self.save_by_service(None, serializer.validated_data, timezone.now())
        return Response(self.get_serializer(saved).data, status=status.HTTP_201_CREATED)

    def update(self, request: Request, pk: str | None = None, *, partial: bool = False) -> Response:
        """Replace one; what is left out takes its default, where it has one."""
        row = self.get_object()
        serializer = self.get_serializer(row, data=request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        values = {**(self._current(serializer, row) if partial else {}), **serializer.validated_data}
        saved = self.save_by_service(row.pk, values, timezone.now())
        return Response(self.get_serializer(saved).data)

    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        """Change some values of one; the others stay."""
        return self.update(request, pk, partial=True)

    def destroy(self, request: Request, pk: str | None = None) -> Response:
        """Delete one; 204."""
        self.delete_by_service(self.get_object().pk)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _current(self, serializer: Any, row: models.Model) -> dict[str, Any]:
        current = {name: getattr(row, name) for name in self._written(serializer)}
        return {
            name: list(value.all()) if isinstance(value, models.Manager) else value for name, value in current.items()
        }

    @staticmethod
    def _written(serializer: Any) -> list[str]:
        return [field.source for field in serializer.fields.values() if not (field.read_only or field.write_only)]
