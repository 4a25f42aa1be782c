"""A provisioning service for a test: it knows one provider's root and token, and speaks SCIM to the console in process.

def test_something(scim):
    ada = scim.create_user(userName="ada@acme.example", externalId="00u1")
    scim.patch(f"Users/{ada['id']}", {"op": "replace", "value": {"active": False}}, expect=200)
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import Group, IdentityProvider, Lock, Principal, ScimMember, ScimUser, User
from accounts.scim import schemas

JSON = "application/scim+json"


class Provisioner:
    """Sends requests for `provider`, with a token of its own unless another one is given."""

    def __init__(self, provider: IdentityProvider, *, owner: User | None = None, token: str | None = None) -> None:
        self.provider = provider
        self.owner = owner or owner_of_everything()
        self.token = token or token_for(provider, user=self.owner)
        self._client = Client()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        expect: int | None = None,
        token: str | None = None,
        raw: bytes | None = None,
        content_type: str = JSON,
        provider_id: object = None,
    ) -> Any:
        """Send one request and return the parsed body, None when there is none; check the status if told to."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        answer = self._client.generic(
            method,
            f"/scim/v2/{provider_id or self.provider.pk}/{path}",
            data,
            content_type=content_type,
            headers=headers,
        )
        self.answer = answer
        document = json.loads(answer.content) if answer.content else None
        if expect is not None:
            assert answer.status_code == expect, (answer.status_code, document)
        return document

    def get(self, path: str, *, expect: int = 200) -> Any:
        """Read."""
        return self.send("GET", path, expect=expect)

    def create_user(self, *, expect: int = 201, **attributes: Any) -> Any:
        """Create a user with these attributes."""
        return self.send("POST", "Users", {"schemas": [schemas.USER], **attributes}, expect=expect)

    def create_group(self, *, expect: int = 201, **attributes: Any) -> Any:
        """Create a group with these attributes."""
        return self.send("POST", "Groups", {"schemas": [schemas.GROUP], **attributes}, expect=expect)

    def patch(self, path: str, *operations: dict[str, Any], expect: int = 200) -> Any:
        """Send operations."""
        return self.send("PATCH", path, {"schemas": [schemas.PATCH], "Operations": list(operations)}, expect=expect)

    def delete(self, path: str, *, expect: int = 204) -> Any:
        """Delete."""
        return self.send("DELETE", path, expect=expect)

    def members(self, group_id: str) -> set[str]:
        """Return the ids of the members of a group."""
        return {member["value"] for member in self.get(f"Groups/{group_id}").get("members", [])}


ISSUER = "https://login.example.com"


def provider(name: str = "Main", issuer: str = ISSUER, **values: Any) -> IdentityProvider:
    """Return the provider of that name, saved with these values."""
    return services.provider_save(name=name, issuer=issuer, **values, now=timezone.now())


def stopped(subject: str = "00u1") -> int:
    """Return how many locks of provisioning hold the principal."""
    return Lock.objects.filter(principal__subject=subject, source="scim", lifted_at=None).count()


def everything() -> list[list[dict[str, Any]]]:
    """Return all that provisioning can write, to tell whether anything changed."""
    models: list[Any] = [ScimUser, ScimMember, Group, Principal, Lock]
    return [list(model.objects.order_by("pk").values()) for model in models]


def owner_of_everything(name: str = "provisioning") -> User:
    """Return a person who may do everything."""
    return User.objects.filter(username=name).first() or User.objects.create_superuser(name)


def token_for(provider: IdentityProvider | None, *, user: User, scopes: tuple[str, ...] = ("scim",)) -> str:
    """Return a new API token."""
    now = timezone.now()
    _row, token = services.api_token_create(
        user=user,
        name="provisioning",
        scopes=scopes,
        provider=provider,
        expires_at=now + timedelta(days=1),
        actor=user,
        now=now,
    )
    return token
