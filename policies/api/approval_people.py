"""WHO DECIDES MEANWHILE, over REST: delegations for a time."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actors import person_of
from accounts.models import User
from accounts.rest import ReadViewSet, StrictFields
from accounts.rest_authentication import scopes_by_method
from policies import selectors, services
from policies.models import ApprovalDelegation
from policies.services.deciders import DECIDE

from .approvals import ApprovalPermissions


class DelegationSerializer(serializers.ModelSerializer):
    """Who decides for whom, from when until when."""

    class Meta:
        model = ApprovalDelegation
        fields = ["id", "delegator", "delegate", "starts_at", "ends_at", "reason", "created_at", "ended_at", "ended_by"]
        read_only_fields = fields


class DelegateSerializer(StrictFields):
    """Whom one names, and for which time; without a beginning it is from now on."""

    delegate = serializers.PrimaryKeyRelatedField(queryset=User.objects.filter(is_active=True))
    starts_at = serializers.DateTimeField(required=False)
    ends_at = serializers.DateTimeField()
    reason = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class NothingSerializer(StrictFields):
    """No members."""


class ApprovalDelegationViewSet(ReadViewSet):
    """Delegations: one names one's own delegates, and one's own end early."""

    queryset = ApprovalDelegation.objects.none()
    serializer_class = DelegationSerializer
    required_scopes = scopes_by_method(read="read", write="approve")
    filterset_fields = ["delegator", "delegate"]
    page_ordering = ("-starts_at", "id")
    permission_classes = [ApprovalPermissions]

    def visible(self, user: Any) -> QuerySet[ApprovalDelegation]:
        """Return the delegations that `user` may see."""
        return selectors.delegations_visible_to(user=user)

    @extend_schema(request=DelegateSerializer, responses={201: DelegationSerializer})
    def create(self, request: Request) -> Response:
        """Let somebody else decide in one's place for a time; 201."""
        if not person_of(request).has_perm(DECIDE):
            raise PermissionDenied
        serializer = DelegateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        now = timezone.now()
        values = {"starts_at": now, **serializer.validated_data}
        made = services.delegation_save(delegator=person_of(request), **values, now=now)
        return Response(DelegationSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=NothingSerializer, responses=DelegationSerializer)
    @action(detail=True, methods=["post"], serializer_class=NothingSerializer)
    def end(self, request: Request, pk: str | None = None) -> Response:
        """End a delegation at once: one's own, or one that one holds."""
        serializer = NothingSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            row = services.delegation_end(delegation_id=self.get_object().pk, by=person_of(request), now=timezone.now())
        except ApprovalDelegation.DoesNotExist:
            raise NotFound from None
        return Response(DelegationSerializer(row).data)
