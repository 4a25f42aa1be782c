"""How Django learns what somebody may do, and who may log in with a password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend, ModelBackend

from accounts import roles
from accounts.models import User


class RoleBackend(BaseBackend):
    """Permissions from roles: those of the groups at the last login, and those given to the person.

    People who log in at an identity provider have their session through this backend.
    """

    def get_user(self, user_id: Any) -> User | None:
        """Return the active person of a session."""
        return User.objects.filter(pk=user_id, is_active=True).first()

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return every permission that follows from the roles of `user_obj`; of single rows there are none.

        They are remembered on the object, which lives for one request.
        """
        if not user_obj.is_active or user_obj.is_anonymous or obj is not None:
            return set()
        if not hasattr(user_obj, "_role_permissions"):
            names = {*user_obj.role_names, *user_obj.roles.values_list("role", flat=True)}
            user_obj._role_permissions = set(roles.permissions_of(names))
        found: set[str] = user_obj._role_permissions
        return found

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Tell whether `user_obj` may do anything in the app."""
        return any(permission.startswith(f"{app_label}.") for permission in self.get_all_permissions(user_obj))


class LocalBackend(ModelBackend):
    """Passwords, for emergency accounts alone: everybody else comes through an identity provider.

    A name that does not exist, a wrong password, and an account that may not use one take the same time: each costs
    one computation of the password hash.
    """

    def user_can_authenticate(self, user: Any) -> bool:
        """Tell whether the account is active and may use a password at all."""
        return super().user_can_authenticate(user) and (user.is_break_glass or user.is_superuser)

    def get_user(self, user_id: Any) -> User | None:
        """Return the active person of a session, however they logged in."""
        return User.objects.filter(pk=user_id, is_active=True).first()
