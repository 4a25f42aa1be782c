"""WHO is stopped, over REST: locks, revoked tokens, and transmitters of security events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs, selectors, services
from accounts.actors import person_of
from accounts.models import EventTransmitter, IdentityProvider, Lock, RevokedToken
from accounts.proof_pages import ProofViewSet
from accounts.rest import ModelPermissions, ReadViewSet, ServiceViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method


class LockSerializer(StrictModelSerializer):
    """A lock: one target, why, and until when."""

    class Meta:
        model = Lock
        fields = [
            "id",
            "kind",
            "principal",
            "group",
            "provider",
            "connection",
            "token",
            "agent",
            "reason",
            "source",
            "actor",
            "created_at",
            "ends_at",
            "lifted_at",
            "lifted_by",
        ]
        read_only_fields = ["source", "actor", "created_at", "lifted_at", "lifted_by"]


class NothingSerializer(StrictFields):
    """A body without members."""


class LiftPermission(ModelPermissions):
    """Lifting changes a lock."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class LockViewSet(ReadViewSet):
    """Instant stops: placed and lifted, never edited nor deleted."""

    queryset = Lock.objects.none()
    serializer_class = LockSerializer
    required_scopes = scopes_by_method(read="locks", write="locks")
    filterset_fields = ["kind", "source", "principal", "group", "provider", "connection", "agent"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[Lock]:
        """Return the locks that `user` may see."""
        return selectors.locks_visible_to(user=user)

    def create(self, request: Request) -> Response:
        """Place one; 201. The same lock that is in force already is returned as it is."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        lock = services.lock_place(
            **serializer.validated_data, source=Lock.Source.API, actor=person_of(request), now=timezone.now()
        )
        return Response(self.get_serializer(lock).data, status=status.HTTP_201_CREATED)

    @action(
        detail=True,
        methods=["post"],
        permission_classes=[IsAuthenticated, LiftPermission],
        serializer_class=NothingSerializer,
    )
    def lift(self, request: Request, pk: str | None = None) -> Response:
        """Lift one; a lock that is over stays as it was."""
        self.get_serializer(data=request.data or {}).is_valid(raise_exception=True)
        proofs.require_recent(request)
        lock = services.lock_lift(lock_id=self.get_object().pk, actor=person_of(request), now=timezone.now())
        return Response(LockSerializer(lock, context=self.get_serializer_context()).data)


class RevokedTokenSerializer(serializers.ModelSerializer):
    """Tokens that are refused although they verify."""

    class Meta:
        model = RevokedToken
        fields = ["id", "kind", "issuer", "value", "issued_until", "source", "reason", "revoked_at", "expires_at"]
        read_only_fields = fields


class RevocationSerializer(StrictFields):
    """One token to revoke: by its SHA-256, or by its `jti` and provider."""

    sha256 = serializers.RegexField(r"^[0-9a-fA-F]{64}\Z", required=False)
    provider = serializers.PrimaryKeyRelatedField(queryset=IdentityProvider.objects.all(), required=False)
    jti = serializers.CharField(max_length=255, required=False, trim_whitespace=False)
    reason = serializers.CharField(max_length=500)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse bodies that name no token, or two."""
        named = {name for name in ("sha256", "provider", "jti") if name in attrs}
        if named not in ({"sha256"}, {"provider", "jti"}):
            raise serializers.ValidationError("Give sha256, or provider and jti.", code="one_token")
        return attrs


class RevokedTokenViewSet(ReadViewSet):
    """Revoked tokens: added, never taken back. Whoever was stopped by mistake logs in again."""

    queryset = RevokedToken.objects.none()
    serializer_class = RevokedTokenSerializer
    required_scopes = scopes_by_method(read="revoke", write="revoke")
    filterset_fields = ["kind", "issuer", "value", "source"]
    page_ordering = ("-revoked_at", "id")

    def visible(self, user: Any) -> QuerySet[RevokedToken]:
        """Return the revocations that `user` may see."""
        return selectors.revocations_visible_to(user=user)

    def get_serializer_class(self) -> type[serializers.BaseSerializer]:
        """Return the serializer that describes the body."""
        return RevocationSerializer if self.action == "create" else RevokedTokenSerializer

    def create(self, request: Request) -> Response:
        """Revoke one; 201."""
        body = RevocationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        now, values = timezone.now(), body.validated_data
        by_digest = "sha256" in values
        row = services.token_revoke(
            kind=RevokedToken.Kind.DIGEST if by_digest else RevokedToken.Kind.TOKEN_ID,
            issuer="" if by_digest else values["provider"].issuer,
            value=values["sha256"].lower() if by_digest else values["jti"],
            source=Lock.Source.API,
            reason=values["reason"],
            expires_at=services.revocation_end(now),
            now=now,
        )
        return Response(RevokedTokenSerializer(row).data, status=status.HTTP_201_CREATED)


class EventTransmitterSerializer(StrictModelSerializer):
    """Who may push security events about a provider's principals."""

    algorithms = Texts(required=False)
    pinned_jwks = serializers.DictField(required=False, allow_null=True)

    class Meta:
        model = EventTransmitter
        fields = [
            "id",
            "provider",
            "name",
            "issuer",
            "audience",
            "jwks_url",
            "pinned_jwks",
            "algorithms",
            "is_active",
            "last_event_at",
            "created_at",
        ]
        read_only_fields = ["last_event_at", "created_at"]


class EventTransmitterViewSet(ProofViewSet, ServiceViewSet):
    """Transmitters of security events (RFC 8935)."""

    queryset = EventTransmitter.objects.none()
    serializer_class = EventTransmitterSerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["provider", "issuer", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[EventTransmitter]:
        """Return the transmitters that `user` may see."""
        return selectors.transmitters_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> EventTransmitter:
        """Save the transmitter."""
        return services.transmitter_save(transmitter_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the transmitter."""
        services.transmitter_delete(transmitter_id=row_id)
