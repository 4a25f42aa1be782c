"""Notifications over REST: channels, the log of what was sent, and what one wants to be told oneself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import proofs
from accounts.actors import person_of
from accounts.proof_pages import ProofViewSet
from accounts.rest import ModelPermissions, ReadViewSet, ServiceViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method
from policies import selectors, services
from policies.models import NoticeChannel, NoticeDelivery, NoticePreference

_STATE = ["sent", "sent_at", "failures", "last_error", "retry_at", "created_at"]


class NoticeChannelSerializer(StrictModelSerializer):
    """A channel; secrets are written and never read."""

    allowed_networks = Texts(required=False)
    events = Texts(required=False)
    risks = Texts(required=False)
    secret = serializers.CharField(write_only=True, required=False, allow_blank=True, trim_whitespace=False)
    keeps_old_secret = serializers.BooleanField(write_only=True, required=False)
    signing_secret = serializers.CharField(write_only=True, required=False, allow_blank=True, trim_whitespace=False)

    class Meta:
        model = NoticeChannel
        fields = [
            "id",
            "name",
            "kind",
            "target",
            "secret",
            "keeps_old_secret",
            "signing_secret",
            "allowed_networks",
            "events",
            "approval_rules",
            "connections",
            "risks",
            "includes_arguments",
            "most_per_minute",
            "is_active",
            *_STATE,
        ]
        read_only_fields = _STATE


class NothingSerializer(StrictFields):
    """A body without members."""


class ChangePermission(ModelPermissions):
    """Testing takes the right to change channels."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["policies.change_noticechannel"]}


class NoticeChannelViewSet(ProofViewSet, ServiceViewSet):
    """Places that are told when something waits for a decision."""

    queryset = NoticeChannel.objects.none()
    serializer_class = NoticeChannelSerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["name", "kind", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[NoticeChannel]:
        """Return the channels that `user` may see."""
        return selectors.notice_channels_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> NoticeChannel:
        """Save the channel."""
        return services.notice_channel_save(channel_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the channel."""
        services.notice_channel_delete(channel_id=row_id)

    @extend_schema(request=NothingSerializer, responses={204: None})
    @action(
        detail=True,
        methods=["post"],
        permission_classes=[IsAuthenticated, ChangePermission],
        serializer_class=NothingSerializer,
    )
    def test(self, request: Request, pk: str | None = None) -> Response:
        """Send a message that is about no request; 204 when it was taken."""
        self.get_serializer(data=request.data or {}).is_valid(raise_exception=True)
        proofs.require_recent(request)
        services.notice_channel_test(channel_id=self.get_object().pk, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class NoticeDeliverySerializer(serializers.ModelSerializer):
    """One message to one place."""

    class Meta:
        model = NoticeDelivery
        fields = [
            "id",
            "request",
            "event",
            "way",
            "channel",
            "user",
            "told",
            "state",
            "attempts",
            "next_at",
            "error",
            "count",
            "created_at",
            "ended_at",
        ]
        read_only_fields = fields


class NoticeDeliveryViewSet(ReadViewSet):
    """What was sent to whom, and what became of it."""

    queryset = NoticeDelivery.objects.none()
    serializer_class = NoticeDeliverySerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["state", "way", "event", "channel", "user", "request"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[NoticeDelivery]:
        """Return the messages that `user` may see."""
        return selectors.notice_deliveries_visible_to(user=user)

    @extend_schema(request=NothingSerializer, responses=NoticeDeliverySerializer)
    @action(
        detail=True,
        methods=["post"],
        permission_classes=[IsAuthenticated, ChangePermission],
        serializer_class=NothingSerializer,
    )
    def retry(self, request: Request, pk: str | None = None) -> Response:
        """Send a message that was given up once more."""
        self.get_serializer(data=request.data or {}).is_valid(raise_exception=True)
        delivery = services.delivery_retry(delivery_id=self.get_object().pk, now=timezone.now())
        return Response(NoticeDeliverySerializer(delivery).data)


class NoticePreferenceSerializer(StrictModelSerializer):
    """What one wants to be told."""

    email_events = Texts()
    push_events = Texts()

    class Meta:
        model = NoticePreference
        fields = ["email_events", "push_events", "quiet_from", "quiet_until", "time_zone"]


class OwnPermission(BasePermission):
    """Everybody has preferences of their own, and nobody those of others."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether there is a person."""
        return bool(request.user.is_authenticated)


class NoticePreferenceView(APIView):
    """What the person of the request wants to be told, and in which way."""

    permission_classes = [OwnPermission]
    required_scopes = scopes_by_method(read="read", write="write")

    @extend_schema(responses=NoticePreferenceSerializer)
    def get(self, request: Request) -> Response:
        """Return one's own preferences; without a choice every event, in every way."""
        user = person_of(request)
        wishes = services.wishes_of(user)
        kept = wishes.preference or NoticePreference(
            user=user, email_events=sorted(wishes.email_events), push_events=sorted(wishes.push_events)
        )
        return Response(NoticePreferenceSerializer(kept).data)

    @extend_schema(request=NoticePreferenceSerializer, responses=NoticePreferenceSerializer)
    def put(self, request: Request) -> Response:
        """Choose anew."""
        serializer = NoticePreferenceSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        saved = services.notice_preference_save(
            user=person_of(request), **serializer.validated_data, now=timezone.now()
        )
        return Response(NoticePreferenceSerializer(saved).data)
