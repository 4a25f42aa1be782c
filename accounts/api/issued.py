"""WHO, over REST: API tokens, tokens for calls, and the keys that sign those."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs, selectors, services
from accounts.actors import person_of
from accounts.models import ApiToken, ExchangedToken, SigningKey, User
from accounts.rest import ReadViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method


class EmptySerializer(StrictFields):
    """A body without members."""


class ApiTokenSerializer(StrictModelSerializer):
    """An API token as everybody may see it: never its secret."""

    user = serializers.PrimaryKeyRelatedField(queryset=User.objects.all(), required=False)
    scopes = Texts()
    expires_at = serializers.DateTimeField(required=False)

    class Meta:
        model = ApiToken
        fields = [
            "id",
            "name",
            "user",
            "provider",
            "scopes",
            "prefix",
            "created_at",
            "expires_at",
            "last_used_at",
            "last_used_address",
            "revoked_at",
        ]
        read_only_fields = ["prefix", "created_at", "last_used_at", "last_used_address", "revoked_at"]


class ApiTokenViewSet(ReadViewSet):
    """Tokens for this API. One's own need no permission; those of others need the ones for API tokens."""

    queryset = ApiToken.objects.none()
    serializer_class = ApiTokenSerializer
    permission_classes = [permissions.IsAuthenticated]
    required_scopes = scopes_by_method(read="admin", write="admin")
    filterset_fields = ["user", "provider", "prefix"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[ApiToken]:
        """Return one's own tokens, and with the permission those of everybody."""
        return selectors.api_tokens_visible_to(user=user)

    def create(self, request: Request) -> Response:
        """Make one; 201, and the only answer that ever holds the `token` itself."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        proofs.require_recent(request)
        actor = person_of(request)
        values = {"user": actor, **serializer.validated_data}
        made_with = request.auth if isinstance(request.auth, ApiToken) else None
        row, plain = services.api_token_create(**values, actor=actor, made_with=made_with, now=timezone.now())
        body = {**self.get_serializer(row).data, "token": plain}
        return Response(body, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})

    def destroy(self, request: Request, pk: str | None = None) -> Response:
        """Revoke one; 204. Its row stays, as evidence."""
        services.api_token_revoke(token_id=self.get_object().pk, actor=person_of(request), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExchangedTokenSerializer(StrictModelSerializer):
    """Evidence of a token that was given out; never the token."""

    class Meta:
        model = ExchangedToken
        fields = [
            "id",
            "principal",
            "grant_type",
            "connection_slug",
            "tools",
            "subject_digest",
            "actors",
            "address",
            "issued_at",
            "expires_at",
        ]
        read_only_fields = fields


class ExchangedTokenViewSet(ReadViewSet):
    """Tokens of minutes that `/oauth/token` gave out."""

    queryset = ExchangedToken.objects.none()
    serializer_class = ExchangedTokenSerializer
    required_scopes = scopes_by_method(read="audit")
    filterset_fields = ["principal", "connection_slug"]
    page_ordering = ("-issued_at", "id")

    def visible(self, user: Any) -> QuerySet[ExchangedToken]:
        """Return the tokens of which `user` may see that they were given out."""
        return selectors.exchanged_tokens_visible_to(user=user)


class SigningKeySerializer(StrictModelSerializer):
    """A signing key, of which only the public half is ever shown."""

    state = serializers.SerializerMethodField()

    class Meta:
        model = SigningKey
        fields = [
            "kid",
            "algorithm",
            "public_jwk",
            "created_at",
            "signs_from",
            "signs_until",
            "published_until",
            "state",
        ]
        read_only_fields = fields

    def get_state(self, key: SigningKey) -> str:
        """Return what the key does now."""
        return services.signing_key_state(key, timezone.now())


class SigningKeyViewSet(ReadViewSet):
    """Keys of the gateway's own tokens; to rotate and to withdraw them takes the permission to change signing keys."""

    queryset = SigningKey.objects.none()
    serializer_class = SigningKeySerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    page_ordering = ("-signs_from", "kid")

    def visible(self, user: Any) -> QuerySet[SigningKey]:
        """Return the keys that `user` may see."""
        return selectors.signing_keys_visible_to(user=user)

    @extend_schema(request=EmptySerializer)
    @action(detail=False, methods=["post"])
    def rotate(self, request: Request) -> Response:
        """Make the next key and publish it; it signs when every cache can know it."""
        self._check(request)
        return Response(self.get_serializer(services.signing_key_rotate(now=timezone.now())).data)

    @extend_schema(request=EmptySerializer)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str | None = None) -> Response:
        """Refuse every token that the key signed, from now on; answers with the key that signs instead."""
        self._check(request)
        key = services.signing_key_withdraw(kid=self.get_object().pk, now=timezone.now())
        return Response(self.get_serializer(key).data)

    def _check(self, request: Request) -> None:
        """Let those pass who may change keys and have proved who they are, with an empty body."""
        if not request.user.has_perm("accounts.change_signingkey"):
            raise PermissionDenied
        EmptySerializer(data=request.data).is_valid(raise_exception=True)
        proofs.require_recent(request)
