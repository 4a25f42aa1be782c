"""Ready-made packs of guardrails, over REST."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import StrictFields, Texts
from accounts.rest_authentication import scopes_by_method
from connections.models import Connection
from policies import selectors, services
from policies.engine.guardrail_packs import PACKS, GuardrailPack
from policies.services.packs import pack_apply, pack_remove

from .shared import publisher_of

_ID = OpenApiParameter("id", str, OpenApiParameter.PATH)


class MayInstall(BasePermission):
    """Packs are seen by whoever may see guardrails, and installed by whoever may add, change and delete them."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the caller may do what the request asks for."""
        user: Any = request.user
        if request.method in {"GET", "HEAD", "OPTIONS"}:
            return bool(user.has_perm("policies.view_guardrail"))
        return bool(user.has_perms([f"policies.{verb}_guardrail" for verb in ("add", "change", "delete")]))


class PackRuleSerializer(serializers.Serializer):
    """A guardrail of a pack, before the values of its parameters are put in."""

    name = serializers.CharField()
    effect = serializers.CharField()
    methods = serializers.ListField(child=serializers.CharField())
    names = serializers.ListField(child=serializers.CharField())
    condition = serializers.CharField()
    reason = serializers.CharField()


class PackParameterSerializer(serializers.Serializer):
    """What an installation of a pack may choose."""

    name = serializers.CharField()
    kind = serializers.CharField(help_text="`number`, `zone` or `name`.")
    default = serializers.CharField()
    help = serializers.CharField()


class PackSerializer(serializers.Serializer):
    """A pack, and how many guardrails came from it."""

    id = serializers.CharField()
    title = serializers.CharField()
    summary = serializers.CharField()
    rules = PackRuleSerializer(many=True)
    parameters = PackParameterSerializer(many=True)
    installed = serializers.IntegerField()


class PackPlaceSerializer(StrictFields):
    """Where a pack is installed: every connection, one of them, or those of some labels."""

    connection = serializers.PrimaryKeyRelatedField(queryset=Connection.objects.all(), required=False, allow_null=True)
    labels = Texts(required=False)


class PackApplySerializer(PackPlaceSerializer):
    """How a pack is installed."""

    parameters = serializers.DictField(
        child=serializers.CharField(max_length=64), required=False, help_text="What differs from the defaults."
    )
    is_observed = serializers.BooleanField(
        default=True, help_text="Decide nothing; record what the guardrails would have done."
    )
    is_dry_run = serializers.BooleanField(default=False, help_text="Say what would change, and change nothing.")


class PackChangeSerializer(serializers.Serializer):
    """What happened to one guardrail."""

    name = serializers.CharField()
    kind = serializers.CharField(help_text="`added`, `changed` or `unchanged`.")
    members = serializers.ListField(child=serializers.CharField())


class PackRemovedSerializer(serializers.Serializer):
    """How many guardrails were deleted."""

    removed = serializers.IntegerField()


class GuardrailPackViewSet(viewsets.ViewSet):
    """Ready-made guardrails: look, install in observe mode or in force, take away. Installing twice changes nothing."""

    permission_classes = [IsAuthenticated, MayInstall]
    required_scopes = scopes_by_method(read="read", write="write")

    @extend_schema(responses=PackSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Return every pack."""
        user: Any = request.user
        installed = Counter(selectors.guardrails_visible_to(user=user).values_list("pack", flat=True))
        return Response([_told(pack, installed[pack.id]) for pack in PACKS.values()])

    @extend_schema(parameters=[_ID], responses=PackSerializer)
    def retrieve(self, request: Request, pk: str = "") -> Response:
        """Return one pack."""
        _known(pk)
        user: Any = request.user
        return Response(_told(PACKS[pk], selectors.guardrails_visible_to(user=user).filter(pack=pk).count()))

    @extend_schema(parameters=[_ID], request=PackApplySerializer, responses=PackChangeSerializer(many=True))
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str = "") -> Response:
        """Install the pack, or bring its guardrails back to what it says."""
        _known(pk)
        body = PackApplySerializer(data=request.data or {})
        body.is_valid(raise_exception=True)
        by: services.Publisher = publisher_of(request, f"Pack {pk}")
        changes = pack_apply(pack=pk, **body.validated_data, by=by, now=timezone.now())
        return Response(PackChangeSerializer(changes, many=True).data)

    @extend_schema(parameters=[_ID], request=PackPlaceSerializer, responses=PackRemovedSerializer)
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, pk: str = "") -> Response:
        """Delete the guardrails that the pack has at one place."""
        _known(pk)
        body = PackPlaceSerializer(data=request.data or {})
        body.is_valid(raise_exception=True)
        by: services.Publisher = publisher_of(request, f"Pack {pk} removed")
        removed = pack_remove(pack=pk, **body.validated_data, by=by, now=timezone.now())
        return Response({"removed": removed})


def _known(pack: str) -> None:
    if pack not in PACKS:
        raise NotFound


def _told(pack: GuardrailPack, installed: int) -> dict[str, Any]:
    return {**PackSerializer({**_values(pack), "installed": installed}).data}


def _values(pack: GuardrailPack) -> dict[str, Any]:
    return {
        "id": pack.id,
        "title": pack.title,
        "summary": pack.summary,
        "rules": pack.rules,
        "parameters": pack.parameters,
    }
