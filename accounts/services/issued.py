"""Writes of what the gateway gives out: tokens for its REST API, and tokens of minutes for calls."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts import api_tokens, issuing
from accounts.exceptions import DomainError
from accounts.models import ApiToken, ExchangedToken, IdentityProvider, User
from accounts.saving import Refusals
from accounts.scopes import PROVIDER_SCOPES, SCOPES
from accounts.tokens import Identity, Narrowing

from .principals import principal_ensure
from .signing import signer_at


class NotYours(DomainError):
    """The token would speak, or speaks, for somebody who may more than the one who asks."""

    code = "not_yours"


@transaction.atomic
def api_token_create(
    *,
    user: User,
    name: str,
    scopes: Iterable[str],
    provider: IdentityProvider | None = None,
    expires_at: datetime | None = None,
    actor: User,
    made_with: ApiToken | None = None,
    now: datetime,
) -> tuple[ApiToken, str]:
    """Make a token for `user`, and return its row and the token itself, which nobody can read again.

    Args:
        user: whose permissions bound the token.
        name: what it is for.
        scopes: what it may be used for; see `accounts.scopes`.
        provider: for the scopes scim and events: on whose behalf the bearer speaks.
        expires_at: the end; None for the longest that WARDGATE_API_TOKEN_DAYS allows.
        actor: who asks. For somebody else only with the permission, and with every permission of that person.
        made_with: the token with which `actor` asks, if it is one: it makes none that may more, or live longer.
        now: the moment of the request.

    Raises:
        NotYours: `actor` may not make a token for `user`.
        ValidationError: by field, what cannot be saved.
    """
    _refuse_impersonation(user, actor)
    longest = now + timedelta(days=settings.WARDGATE_API_TOKEN_DAYS)
    if made_with is not None:
        longest = min(longest, made_with.expires_at)
    plain = api_tokens.made()
    refusals = Refusals()
    token = ApiToken(
        user=user,
        name=name,
        provider=provider,
        scopes=refusals.texts("scopes", scopes),
        prefix=api_tokens.prefix_of(plain),
        digest=api_tokens.digest_of(plain),
        created_at=now,
        expires_at=expires_at or longest,
    )
    _refuse_bad_scopes(token, made_with, refusals)
    if not now < token.expires_at <= longest:
        refusals.add("expires_at", "bad_end", f"The end must be after now and not after {longest:%Y-%m-%d %H:%M} UTC.")
    refusals.save(token)
    return token, plain


@transaction.atomic
def api_token_revoke(*, token_id: UUID, actor: User, now: datetime) -> ApiToken:
    """Revoke a token for good; once more changes nothing.

    Raises:
        ApiToken.DoesNotExist: there is no such token.
        NotYours: it is somebody else's, and `actor` may not revoke those.
    """
    token = ApiToken.objects.select_for_update().get(pk=token_id)
    if token.user_id != actor.pk and not actor.has_perm("accounts.change_apitoken"):
        raise NotYours("Only its person and those who may change API tokens can revoke this one.")
    if token.revoked_at is None:
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
    return token


def _refuse_impersonation(user: User, actor: User) -> None:
    """Refuse a token by which `actor` could do what they may not do themselves."""
    if user.pk == actor.pk or actor.is_superuser:
        return
    may_more = user.is_superuser or not user.get_all_permissions() <= actor.get_all_permissions()
    if may_more or not actor.has_perm("accounts.add_apitoken"):
        raise NotYours("You can make API tokens for yourself, and for people who may not do more than you.")


def _refuse_bad_scopes(token: ApiToken, made_with: ApiToken | None, refusals: Refusals) -> None:
    chosen = frozenset(token.scopes)
    if not chosen:
        refusals.add("scopes", "no_scope", "Name at least one scope.")
    for scope in token.scopes:
        if scope not in SCOPES:
            refusals.add("scopes", "unknown_scope", f"Each scope must be one of {', '.join(SCOPES)}.")
            break
    if made_with is not None and not chosen <= frozenset(made_with.scopes):
        refusals.add("scopes", "scope_not_held", "A token makes tokens with its own scopes only.")
    if chosen & PROVIDER_SCOPES and token.provider is None:
        refusals.add("provider", "provider_missing", "Name the identity provider that provisions or pushes events.")
    if token.provider is not None and not chosen & PROVIDER_SCOPES:
        refusals.add("provider", "provider_unused", "Only tokens with the scope scim or events name a provider.")
    if made_with is not None and made_with.provider is not None and token.provider != made_with.provider:
        refusals.add("provider", "provider_not_held", "A token of one identity provider makes tokens of that one only.")


class ExchangeRefused(DomainError):
    """No token is given out. `code` is one of RFC 6749 section 5.2 or RFC 8693 section 2.2.2."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class TooManyExchanges(ExchangeRefused):
    """The principal asks for more tokens than it may."""

    def __init__(self) -> None:
        super().__init__("slow_down", "This principal asks for too many tokens. Keep each one until it expires.")


@transaction.atomic
def exchanged_token_issue(
    *,
    identity: Identity,
    narrowing: Narrowing,
    actors: tuple[str, ...] = (),
    grant_type: str,
    seconds: int | None = None,
    address: str,
    now: datetime,
) -> tuple[ExchangedToken, str]:
    """Give out a token of minutes for `identity`, and return the row that is its evidence, and the token.

    The row is committed before anybody can have the token. Whether the connection exists for the principal, and whether
    anything is locked, was asked by the caller; the data path asks again at each use.

    Args:
        identity: who a token of an identity provider, or an assertion, was found to speak for.
        narrowing: the one connection, and the tools that are left.
        actors: who acts for the subject, the one that asks first.
        grant_type: by which grant it was asked for.
        seconds: the wanted lifetime; never longer than WARDGATE_EXCHANGED_TOKEN_SECONDS, and never past `identity`.
        address: from where.
        now: the moment of the request.

    Raises:
        TooManyExchanges: more than WARDGATE_EXCHANGES_PER_MINUTE for this principal.
        ExchangeRefused: what was presented has expired, is itself a token of the gateway, or says too much for one.
        SigningKeyUnusable, MasterKeysUnusable: nothing can be signed.
    """
    if identity.issuer == settings.WARDGATE_PUBLIC_URL:
        raise ExchangeRefused("invalid_request", "A token of the gateway is not exchanged again.")
    principal = principal_ensure(
        issuer=identity.issuer,
        subject=identity.subject,
        kind=identity.kind,
        display_name=identity.display_name,
        email=identity.email,
        now=now,
    )
    recent = principal.exchanged_tokens.filter(issued_at__gt=now - timedelta(minutes=1))
    if recent.count() >= settings.WARDGATE_EXCHANGES_PER_MINUTE:
        raise TooManyExchanges
    issued_at = int(now.timestamp())
    longest = settings.WARDGATE_EXCHANGED_TOKEN_SECONDS
    expires_at = min(issued_at + min(seconds or longest, longest), identity.expires_at)
    if expires_at <= issued_at:
        raise ExchangeRefused("invalid_request", "What was presented has expired.")
    row = ExchangedToken(
        principal=principal,
        grant_type=grant_type,
        connection_slug=narrowing.connection,
        tools=list(narrowing.tools),
        subject_digest=identity.token_digest.hex(),
        actors=list(actors),
        address=address[:64],
        issued_at=now,
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )
    order = issuing.Order(identity, str(row.pk), narrowing, actors, issued_at, expires_at)
    token = signer_at(now).sign(issuing.claims_of(order, public_url=settings.WARDGATE_PUBLIC_URL))
    if len(token) > settings.WARDGATE_TOKEN_BYTES:
        raise ExchangeRefused("invalid_request", "The principal is in more groups than one token can name.")
    row.save(force_insert=True)
    return row, token
