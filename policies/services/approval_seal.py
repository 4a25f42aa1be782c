"""What is kept of a held call: its bytes, sealed together with everything that an approver is shown of it.

The ciphertext opens only in the row that it was made for, and only while that row says what it said when the request
was opened. So neither the bytes, nor what people decide about, nor who has to decide can be exchanged alone.
"""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from typing import Any

from accounts import sealing, vault
from policies.models import ApprovalRequest

_PLACE = "policies_approvalrequest.body"


def seal_body(request: ApprovalRequest, body: bytes) -> None:
    """Keep `body` in the request, whose other columns are set.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    kept = sealing.sealed(body.decode(), place=_place(request), row_id=request.pk)
    request.key_id, request.wrapped_key, request.ciphertext = kept.key_id, kept.wrapped_key, kept.ciphertext


def open_body(request: ApprovalRequest) -> bytes:
    """Return the bytes that were held.

    Raises:
        vault.CannotOpen: they, or what was shown of them, were changed, or the master key is gone.
    """
    kept = vault.Sealed(request.key_id, bytes(request.wrapped_key or b""), bytes(request.ciphertext or b""))
    return sealing.opened(kept, place=_place(request), row_id=request.pk).reveal()


def held_calls_seal_again() -> tuple[int, int]:
    """Seal the bytes of held calls under the first master key; return how many moved, and how many do not open.

    Those that are over move as well, since a run that left nothing may be given back. One that is over and does not
    open counts as neither: nothing will ever run from it, with whatever key.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    rows = ApprovalRequest.objects.exclude(ciphertext=None)
    moved, stuck = sealing.bound_rows_seal_again(
        rows, bound_to=lambda request: sealing.binding(_place(request), request.pk)
    )
    is_open = [ApprovalRequest.State.HELD, ApprovalRequest.State.APPROVED]
    waiting = set(rows.filter(state__in=is_open).values_list("pk", flat=True))
    return moved, len(waiting.intersection(stuck))


def _place(request: ApprovalRequest) -> str:
    shown = [
        request.kind,
        str(request.principal_id),
        request.client_id,
        str(request.connection_id),
        str(request.session_id),
        request.method,
        request.name,
        request.rule_name,
        _exact(request.arguments),
        request.masked_count,
        bytes(request.binding).hex(),
        bytes(request.arguments_sha256 or b"").hex(),
        _exact(request.stages),
    ]
    text = json.dumps(shown, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return f"{_PLACE}.{sha256(text.encode()).hexdigest()}"


def _exact(value: Any) -> Any:
    """Return a JSON value with its numbers as texts of all their digits: the database knows neither 1e22 nor -0.0."""
    if isinstance(value, dict):
        return {name: _exact(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(member) for member in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ["s", value] if isinstance(value, str) else value
    digits = f"{Decimal(repr(value)):f}"
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return ["n", "0" if digits in {"-0", ""} else digits]
