"""The catalogue of tools, over REST: what upstreams say of their tools, reviewed by people."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs
from accounts.rest import ModelPermissions, ReadViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method
from connections import catalogue, definitions, selectors
from connections.models import Connection, Tool


class ReviewPermission(ModelPermissions):
    """To review a tool is to change it."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["connections.change_tool"]}


class ForgetPermission(ModelPermissions):
    """To forget a catalogue is to delete its tools."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["connections.delete_tool"]}


class DifferenceSerializer(serializers.Serializer):
    """A member that differs, with both values as JSON; an empty text where there is none."""

    place = serializers.CharField()
    before = serializers.CharField()
    after = serializers.CharField()


class ToolSerializer(StrictModelSerializer):
    """A tool: `definition` is what was accepted, `seen_definition` what its upstream says now."""

    labels = Texts(required=False)
    taints = Texts(required=False)
    definition = serializers.DictField(read_only=True, allow_null=True)
    seen_definition = serializers.DictField(read_only=True, allow_null=True)
    flags = serializers.ListField(child=serializers.CharField(), read_only=True)
    changes = serializers.SerializerMethodField()

    class Meta:
        model = Tool
        fields = [
            "id",
            "connection",
            "name",
            "state",
            "flags",
            "labels",
            "taints",
            "definition",
            "digest",
            "seen_definition",
            "seen_digest",
            "changes",
            "first_seen",
            "changed_at",
            "reviewed_at",
            "reviewed_by",
        ]
        read_only_fields = [name for name in fields if name not in {"labels", "taints"}]

    @extend_schema_field(DifferenceSerializer(many=True))
    def get_changes(self, tool: Tool) -> list[dict[str, str]]:
        """Return what has changed since the tool was accepted."""
        found = definitions.changes(tool.definition, tool.seen_definition)
        return [{"place": place, "before": before, "after": after} for place, before, after in found]


class LookedAtSerializer(StrictFields):
    """The definition that the reviewer looked at."""

    seen_digest = serializers.RegexField(r"^[0-9a-f]{64}\Z", help_text="As the tool had it when it was read.")


class ToolLookedAtSerializer(LookedAtSerializer):
    """A tool, and its definition that the reviewer looked at."""

    id = serializers.UUIDField()


class ManyLookedAtSerializer(StrictFields):
    """Tools to accept, all or none."""

    tools = ToolLookedAtSerializer(many=True, allow_empty=False, max_length=500)  # type: ignore[call-arg]


class WholeCatalogueSerializer(StrictFields):
    """A connection, whose tools are meant."""

    connection = serializers.PrimaryKeyRelatedField(queryset=Connection.objects.all())


class ForgottenSerializer(serializers.Serializer):
    """How many tools were forgotten."""

    forgotten = serializers.IntegerField()


class NothingSerializer(StrictFields):
    """A body without members."""


class ToolViewSet(ReadViewSet):
    """Tools as they were listed: added by the gateway, reviewed and labelled by people."""

    queryset = Tool.objects.none()
    serializer_class = ToolSerializer
    required_scopes = scopes_by_method(read="read", write="write")
    filterset_fields = ["connection", "name", "state"]
    page_ordering = ("connection_id", "name")
    http_method_names = ["get", "head", "options", "post", "patch"]

    def visible(self, user: Any) -> QuerySet[Tool]:
        """Return the tools that `user` may see."""
        return selectors.tools_visible_to(user=user)

    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        """Set labels and taints; what is left out stays."""
        tool = self.get_object()
        serializer = self.get_serializer(tool, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        values = {"labels": tool.labels, "taints": tool.taints, **serializer.validated_data}
        saved = catalogue.tool_label(tool_id=tool.pk, **values, now=timezone.now())
        return Response(self.get_serializer(saved).data)

    @extend_schema(request=LookedAtSerializer, responses=ToolSerializer)
    @action(detail=True, methods=["post"], permission_classes=[IsAuthenticated, ReviewPermission])
    def accept(self, request: Request, pk: str | None = None) -> Response:
        """Accept what the upstream says of the tool; 409 when it says something else than was looked at."""
        body = LookedAtSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reviewer: Any = request.user
        digest = body.validated_data["seen_digest"]
        tool = catalogue.tool_accept(tool_id=self.get_object().pk, seen_digest=digest, by=reviewer, now=timezone.now())
        return Response(self.get_serializer(tool).data)

    @extend_schema(request=NothingSerializer, responses=ToolSerializer)
    @action(detail=True, methods=["post"], permission_classes=[IsAuthenticated, ReviewPermission])
    def reject(self, request: Request, pk: str | None = None) -> Response:
        """Keep the tool hidden and its calls denied, whatever its upstream says."""
        NothingSerializer(data=request.data or {}).is_valid(raise_exception=True)
        reviewer: Any = request.user
        tool = catalogue.tool_reject(tool_id=self.get_object().pk, by=reviewer, now=timezone.now())
        return Response(self.get_serializer(tool).data)

    @extend_schema(
        operation_id="tools_accept_many",
        request=ManyLookedAtSerializer,
        responses=ToolSerializer(many=True),
        filters=False,
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="accept",
        permission_classes=[IsAuthenticated, ReviewPermission],
        pagination_class=None,
        filter_backends=[],
    )
    def accept_many(self, request: Request) -> Response:
        """Accept several tools, all or none."""
        body = ManyLookedAtSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reviewer: Any = request.user
        looked_at = {entry["id"]: entry["seen_digest"] for entry in body.validated_data["tools"]}
        tools = catalogue.tools_accept(looked_at=looked_at, by=reviewer, now=timezone.now())
        return Response(self.get_serializer(tools, many=True).data)

    @extend_schema(request=WholeCatalogueSerializer, responses=ForgottenSerializer, filters=False)
    @action(detail=False, methods=["post"], permission_classes=[IsAuthenticated, ForgetPermission], filter_backends=[])
    def forget(self, request: Request) -> Response:
        """Forget every tool of a connection: its next listing counts as the first, and is accepted as it is."""
        body = WholeCatalogueSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        proofs.require_recent(request)
        return Response({"forgotten": catalogue.catalogue_forget(connection=body.validated_data["connection"])})
