"""The use case of RFC 7009: whoever holds a token, or speaks for the gateway's operator, makes it worthless."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import transaction

from accounts.models import Lock, RevokedToken
from accounts.tokens import Identity

from .locks import revocation_end, token_revoke

_LATE = timedelta(seconds=120)
"""The largest clock difference that a provider may have."""


@transaction.atomic
def presented_token_revoke(
    *, raw: bytes, identity: Identity | None, is_malleable: bool, reason: str, now: datetime
) -> None:
    """Revoke the token `raw`.

    Its digest alone is not enough where the signature can be written in a second way that verifies as well, as that of
    ECDSA can: then the `jti` is revoked too, and a token without one takes along what its subject was issued before it.

    `identity` is who it speaks for, when it verified; `is_malleable` says that it was signed with ECDSA.
    """
    ends_at = revocation_end(now) if identity is None else datetime.fromtimestamp(identity.expires_at, UTC) + _LATE
    revoked = partial(token_revoke, source=Lock.Source.REVOCATION, reason=reason, now=now)
    digest = hashlib.sha256(raw).hexdigest()
    revoked(kind=RevokedToken.Kind.DIGEST, issuer="", value=digest, expires_at=ends_at)
    if identity is None:
        return
    if identity.token_id:
        revoked(kind=RevokedToken.Kind.TOKEN_ID, issuer=identity.issuer, value=identity.token_id, expires_at=ends_at)
    elif is_malleable:
        revoked(
            kind=RevokedToken.Kind.SUBJECT,
            issuer=identity.issuer,
            value=identity.subject,
            issued_until=datetime.fromtimestamp(identity.issued_at, UTC),
            expires_at=revocation_end(now),
        )
