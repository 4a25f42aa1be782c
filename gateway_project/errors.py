"""REST: the one table from an error to an HTTP answer.

Every error has the same body: `code`, stable and for programs; `detail`, a sentence; and for refused values `fields`,
a list of the same two for each field (`non_field_errors` for the whole).
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ObjectDoesNotExist, PermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import ProtectedError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from accounts.exceptions import DomainError
from accounts.proofs import ProofNeeded
from accounts.services.issued import NotYours
from connections.exceptions import MasterKeysUnusable

STATUS: dict[type[Exception], int] = {
    MasterKeysUnusable: status.HTTP_503_SERVICE_UNAVAILABLE,
    NotYours: status.HTTP_403_FORBIDDEN,
    ProofNeeded: status.HTTP_403_FORBIDDEN,
    DomainError: status.HTTP_409_CONFLICT,
}
"""The first class that an error is one of decides; what a service refuses is a conflict unless it is named here."""

INVALID = "The values were refused; `fields` says which and why."
WHOLE = "non_field_errors"


def handle(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the answer for `exc`; None hands it on to Django's own 500."""
    if isinstance(exc, DjangoValidationError):
        set_rollback()
        return _answer(status.HTTP_400_BAD_REQUEST, "invalid", INVALID, _fields_of_django(exc))
    if isinstance(exc, DomainError):
        set_rollback()
        number = next(number for kind, number in STATUS.items() if isinstance(exc, kind))
        return _answer(number, exc.code, str(exc))
    if isinstance(exc, ProtectedError):
        set_rollback()
        return _answer(status.HTTP_409_CONFLICT, "in_use", "Evidence refers to it, so it stays: deactivate it instead.")
    if isinstance(exc, Http404 | ObjectDoesNotExist):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    response = exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        response.data = _body("invalid", INVALID, _fields_of_rest(exc.get_full_details()))
    else:
        details: Any = exc.get_full_details()
        response.data = _body(str(details["code"]), str(details["message"]))
    return response


def _answer(number: int, code: str, detail: str, fields: dict[str, Any] | None = None) -> Response:
    return Response(_body(code, detail, fields), status=number)


def _body(code: str, detail: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"code": code, "detail": detail, **({"fields": fields} if fields else {})}


def _fields_of_django(error: DjangoValidationError) -> dict[str, list[dict[str, str]]]:
    by_field = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
    return {
        (WHOLE if name == NON_FIELD_ERRORS else name): [
            {"code": str(part.code or "invalid"), "detail": " ".join(part.messages)} for part in parts
        ]
        for name, parts in by_field.items()
    }


def _fields_of_rest(details: Any, name: str = WHOLE) -> dict[str, list[dict[str, str]]]:
    """Flatten nested details; what is inside a list or an object is named by its place, such as `tools.0`."""
    if isinstance(details, dict) and set(details) == {"message", "code"} and isinstance(details["code"], str):
        return {name: [{"code": details["code"], "detail": str(details["message"])}]}
    fields: dict[str, list[dict[str, str]]] = {}
    if isinstance(details, list):
        pairs = [(name if _is_leaf(part) else f"{name}.{place}", part) for place, part in enumerate(details)]
    else:
        pairs = [(key if name == WHOLE else f"{name}.{key}", part) for key, part in details.items()]
    for place, part in pairs:
        for found, errors in _fields_of_rest(part, str(place)).items():
            fields.setdefault(found, []).extend(errors)
    return fields


def _is_leaf(details: Any) -> bool:
    return isinstance(details, dict) and set(details) == {"message", "code"}
