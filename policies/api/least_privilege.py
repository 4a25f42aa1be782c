"""What is granted and not used, over REST."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Group, Principal
from accounts.rest import StrictFields
from accounts.rest_authentication import scopes_by_method
from policies import differences, least_privilege
from policies.least_privilege import Holder

MAX_DAYS = 366


class MayReport(BasePermission):
    """A report shows grants and who called what; a draft of it is a draft."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the user may."""
        user: Any = request.user
        wanted = ["policies.view_accessgrant", "gateway_sessions.view_session"]
        return bool(user.has_perms([*wanted, "policies.add_policydraft"] if request.method == "POST" else wanted))


class AskedSerializer(StrictFields):
    """How many days back, and of whom; without either, of everybody."""

    days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, default=30)
    principal = serializers.PrimaryKeyRelatedField(queryset=Principal.objects.all(), required=False)
    group = serializers.PrimaryKeyRelatedField(queryset=Group.objects.select_related("provider"), required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want one holder at most."""
        if "principal" in attrs and "group" in attrs:
            raise serializers.ValidationError("Name a principal or a group.", code="one_holder")
        return attrs


class LineSerializer(serializers.Serializer):
    """What one grant gives on one connection, and what of it was used."""

    grant_id = serializers.UUIDField()
    title = serializers.CharField()
    connection = serializers.CharField()
    granted = serializers.ListField(child=serializers.CharField())
    used = serializers.ListField(child=serializers.CharField())
    unused = serializers.ListField(child=serializers.CharField())
    calls = serializers.IntegerField()
    last_used = serializers.DateTimeField(allow_null=True)


class ReportSerializer(serializers.Serializer):
    """The report; `is_partial`: the record is longer than what was read, which begins at `since`."""

    since = serializers.DateTimeField()
    calls = serializers.IntegerField()
    is_partial = serializers.BooleanField()
    lines = LineSerializer(many=True)


class FittedSerializer(serializers.Serializer):
    """The draft that was made."""

    draft = serializers.UUIDField()


class LeastPrivilegeView(APIView):
    """Granted and unused tools, and grants that fit what was used."""

    required_scopes = scopes_by_method(read="read", write="write")
    permission_classes = [IsAuthenticated, MayReport]

    @extend_schema(operation_id="least_privilege", parameters=[AskedSerializer], responses=ReportSerializer)
    def get(self, request: Request) -> Response:
        """Return the report."""
        return Response(ReportSerializer(_report(request)).data)

    @extend_schema(operation_id="least_privilege_draft", request=AskedSerializer, responses={201: FittedSerializer})
    def post(self, request: Request) -> Response:
        """Make a draft in which the grants of one principal or group fit what was used; nothing comes into force."""
        body = AskedSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        holder = holder_of(body.validated_data)
        if holder is None:
            raise serializers.ValidationError({"principal": "Name a principal or a group."})
        draft = least_privilege.fitted_draft(
            holder=holder, days=body.validated_data["days"], author=request.user, now=timezone.now()
        )
        return Response({"draft": draft.pk}, status=201)


class LeastPrivilegeTableView(APIView):
    """The report as a table."""

    required_scopes = scopes_by_method(read="read")
    permission_classes = [IsAuthenticated, MayReport]

    @extend_schema(
        operation_id="least_privilege_csv",
        parameters=[AskedSerializer],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the report as CSV."""
        return differences.unused_csv(_report(request).lines)


def holder_of(values: dict[str, Any]) -> Holder | None:
    """Return the holder that values name, if they name one."""
    if "principal" in values:
        return "principal", values["principal"].issuer, values["principal"].subject
    if "group" in values:
        return "group", values["group"].provider.issuer, values["group"].name
    return None


def _report(request: Request) -> least_privilege.Report:
    asked = AskedSerializer(data=request.query_params.dict())
    asked.is_valid(raise_exception=True)
    values = asked.validated_data
    return least_privilege.report(days=values["days"], now=timezone.now(), holder=holder_of(values))
