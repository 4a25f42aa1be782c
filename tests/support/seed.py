"""Fill the databases of gateways under test: one process for a whole test run, since Django takes seconds to start.

It reads requests, a line of JSON each, `{"environment": {...}, "document": {...}}`, and answers each with a line: empty
when the document is saved, else what went wrong. The environment is the gateway's; what services read of it is taken
over for the request.

The document is one object with lists `providers`, `groups`, `connections`, `grants`, `approval_rules`, `guardrails`,
`masking_patterns`, `access` (asked for by the principal itself), `decisions` and `withdrawals`; the members of an entry
are the arguments of the service that saves it. Where a service takes a row, the entry names it: a connection by slug, a
provider by issuer, a group or approval rule by name, a principal by subject (groups and principals belong to the
provider `provider`, else to the first one). A connection's `credential` holds `kind` and `secret`. A connection may be
anywhere on the loopback unless it says otherwise.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import django

Entry = dict[str, Any]


def seed(document: dict[str, list[Entry]], *, now: datetime) -> None:
    """Save every entry; what is there already is changed, where its service knows how."""
    from accounts import services as accounts
    from connections import services as connections
    from policies import services as policies

    for entry in document.get("providers", []):
        accounts.provider_save(**entry, now=now)
    for entry in document.get("groups", []):
        accounts.group_save(provider=_provider(entry.pop("provider", None)), **entry, now=now)
    for entry in document.get("connections", []):
        credential = entry.pop("credential", None)
        defaults: Entry = {"name": entry["slug"], "allowed_networks": ["127.0.0.0/8"]}
        connection = connections.connection_save(**{**defaults, **entry}, now=now)
        if credential is not None:
            connections.credential_set(connection=connection, **credential, now=now)
    for entry in document.get("grants", []):
        policies.grant_save(**_named_rows(entry, now=now), now=now)
    for entry in document.get("approval_rules", []):
        policies.approval_rule_save(**_reachable(entry), now=now)
    for entry in document.get("guardrails", []):
        policies.guardrail_save(**_named_rows(entry, now=now), now=now)
    for entry in document.get("masking_patterns", []):
        policies.masking_pattern_save(**_named_rows(entry, now=now), now=now)

    for entry in document.get("access", []):
        _ask(entry, now=now)
    for entry in document.get("decisions", []):
        _decide(entry, now=now)
    for entry in document.get("withdrawals", []):
        _withdraw(entry, now=now)


def _reachable(entry: Entry) -> Entry:
    """Return the entry of an approval rule with connections in the place of their slugs."""
    from connections.models import Connection

    slugs = entry.get("access_to")
    return entry if slugs is None else {**entry, "access_to": list(Connection.objects.filter(slug__in=slugs))}


def _ask(entry: Entry, *, now: datetime) -> None:
    """Ask for access for a time, as the principal whose access it will be; their console user is made if needed."""
    from accounts.models import User
    from policies import services as policies

    values = _named_rows(entry, now=now)
    user, _ = User.objects.get_or_create(principal=values["principal"], defaults={"username": entry["principal"]})
    policies.access_request(**values, by=user, now=now)


def _withdraw(entry: Entry, *, now: datetime) -> None:
    """End a request, as its requester."""
    from accounts.models import User
    from policies import services as policies
    from policies.models import ApprovalRequest

    request = ApprovalRequest.objects.get(code=entry["code"])
    user = User.objects.get(principal=request.principal)
    policies.request_withdraw(request_id=request.pk, user=user, reason=entry["reason"], now=now)


def _decide(entry: Entry, *, now: datetime) -> None:
    """Decide about a request as a console user, who gets the role of an approver when there is none of that name."""
    from accounts.models import Principal, RoleGrant, User
    from policies import services as policies
    from policies.models import ApprovalRequest

    values = dict(entry)
    user, is_new = User.objects.get_or_create(username=values.pop("by"), defaults={"is_staff": True})
    if is_new:
        RoleGrant.objects.create(user=user, role=RoleGrant.Role.APPROVER)
    subject = values.pop("as_principal", None)
    if subject is not None:
        user.principal = Principal.objects.get(subject=subject)
        user.save()
    request = ApprovalRequest.objects.get(code=values.pop("code"))
    # Permissions are cached on the object.
    deciding = policies.Deciding(user=User.objects.get(pk=user.pk), channel="test", view=policies.view_of(request))
    policies.request_decide(request_id=request.pk, deciding=deciding, **values, now=now)


def _named_rows(entry: Entry, *, now: datetime) -> Entry:
    """Return `entry` with rows in the place of their names."""
    from accounts import services as accounts
    from accounts.models import Principal
    from connections.models import Connection
    from policies.models import ApprovalRule

    rows = dict(entry)
    provider = _provider(rows.pop("provider", None)) if {"group", "principal"} & rows.keys() else None
    if rows.get("approval_rule"):
        rows["approval_rule"] = ApprovalRule.objects.get(name=rows["approval_rule"])
    if "connection" in rows:
        rows["connection"] = Connection.objects.get(slug=rows["connection"])
    if provider is not None and "group" in rows:
        rows["group"] = accounts.group_save(provider=provider, name=rows["group"], now=now)
    if provider is not None and "principal" in rows:
        rows["principal"], _ = Principal.objects.get_or_create(issuer=provider.issuer, subject=rows["principal"])
    return rows


def _provider(issuer: str | None) -> Any:
    from accounts.models import IdentityProvider

    providers = IdentityProvider.objects.order_by("created_at")
    return providers.get(issuer=issuer) if issuer else providers[0]


def _take_over(environment: dict[str, str]) -> None:
    """Use the gateway's database, keys and address from now on."""
    from django.conf import settings
    from django.db import connections as databases

    from gateway_project.settings import env

    os.environ["DATABASE_URL"] = environment["DATABASE_URL"]
    databases["default"].close()
    del databases["default"]
    databases.settings["default"].update(env.database("DATABASE_URL"))
    settings.WARDGATE_PUBLIC_URL = environment["WARDGATE_PUBLIC_URL"]
    settings.WARDGATE_MASTER_KEYS = environment["WARDGATE_MASTER_KEYS"]
    settings.SECRET_KEY = environment["SECRET_KEY"]


def serve() -> None:
    """Answer requests until the input ends."""
    from django.db import connections as databases

    for line in sys.stdin:
        request = json.loads(line)
        try:
            _take_over(request["environment"])
            seed(request["document"], now=datetime.now(UTC))
            problem = ""
        except Exception:
            problem = traceback.format_exc()
        finally:
            # A test may want to stop, or to drop, the database.
            databases["default"].close()
        print(json.dumps(problem), flush=True)


if __name__ == "__main__":
    django.setup()
    serve()
