"""Makes a row of any model, so that tests over all of them need no list of their own."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from django.db import models
from django.utils import timezone

from accounts.models import User

_NUMBERS = itertools.count(1)
HINTS: Final[dict[str, dict[str, Any]]] = {
    "accounts.lock": {"kind": "agent", "agent": "robot"},
    "accounts.rolegrant": {"role": "viewer", "user": "accounts.user"},
    "accounts.identityprovider": {"issuer": "https://idp-{n}.example.com"},
    "connections.connection": {"slug": "connection-{n}", "upstream_url": "https://c-{n}.example.com/mcp"},
    "gateway_sessions.recording": {"session": "gateway_sessions.session"},
    "gateway_sessions.savedview": {"is_shared": True},
    "policies.accessgrant": {"connection": "connections.connection", "principal": "accounts.principal"},
    "policies.maskingpattern": {"pattern": "[a-z]+"},
}
"""What constraints of the database ask for beyond the types of the fields; a model's label stands for a row of it."""


def row_of(model: type[models.Model], **values: Any) -> Any:
    """Return a saved row of `model`: what has a default takes it, every other field gets something that fits."""
    if model is User:
        return User.objects.create_user(f"user-{next(_NUMBERS)}", **values)
    number = next(_NUMBERS)
    hints = {name: _hinted(model, name, hint, number) for name, hint in HINTS.get(model._meta.label_lower, {}).items()}
    given = {**hints, **values}
    for field in model._meta.concrete_fields:
        is_needed = not (field.has_default() or field.null or field.blank or isinstance(field, models.AutoField))
        if field.name not in given and (is_needed or (field.unique and not field.null and not field.has_default())):
            given[field.name] = _value(field, number)
    row = model(**given)
    row.save(force_insert=True)
    return row


def _hinted(model: type[models.Model], name: str, hint: Any, number: int) -> Any:
    field = model._meta.get_field(name)
    if field.is_relation:
        return row_of(field.related_model)
    return hint.replace("{n}", str(number)) if isinstance(hint, str) else hint


def _value(field: Any, number: int) -> Any:
    """Return something that the column takes, different for each `number`."""
    match field:
        case models.ForeignKey():
            return row_of(field.related_model)
        case models.DateTimeField():
            return timezone.now() + timedelta(hours=1)
        case models.JSONField():
            return {}
        case models.UUIDField():
            return uuid4()
        case models.BinaryField():
            return bytes(32)
        case models.BooleanField():
            return False
        case models.IntegerField() | models.FloatField():
            return number
        case models.CharField() if field.choices:
            return field.choices[0][0]
        case models.CharField() | models.TextField():
            text = f"row-{number}"
            return text.rjust(field.max_length, "0") if field.max_length == 64 else text
    raise AssertionError(f"There is no value for {field!r}: add the model to HINTS in tests/security/rows.py.")
