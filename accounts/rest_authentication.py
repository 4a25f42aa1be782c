"""Who calls the REST API: a person with a console session, or a bearer of an API token. There is no third way in.

A request with an Authorization header is judged by that alone: when the token is no good the session beside it is
not looked at. What an API token may do is the scope that the route asks for *and* the permissions of its user. A route
says which scope each method needs in `required_scopes`; a method that is not listed is closed to API tokens. The check
is part of authentication, which no view can leave out by naming other permission classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts import api_tokens
from accounts.client_address import address_of
from accounts.models import ApiToken, User

READ_METHODS = ("GET", "HEAD", "OPTIONS")
WRITE_METHODS = ("POST", "PUT", "PATCH", "DELETE")


def scopes_by_method(*, read: str | None = None, write: str | None = None) -> dict[str, str]:
    """Return the scope of every method; without `read` or `write` those methods are closed to API tokens."""
    reading = dict.fromkeys(READ_METHODS, read) if read else {}
    writing = dict.fromkeys(WRITE_METHODS, write) if write else {}
    return {**reading, **writing}


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer wg_...`. `request.auth` is the ApiToken. No CSRF token: no browser adds the header."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the token's user and the token; None without an Authorization header.

        Raises:
            AuthenticationFailed: the header brings no good API token.
            PermissionDenied: it does, and the token was not made for this.
        """
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        try:
            token = api_tokens.authenticate(
                header,
                scope=required_scope(request.parser_context, request.method or ""),
                now=timezone.now(),
                address=address_of(request._request),
            )
        except api_tokens.ScopeMissing as error:
            raise PermissionDenied(str(error), code=error.code) from None
        except api_tokens.ApiTokenRefused as error:
            raise AuthenticationFailed(str(error), code=error.code) from None
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 (RFC 6750, section 3)."""
        return 'Bearer realm="wardgate"'


def required_scope(context: Mapping[str, Any] | None, method: str) -> str | None:
    """Return the scope that the view of `context` asks for `method`; None when it is closed to API tokens."""
    view = (context or {}).get("view")
    scopes: Mapping[str, str] = getattr(view, "required_scopes", {})
    return scopes.get(method)


class ApiTokenScheme(OpenApiAuthenticationExtension):
    """How the schema of the API describes the tokens."""

    target_class = "accounts.rest_authentication.ApiTokenAuthentication"
    name = "apiToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "wg_..."}
