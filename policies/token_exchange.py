"""One use case: a verified identity gets a token of minutes for one connection (RFC 8693, RFC 7522).

It stands here and not in `accounts`, because who may use which connection is policy. What the token holds and how it is
signed is in `accounts.issuing`; this module asks only whether there is a door for it to open.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db.models import Q

from accounts import claims
from accounts.in_force import revocations_in_force
from accounts.models import ExchangedToken
from accounts.selectors import provisioned_groups
from accounts.services.issued import ExchangeRefused, exchanged_token_issue
from accounts.tokens import Identity, Narrowing
from connections.models import Connection

from .engine.compile import compile_connection
from .engine.exceptions import PatternRefused
from .engine.facts import Facts
from .engine.globs import Globs
from .engine.rules import has_access
from .models import AccessGrant
from .rows import connection_facts, grant_row

_PATH = "/mcp/"


def token_exchange(
    *,
    subject: Identity,
    actor: Identity | None,
    resource: str,
    tools: tuple[str, ...],
    grant_type: str,
    seconds: int | None,
    address: str,
    now: datetime,
) -> tuple[ExchangedToken, str]:
    """Give out a token for `subject` at the connection whose URL is `resource`; see `exchanged_token_issue`.

    Args:
        subject: who was proven by the presented token or assertion.
        actor: who acts for the subject, if a token of theirs was presented as well.
        resource: the connection's URL, to the letter.
        tools: globs of the tools that the token is good for; grants and guardrails decide besides.
        grant_type: by which grant it was asked for.
        seconds: the wanted lifetime.
        address: from where.
        now: the moment of the request.

    Raises:
        ExchangeRefused: invalid_target when there is no such connection, or no grant for the subject, which is the
            same to whoever asks; invalid_request when anybody involved is locked or revoked, or the tools are no globs.
    """
    _refuse_bad_globs(tools)
    connection = _connection(resource)
    revocations = revocations_in_force(now=now)
    connection_id = None if connection is None else connection.pk
    for identity in (subject, actor):
        stopped = None if identity is None else revocations.refusal(identity, connection_id, now.timestamp())
        if stopped is not None:
            raise ExchangeRefused("invalid_request", stopped.detail)
    if connection is None or not _has_access(subject, connection, now, address):
        raise ExchangeRefused("invalid_target", "There is no such connection for the subject.")
    return exchanged_token_issue(
        identity=subject,
        narrowing=Narrowing(connection.slug, tools),
        actors=_chain(subject, actor),
        grant_type=grant_type,
        seconds=seconds,
        address=address,
        now=now,
    )


def _connection(resource: str) -> Connection | None:
    """Return the active connection of exactly this URL."""
    slug = resource.removeprefix(f"{settings.WARDGATE_PUBLIC_URL}{_PATH}")
    return None if slug == resource else Connection.objects.filter(slug=slug, is_active=True).first()


def _has_access(subject: Identity, connection: Connection, now: datetime, address: str) -> bool:
    """Return whether a grant lets the subject in now, as the data path decides it; one that cannot be read does not."""
    groups = subject.groups
    if groups is None:
        groups = provisioned_groups(issuer=subject.issuer, subject=subject.subject)
    holder = Q(principal__issuer=subject.issuer, principal__subject=subject.subject)
    holder |= Q(group__provider__issuer=subject.issuer, group__name__in=groups or ())
    holder |= Q(principal=None, group=None)
    grants = AccessGrant.objects.filter(holder, Q(connection=connection) | Q(connection=None), is_active=True)
    try:
        policy = compile_connection(
            connection_id=str(connection.pk),
            grants=[grant_row(row) for row in grants.select_related("principal", "group__provider")],
            guardrails=(),
            patterns=(),
            connection=connection_facts(connection),
        )
    except PatternRefused:
        return False
    moment = now.timestamp()
    return has_access(policy, replace(subject, groups=groups), now=moment, facts=Facts(moment, address))


def _chain(subject: Identity, actor: Identity | None) -> tuple[str, ...]:
    """Return who acts, the one that asks first, and then those who acted before (RFC 8693, section 4.1)."""
    if actor is None:
        return subject.actors
    chain = (f"{actor.issuer}|{actor.subject}", *actor.actors, *subject.actors)
    if len(chain) > claims.MAX_ACTORS or "|" in actor.issuer:
        raise ExchangeRefused("invalid_request", f"A chain has at most {claims.MAX_ACTORS} actors.")
    return chain


def _refuse_bad_globs(tools: tuple[str, ...]) -> None:
    if not tools:
        raise ExchangeRefused("invalid_scope", "Name at least one tool, or none to have them all.")
    try:
        Globs.compile(tools, place="tools")
    except PatternRefused as error:
        raise ExchangeRefused("invalid_scope", f"The tools are no globs: {error}.") from None
