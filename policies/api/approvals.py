"""WHO SAYS YES, over REST: rules of approval, requests, and what people do about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs
from accounts.actors import person_of
from accounts.models import Principal, User
from accounts.rest import ModelPermissions, ReadViewSet, ServiceViewSet, StrictFields, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method
from connections.models import Connection
from policies import selectors, services
from policies.deciding import deciding_of
from policies.models import ApprovalDecision, ApprovalMessage, ApprovalRequest, ApprovalRule
from policies.services.deciders import DECIDE


class ApprovalRuleSerializer(StrictModelSerializer):
    """Who decides about held calls, and what an approval is good for."""

    stages = serializers.JSONField()
    escalate_to = serializers.JSONField(required=False)

    class Meta:
        model = ApprovalRule
        fields = [
            "id",
            "name",
            "stages",
            "risk",
            "expires_seconds",
            "run_within_seconds",
            "max_uses",
            "max_window_seconds",
            "needs_reason",
            "needs_poller",
            "escalate_seconds",
            "escalate_to",
            "access_to",
            "is_active",
            "created_at",
        ]
        read_only_fields = ["created_at"]


class ApprovalRuleViewSet(ServiceViewSet):
    """Rules of approval; a guardrail that holds names one."""

    queryset = ApprovalRule.objects.none()
    serializer_class = ApprovalRuleSerializer
    filterset_fields = ["risk", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[ApprovalRule]:
        """Return the rules that `user` may see."""
        return selectors.approval_rules_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> ApprovalRule:
        """Save the rule."""
        return services.approval_rule_save(rule_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the rule."""
        services.approval_rule_delete(rule_id=row_id)


class DecisionSerializer(serializers.ModelSerializer):
    """What one person decided."""

    class Meta:
        model = ApprovalDecision
        fields = [
            "verdict",
            "user",
            "behalf_of",
            "stage",
            "reason",
            "uses",
            "window_seconds",
            "to_user",
            "finding",
            "channel",
            "at",
        ]
        read_only_fields = fields


class ApprovalMessageSerializer(serializers.ModelSerializer):
    """A question about a request, or an answer."""

    class Meta:
        model = ApprovalMessage
        fields = ["kind", "user", "text", "channel", "at"]
        read_only_fields = fields


class ApprovalRequestSerializer(serializers.ModelSerializer):
    """A held call, or a request for access. Arguments are as the record has them: masked."""

    decisions = DecisionSerializer(many=True, read_only=True)
    messages = ApprovalMessageSerializer(many=True, read_only=True)

    class Meta:
        model = ApprovalRequest
        fields = [
            "id",
            "code",
            "kind",
            "state",
            "principal",
            "client_name",
            "address",
            "connection",
            "session",
            "call_id",
            "method",
            "name",
            "arguments",
            "masked_count",
            "rule_name",
            "why",
            "stages",
            "stage",
            "justification",
            "wanted",
            "changed_from",
            "opened_at",
            "expires_at",
            "decided_at",
            "usable_until",
            "uses_allowed",
            "waiting_at",
            "ended_at",
            "end_reason",
            "changed_at",
            "escalated_at",
            "decisions",
            "messages",
        ]
        read_only_fields = fields


class DecideSerializer(StrictFields):
    """A decision. `seen_at` is `changed_at` of what was looked at; what has moved since is not decided."""

    approve = serializers.BooleanField()
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")
    uses = serializers.IntegerField(min_value=1, required=False, default=1)
    window_seconds = serializers.IntegerField(min_value=0, required=False, default=0)
    seen_at = serializers.DateTimeField(required=False)


class ReasonSerializer(StrictFields):
    """Why."""

    reason = serializers.CharField(max_length=1000)


class ReviewSerializer(StrictFields):
    """What a second person found."""

    is_justified = serializers.BooleanField()
    comment = serializers.CharField(max_length=1000)


class SaySerializer(StrictFields):
    """What to ask or to answer."""

    text = serializers.CharField(max_length=1000)


class HandOverSerializer(StrictFields):
    """Who decides instead."""

    to = serializers.PrimaryKeyRelatedField(queryset=User.objects.filter(is_active=True))
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class AccessSerializer(StrictFields):
    """Access for a time."""

    principal = serializers.PrimaryKeyRelatedField(queryset=Principal.objects.all())
    connection = serializers.PrimaryKeyRelatedField(queryset=Connection.objects.filter(is_active=True))
    tools = serializers.ListField(child=serializers.CharField(max_length=200), required=False, default=list)
    prompts = serializers.ListField(child=serializers.CharField(max_length=200), required=False, default=list)
    resources = serializers.ListField(child=serializers.CharField(max_length=500), required=False, default=list)
    seconds = serializers.IntegerField(min_value=1)
    justification = serializers.CharField(max_length=1000)


class ApprovalPermissions(ModelPermissions):
    """Whoever may see requests may come in; each way of writing asks for its own permission."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["%(app_label)s.view_%(model_name)s"]}


class ApprovalRequestViewSet(ReadViewSet):
    """Requests for approval: listed, decided, withdrawn; never edited nor deleted."""

    queryset = ApprovalRequest.objects.none()
    serializer_class = ApprovalRequestSerializer
    required_scopes = scopes_by_method(read="read", write="approve")
    filterset_fields = ["state", "kind", "connection", "principal", "rule_name", "code"]
    page_ordering = ("-opened_at", "id")
    permission_classes = [ApprovalPermissions]

    def visible(self, user: Any) -> QuerySet[ApprovalRequest]:
        """Return the requests that `user` may see."""
        return selectors.approval_requests_visible_to(user=user).prefetch_related("decisions", "messages")

    @extend_schema(request=AccessSerializer, responses={201: ApprovalRequestSerializer})
    def create(self, request: Request) -> Response:
        """Ask for access for a time, for oneself or for a machine that one owns; 201."""
        if not person_of(request).has_perm("policies.request_access_approvalrequest"):
            raise PermissionDenied
        serializer = AccessSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        made = services.access_request(**serializer.validated_data, by=person_of(request), now=timezone.now())
        return Response(ApprovalRequestSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=DecideSerializer, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], serializer_class=DecideSerializer)
    def decide(self, request: Request, pk: str | None = None) -> Response:
        """Approve or deny; 409 with a code when it cannot be decided, or not like this, or not by you."""
        approval = self._decidable(request)
        serializer = DecideSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        services.request_decide(
            request_id=approval.pk,
            deciding=deciding_of(request, person_of(request), approval),
            **serializer.validated_data,
            now=timezone.now(),
        )
        return self._shown(approval)

    @extend_schema(request=HandOverSerializer, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], url_path="hand-over", serializer_class=HandOverSerializer)
    def hand_over(self, request: Request, pk: str | None = None) -> Response:
        """Let another approver decide in one's place."""
        approval = self._decidable(request)
        serializer = HandOverSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        deciding = deciding_of(request, person_of(request), approval)
        services.request_hand_over(
            request_id=approval.pk, deciding=deciding, **serializer.validated_data, now=timezone.now()
        )
        return self._shown(approval)

    @extend_schema(request=ReasonSerializer, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], url_path="break-glass", serializer_class=ReasonSerializer)
    def break_glass(self, request: Request, pk: str | None = None) -> Response:
        """Approve alone in an emergency; somebody else reviews it afterwards."""
        approval = self.get_object()
        if not person_of(request).has_perm("policies.break_glass_approvalrequest"):
            raise PermissionDenied
        proofs.require_recent(request)
        serializer = ReasonSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        deciding = deciding_of(request, person_of(request), approval)
        services.request_break_glass(
            request_id=approval.pk, deciding=deciding, **serializer.validated_data, now=timezone.now()
        )
        return self._shown(approval)

    @extend_schema(request=ReasonSerializer, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], serializer_class=ReasonSerializer)
    def withdraw(self, request: Request, pk: str | None = None) -> Response:
        """Take back what oneself, or a machine of one's own, has asked for; access that was given ends at once."""
        approval = self.get_object()
        person = person_of(request)
        if not services.may_withdraw(approval, person):
            raise PermissionDenied
        serializer = ReasonSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        services.request_withdraw(request_id=approval.pk, user=person, **serializer.validated_data, now=timezone.now())
        return self._shown(approval)

    @extend_schema(request=ReviewSerializer, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], serializer_class=ReviewSerializer)
    def review(self, request: Request, pk: str | None = None) -> Response:
        """Say, as a second person, whether an approval in an emergency was justified."""
        approval = self._decidable(request)
        serializer = ReviewSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        deciding = deciding_of(request, person_of(request), approval)
        services.request_review(
            request_id=approval.pk, deciding=deciding, **serializer.validated_data, now=timezone.now()
        )
        return self._shown(approval)

    @extend_schema(request=SaySerializer, responses=ApprovalRequestSerializer)
    @action(detail=True, methods=["post"], serializer_class=SaySerializer)
    def say(self, request: Request, pk: str | None = None) -> Response:
        """Answer about one's own request; ask about one that one may decide."""
        approval, person = self.get_object(), person_of(request)
        own = services.is_asked_for_by(approval, person)
        if not (own or person.has_perm(DECIDE)):
            raise PermissionDenied
        serializer = SaySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        speak = services.question_answer if own else services.question_ask
        speak(
            request_id=approval.pk,
            deciding=deciding_of(request, person),
            **serializer.validated_data,
            now=timezone.now(),
        )
        return self._shown(approval)

    def _decidable(self, request: Request) -> ApprovalRequest:
        """Return the request, if this person may decide any, and has proved who they are when the risk is high."""
        approval: ApprovalRequest = self.get_object()
        if not person_of(request).has_perm(DECIDE):
            raise PermissionDenied
        if approval.terms.get("risk") == ApprovalRule.Risk.HIGH:
            proofs.require_recent(request)
        return approval

    def _shown(self, approval: ApprovalRequest) -> Response:
        fresh = ApprovalRequest.objects.prefetch_related("decisions", "messages").get(pk=approval.pk)
        return Response(ApprovalRequestSerializer(fresh).data)
