"""Why a SCIM request is refused, as the protocol says it. Pure."""

from __future__ import annotations

from typing import Any, Final

from accounts.exceptions import DomainError

ERROR_SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:Error"


class ScimRefused(DomainError):
    """A SCIM request is refused with `status`; `code` is its `scimType`, or empty where the protocol has none.

    The sentence never repeats what was sent.

    Source: RFC 7644 section 3.12, table 9.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return the error as the protocol writes it."""
        kind = {"scimType": self.code} if self.code else {}
        return {"schemas": [ERROR_SCHEMA], "status": str(self.status), **kind, "detail": str(self)}


def bad_filter(detail: str) -> ScimRefused:
    """Return the refusal of a filter that is not understood."""
    return ScimRefused(400, "invalidFilter", detail)


def bad_path(detail: str) -> ScimRefused:
    """Return the refusal of a path that is not understood."""
    return ScimRefused(400, "invalidPath", detail)


def bad_syntax(detail: str) -> ScimRefused:
    """Return the refusal of a body that has not the form of its schema."""
    return ScimRefused(400, "invalidSyntax", detail)


def bad_value(detail: str) -> ScimRefused:
    """Return the refusal of a value that an attribute cannot have."""
    return ScimRefused(400, "invalidValue", detail)


def no_target(detail: str) -> ScimRefused:
    """Return the refusal of a PATCH operation that names nothing to change."""
    return ScimRefused(400, "noTarget", detail)


def immutable(detail: str) -> ScimRefused:
    """Return the refusal to change what only the gateway writes."""
    return ScimRefused(400, "mutability", detail)


def taken(detail: str) -> ScimRefused:
    """Return the refusal of a second resource with a value that is unique (RFC 7644 section 3.3)."""
    return ScimRefused(409, "uniqueness", detail)


def not_found() -> ScimRefused:
    """Return the answer for what this provider has not provisioned."""
    return ScimRefused(404, "", "There is no such resource.")
