"""The rows of the demo, written through the same services as the admin's.

What is there stays as it is: a second start never undoes what somebody changed in the console. Only the addresses of
the demo's own servers and a new credential are brought up to date.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts.models import IdentityProvider, RoleGrant
from accounts.services import group_save, provider_save, role_grant_save
from accounts.services.login_clients import login_client_save
from connections.models import Connection, Credential
from connections.services import connection_save, credential_set
from gateway_project.demo.people import ADMINS, AUDIENCE, CLIENT_ID, CONNECTION_SLUG, SUPPORT
from policies.engine.packs import DEFAULT_PATTERNS
from policies.models import Guardrail, MaskingPattern
from policies.services import grant_save, guardrail_save, masking_pattern_save
from sessions.models import CheckpointSink
from sessions.shipping import checkpoint_sink_save

COPIES = "copies"
"""Folder of the copies of checkpoints, below WARDGATE_CHECKPOINT_FOLDER."""
PROVIDER_NAME = "Demo identity provider"
LOOPBACK = ["127.0.0.0/8"]

ROLES = {
    SUPPORT: [RoleGrant.Role.VIEWER],
    ADMINS: [RoleGrant.Role.AUDITOR, RoleGrant.Role.APPROVER, RoleGrant.Role.OPERATOR],
}
"""What the groups may do at the console. Nobody of the demo is an owner: that stays with the local administrator."""

SUPPORT_TOOLS = ["get_order", "search_*", "list_*", "export_*", "delete_*", "refund_*"]
"""Wide on purpose: the guardrails, not the grant, stop what is destructive."""


@transaction.atomic
def seed(*, issuer: str, upstream_url: str, credential: str, is_new_credential: bool, now: datetime) -> None:
    """Write what is missing of the demo.

    Args:
        issuer: the demo identity provider's.
        upstream_url: MCP endpoint of the demo's orders server.
        credential: what that server wants to see; sealed at once.
        is_new_credential: it was made in this start, so a stored one is of an earlier demo.
        now: the time that the rows carry.
    """
    provider = _provider(issuer, now)
    connection = _connection(upstream_url, provider, now)
    if is_new_credential or not Credential.objects.filter(connection=connection).exists():
        credential_set(connection=connection, kind=Credential.Kind.BEARER, secret=credential, now=now)
    if settings.WARDGATE_CHECKPOINT_FOLDER and not CheckpointSink.objects.exists():
        checkpoint_sink_save(sink_id=None, name="Copies in a file", kind="file", target=COPIES, now=now)


def _provider(issuer: str, now: datetime) -> IdentityProvider:
    known = IdentityProvider.objects.filter(Q(issuer=issuer) | Q(name=PROVIDER_NAME)).first()
    if known is not None and known.issuer == issuer:
        return known
    provider = provider_save(
        provider_id=known.pk if known else None,
        name=PROVIDER_NAME,
        issuer=issuer,
        audiences=[AUDIENCE],
        algorithms=["RS256"],
        token_types=["at+jwt"],
        allowed_networks=LOOPBACK,
        now=now,
    )
    if known is None:
        _console_login(provider, now)
    return provider


def _console_login(provider: IdentityProvider, now: datetime) -> None:
    """Let the people of a provider that was just made log in to the console, with a role for each group."""
    login_client_save(provider=provider, client_id=CLIENT_ID, scopes=["profile", "groups"], now=now)
    for name, roles in ROLES.items():
        group = group_save(provider=provider, name=name, now=now)
        for role in roles:
            role_grant_save(group=group, role=role, now=now)


def _connection(upstream_url: str, provider: IdentityProvider, now: datetime) -> Connection:
    connection = Connection.objects.filter(slug=CONNECTION_SLUG).first()
    if connection is not None and connection.upstream_url == upstream_url:
        return connection
    is_new = connection is None
    connection = connection_save(
        connection_id=None if connection is None else connection.pk,
        slug=CONNECTION_SLUG,
        name="Orders (demo)",
        upstream_url=upstream_url,
        allowed_networks=LOOPBACK,
        now=now,
    )
    if is_new:
        _policy(connection, provider, now)
    return connection


def _policy(connection: Connection, provider: IdentityProvider, now: datetime) -> None:
    """Write the policy of a connection that was just made."""
    support, admins = (group_save(provider=provider, name=name, now=now) for name in (SUPPORT, ADMINS))
    grant_save(
        connection=connection,
        group=support,
        tools=SUPPORT_TOOLS,
        prompts=["answer_customer"],
        resources=["orders://*"],
        note="Support works with orders.",
        now=now,
    )
    grant_save(
        connection=connection, group=admins, tools=["*"], prompts=["*"], resources=["*"], note="Admins.", now=now
    )
    for name, effect, names, reason in (
        ("orders are never deleted", Guardrail.Effect.DENY, ["delete_*"], "Orders are kept for ten years."),
        ("refunds wait for a person", Guardrail.Effect.HOLD, ["refund_*"], "Money leaves only after a second look."),
    ):
        if not Guardrail.objects.filter(name=name).exists():
            guardrail_save(
                name=name, effect=effect, connection=connection, methods=["tools/call"], names=names,
                reason=reason, now=now,
            )  # fmt: skip
    known = set(MaskingPattern.objects.values_list("name", flat=True))
    for pattern in DEFAULT_PATTERNS:
        if pattern.name not in known:
            masking_pattern_save(
                name=pattern.name, pattern=pattern.pattern, check_kind=pattern.check,
                replacement=pattern.replacement, now=now,
            )  # fmt: skip
