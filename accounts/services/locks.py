"""Writes of locks and revocations: what stops a caller at once, on every gateway process.

A database trigger moves their version in the same transaction (`accounts/migrations/0004`), so that no writer can
forget to tell the data path. A lock is never changed but for its lifting: the row is the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q

from accounts.models import (
    ExchangedToken,
    Group,
    IdentityProvider,
    Lock,
    Principal,
    RevocationState,
    RevokedToken,
    SeenToken,
    User,
    in_force,
    is_in_force,
)
from accounts.saving import Refusals

LONGEST_TOKEN: Final = timedelta(seconds=86_400 + 2 * 120)
"""No provider may be set up to accept a token for longer, clock difference included; revocations are kept as long."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TARGETS: Final = ("principal", "group", "provider", "connection", "token", "agent")
_WORDS: Final = {
    "principal": "a principal",
    "group": "a group",
    "provider": "an identity provider",
    "connection": "a connection",
    "token": "a token",
    "agent": "an agent",
}


@transaction.atomic
def lock_place(
    *,
    kind: str,
    principal: Principal | None = None,
    group: Group | None = None,
    provider: IdentityProvider | None = None,
    connection: models.Model | None = None,
    token: str = "",
    agent: str = "",
    reason: str,
    ends_at: datetime | None = None,
    source: str,
    actor: User | None = None,
    now: datetime,
) -> Lock:
    """Stop one target from now on, until `ends_at` or until the lock is lifted.

    A lock of the same target and source that is in force for at least as long is returned as it is, so that a source
    that repeats itself places one lock. Another source has a lock of its own, and lifts only that.

    `kind` is one of `Lock.Kind`; the argument of that name is the target, and no other may be given. A token is its
    SHA-256 in hex, or its `jti` together with `provider`. `connection` is a row of `connections.Connection`. Those who
    meet the lock are told the `reason`. `ends_at` is None for a lock that holds until it is lifted; `source` is one of
    `Lock.Source`; `actor` is None for a receiver or a sweep.

    Raises:
        ValidationError: by field, what is missing or too much, a blank reason, an end that is not in the future.
    """
    refusals = Refusals()
    target = _target(
        refusals,
        kind,
        {
            "principal": principal,
            "group": group,
            "provider": provider,
            "connection": connection,
            "token": token.strip(),
            "agent": agent.strip(),
        },
    )
    if ends_at is not None and ends_at <= now:
        refusals.add("ends_at", "not_in_the_future", "Give an end in the future, or none.")
    if source not in Lock.Source.values:
        refusals.add("source", "invalid_choice", f"The source is one of {', '.join(Lock.Source.values)}.")
    # Two writers of one lock take turns; the trigger would make them wait at the same row anyway.
    RevocationState.objects.select_for_update().filter(pk=1).first()
    same = Lock.objects.filter(in_force(now), kind=kind, source=source, **target)
    lasting = same.filter(ends_at=None) if ends_at is None else same.filter(Q(ends_at=None) | Q(ends_at__gte=ends_at))
    lock = Lock(kind=kind, reason=reason.strip(), ends_at=ends_at, source=source, actor=actor, created_at=now, **target)
    refusals.check(lock)
    held = lasting.order_by("created_at").first()
    if held is not None:
        return held
    lock.save()
    return lock


@transaction.atomic
def lock_lift(*, lock_id: UUID, actor: User | None = None, now: datetime) -> Lock:
    """Lift a lock; its target may act again unless another lock holds it. One that is over stays as it was.

    Raises:
        Lock.DoesNotExist: there is no such lock.
    """
    lock = Lock.objects.select_for_update(of=("self",)).get(pk=lock_id)
    if is_in_force(lock, now):
        lock.lifted_at, lock.lifted_by = now, actor
        lock.save(update_fields=["lifted_at", "lifted_by"])
    return lock


@transaction.atomic
def locks_lift(*, principal: Principal, source: str, now: datetime) -> int:
    """Lift every lock that `source` has placed on `principal`, and return how many there were.

    A source takes back only its own word: a provider that enables an account again lifts no lock of a person.
    """
    held = Lock.objects.filter(in_force(now), kind=Lock.Kind.PRINCIPAL, principal=principal, source=source)
    return held.update(lifted_at=now, lifted_by=None)


@transaction.atomic
def token_revoke(
    *,
    kind: str,
    issuer: str,
    value: str,
    issued_until: datetime | None = None,
    source: str,
    reason: str,
    expires_at: datetime,
    now: datetime,
) -> RevokedToken:
    """Refuse tokens that verify, until the last of them has expired by itself.

    The same tokens may be revoked again: the later `issued_until` and the later `expires_at` count, the first source
    and reason stay. A token that is revoked by its digest takes along what the gateway gave out in exchange for it.

    `value` is the SHA-256 in hex, `jti`, `sid` or `sub`, as `kind` says; `issuer` is the tokens' `iss`, empty for a
    digest and only then. Tokens of a subject are refused that were issued (`iat`) up to `issued_until`. `expires_at` is
    when none of the tokens can be good any more; `revocation_end` where that is not known.

    Raises:
        ValidationError: by field, what is missing or malformed.
    """
    refusals = Refusals()
    issuer = "" if kind == RevokedToken.Kind.DIGEST else issuer
    if kind == RevokedToken.Kind.DIGEST:
        if not _DIGEST.fullmatch(value):
            refusals.add("value", "not_a_digest", "Give the SHA-256 of the token as 64 hexadecimal digits.")
    elif not issuer:
        refusals.add("issuer", "required", "Name the issuer of the token.")
    if (issued_until is not None) != (kind in RevokedToken.SUBJECT_KINDS):
        refusals.add("issued_until", "subject_only", "Tokens of a subject, and only those, are revoked up to a moment.")
    RevocationState.objects.select_for_update().filter(pk=1).first()
    row = RevokedToken.objects.select_for_update().filter(kind=kind, issuer=issuer, value=value).first()
    if row is None:
        row = RevokedToken(kind=kind, issuer=issuer, value=value, source=source, reason=reason, revoked_at=now)
        row.issued_until, row.expires_at = issued_until, expires_at
    else:
        moments = [moment for moment in (row.issued_until, issued_until) if moment is not None]
        row.issued_until = max(moments, default=None)
        row.expires_at = max(row.expires_at, expires_at)
    refusals.save(row)
    if kind == RevokedToken.Kind.DIGEST:
        _revoke_exchanged(row, now)
    return row


@transaction.atomic
def token_seen(*, issuer: str, jti: str, expires_at: datetime, now: datetime) -> bool:
    """Remember a logout or security event token, and return whether it was known already.

    Called in the transaction of the token's effect: when that fails nothing is remembered, and of two at the same time
    the second waits for the first. `expires_at` is when the token would be refused for its age.
    """
    _, is_new = SeenToken.objects.get_or_create(
        issuer=issuer, jti=jti, defaults={"seen_at": now, "expires_at": expires_at}
    )
    return not is_new


def revocation_end(now: datetime) -> datetime:
    """Return when every token that exists at `now` has certainly expired, for revocations that know no better."""
    return now + LONGEST_TOKEN


def _target(refusals: Refusals, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the one target, and refuse none, several and malformed ones."""
    allowed = {kind} | ({"provider"} if kind == Lock.Kind.TOKEN else set())
    for name in _TARGETS:
        if given[name] and name not in allowed:
            refusals.add(
                name, "other_target", f"This lock stops {_WORDS.get(kind, 'something else')}: leave this empty."
            )
    if kind in _TARGETS and not given[kind]:
        refusals.add(kind, "required", f"Say which: this lock stops {_WORDS[kind]}.")
    elif kind == Lock.Kind.TOKEN and given["provider"] is None and not _DIGEST.fullmatch(given["token"]):
        refusals.add(
            "token",
            "not_a_digest",
            "Give the SHA-256 of the token as 64 hexadecimal digits in lower case, or its jti with its provider.",
        )
    return {name: given[name] for name in allowed if name in _TARGETS}


def _revoke_exchanged(row: RevokedToken, now: datetime) -> None:
    """Revoke what the gateway itself gave out for the token, which nobody would otherwise think of."""
    given_out = ExchangedToken.objects.filter(subject_digest=row.value, expires_at__gt=now)
    for token in given_out:
        token_revoke(
            kind=RevokedToken.Kind.TOKEN_ID,
            issuer=settings.WARDGATE_PUBLIC_URL,
            value=str(token.pk),
            source=row.source,
            reason=row.reason,
            expires_at=token.expires_at + timedelta(seconds=120),
            now=now,
        )
