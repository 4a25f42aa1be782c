"""Make somebody who may decide, and print a token of theirs for the REST API: run in the gateway's environment."""

from __future__ import annotations

from datetime import UTC, datetime

import django


def main(name: str) -> str:
    """Return the token."""
    from accounts.models import RoleGrant, User
    from accounts.services import api_token_create

    user = User.objects.create_user(name, is_staff=True)
    RoleGrant.objects.create(user=user, role=RoleGrant.Role.APPROVER)
    user = User.objects.get(pk=user.pk)
    return api_token_create(user=user, actor=user, name="decider", scopes=["approve"], now=datetime.now(UTC))[1]


if __name__ == "__main__":
    django.setup()
    print(main("grace"))
