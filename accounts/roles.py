"""The roles of the console, and the permissions of each. Pure.

Every model is named in exactly one of three lists, so a model that is added later gives nobody anything until somebody
decides here who may see and change it; a test fails as long as one is not named. Permissions beyond Django's four
(view, add, change, delete) are named one by one.

A viewer sees configuration and who called what. An auditor sees everything that happened and changes nothing. An
approver decides held calls and configures nothing. An operator configures connections and policy, and stops callers. An
owner decides who is trusted: identity providers, people, roles, signing keys. Every role sees what a viewer sees; an
owner may do whatever the other four may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a person does here; the values are those of `RoleGrant.Role`."""

    VIEWER = "viewer"
    AUDITOR = "auditor"
    APPROVER = "approver"
    OPERATOR = "operator"
    OWNER = "owner"


EVERYBODY: Final = frozenset(Role)
_AUDIT = frozenset({Role.AUDITOR, Role.OWNER})
_AUDIT_AND_OPERATION = frozenset({Role.AUDITOR, Role.OPERATOR, Role.OWNER})
_OPERATION = frozenset({Role.OPERATOR, Role.OWNER})
_OWNERSHIP = frozenset({Role.OWNER})


@dataclass(frozen=True, slots=True)
class Configured:
    """A model whose rows people write: who sees them, and who adds, changes and deletes them."""

    seen_by: frozenset[Role]
    written_by: frozenset[Role]


CONFIGURATION: Final[Mapping[str, Configured]] = {
    "connections.connection": Configured(EVERYBODY, _OPERATION),
    "connections.credential": Configured(_AUDIT_AND_OPERATION, _OPERATION),
    "policies.accessgrant": Configured(EVERYBODY, _OPERATION),
    "policies.guardrail": Configured(EVERYBODY, _OPERATION),
    "policies.maskingpattern": Configured(EVERYBODY, _OPERATION),
    "policies.policydraft": Configured(EVERYBODY, _OPERATION),
    "policies.policytest": Configured(EVERYBODY, _OPERATION),
    "policies.backtest": Configured(EVERYBODY, _OPERATION),
    "policies.approvalrule": Configured(EVERYBODY, _OPERATION),
    "policies.clientbudget": Configured(EVERYBODY, _OPERATION),
    "policies.clientpatience": Configured(EVERYBODY, _OPERATION),
    "policies.noticechannel": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "connections.tool": Configured(EVERYBODY, _OPERATION),
    "accounts.group": Configured(EVERYBODY, _OPERATION),
    "accounts.principal": Configured(EVERYBODY, _OPERATION),
    "accounts.lock": Configured(EVERYBODY, _OPERATION),
    "accounts.revokedtoken": Configured(_AUDIT_AND_OPERATION, _OPERATION),
    "accounts.identityprovider": Configured(EVERYBODY, _OWNERSHIP),
    "accounts.eventtransmitter": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "accounts.samlprovider": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "accounts.loginclient": Configured(_AUDIT, _OWNERSHIP),
    "accounts.rolegrant": Configured(_AUDIT, _OWNERSHIP),
    "accounts.user": Configured(_AUDIT, _OWNERSHIP),
    "accounts.consolesession": Configured(_AUDIT, _OWNERSHIP),
    "policies.slackidentity": Configured(_AUDIT, _OWNERSHIP),
    "gateway_sessions.recordaccess": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "gateway_sessions.savedview": Configured(EVERYBODY, EVERYBODY),
    "accounts.apitoken": Configured(_AUDIT, _OWNERSHIP),
    "accounts.signingkey": Configured(_AUDIT, _OWNERSHIP),
    "gateway_sessions.checkpointkey": Configured(_AUDIT, _OWNERSHIP),
    "gateway_sessions.checkpointsink": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "axes.accessattempt": Configured(_AUDIT, _OWNERSHIP),
    "gateway_sessions.retentionrule": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "gateway_sessions.exportsink": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
    "gateway_sessions.legalhold": Configured(_AUDIT_AND_OPERATION, _OWNERSHIP),
}
"""Models that people configure, by their label in lower case."""

EVIDENCE: Final[Mapping[str, frozenset[Role]]] = {
    "gateway_sessions.session": EVERYBODY,
    "gateway_sessions.gatewayinstance": EVERYBODY,
    "gateway_sessions.event": _AUDIT,
    "gateway_sessions.checkpoint": _AUDIT_AND_OPERATION,
    "gateway_sessions.eventrelease": _AUDIT,
    "gateway_sessions.activity": EVERYBODY,
    "gateway_sessions.recording": _AUDIT_AND_OPERATION,
    "gateway_sessions.exportcursor": _AUDIT_AND_OPERATION,
    "gateway_sessions.tombstone": _AUDIT_AND_OPERATION,
    "gateway_sessions.callindex": EVERYBODY,
    "gateway_sessions.indexcursor": _AUDIT,
    "gateway_sessions.readevent": _AUDIT,
    "gateway_sessions.sessionstop": EVERYBODY,
    "policies.policystate": EVERYBODY,
    "policies.policyversion": EVERYBODY,
    "policies.approvalrequest": EVERYBODY,
    "policies.approvaldecision": EVERYBODY,
    "policies.approvaldelegation": EVERYBODY,
    "policies.approvalmessage": _AUDIT,
    "policies.approvalrun": _AUDIT,
    "policies.approvaluse": EVERYBODY,
    "policies.approvalview": _AUDIT,
    "policies.noticedelivery": _AUDIT_AND_OPERATION,
    "policies.noticeoutbox": _AUDIT_AND_OPERATION,
    "policies.noticepreference": _AUDIT,
    "policies.pushsubscription": _AUDIT,
    "accounts.revocationstate": EVERYBODY,
    "accounts.seentoken": _AUDIT,
    "accounts.exchangedtoken": _AUDIT_AND_OPERATION,
    "accounts.scimuser": _AUDIT_AND_OPERATION,
    "accounts.scimmember": _AUDIT_AND_OPERATION,
    "accounts.scimsync": _AUDIT_AND_OPERATION,
    "accounts.samlassertion": _AUDIT,
    "admin.logentry": _AUDIT,
}
"""Models that the gateway alone writes, and who sees them. Nobody adds, changes or deletes their rows."""

NOBODY: Final = frozenset(
    {
        "accounts.samlrequest",
        "account.emailaddress",
        "account.emailconfirmation",
        "auth.group",
        "auth.permission",
        "axes.accessattemptexpiration",
        "axes.accessfailurelog",
        "axes.accesslog",
        "contenttypes.contenttype",
        "django_celery_beat.clockedschedule",
        "django_celery_beat.crontabschedule",
        "django_celery_beat.intervalschedule",
        "django_celery_beat.periodictask",
        "django_celery_beat.periodictasks",
        "django_celery_beat.solarschedule",
        "gateway_sessions.checkpointhead",
        "mfa.authenticator",
        "policies.inboxfilter",
        "policies.approvallegs",
        "policies.pushkey",
        "policies.slackcode",
        "policies.slackmessage",
        "policies.slackseen",
        "sessions.session",
    }
)
"""Models of the machinery, and what people keep for themselves alone: no role reaches them."""

SPECIAL: Final[Mapping[str, frozenset[Role]]] = {
    "gateway_sessions.see_all_sessions": frozenset({Role.AUDITOR, Role.APPROVER, Role.OPERATOR, Role.OWNER}),
    "gateway_sessions.end_session": _OPERATION,
    "gateway_sessions.unmask_session": _OWNERSHIP,
    "policies.publish_policyversion": _OPERATION,
    "policies.decide_approvalrequest": frozenset({Role.APPROVER, Role.OWNER}),
    "policies.break_glass_approvalrequest": _OWNERSHIP,
    "policies.see_all_approvalrequest": frozenset({Role.AUDITOR, Role.APPROVER, Role.OPERATOR, Role.OWNER}),
    "policies.request_access_approvalrequest": EVERYBODY,
}
"""Permissions of their own, such as the one to decide a held call, and who has them."""

_WRITES = ("add", "change", "delete")


def _permission(action: str, model: str) -> str:
    app, _, name = model.partition(".")
    return f"{app}.{action}_{name}"


def _permissions() -> Mapping[Role, frozenset[str]]:
    found: dict[Role, set[str]] = {role: set() for role in Role}

    def give(roles: Iterable[Role], *permissions: str) -> None:
        for role in roles:
            found[role].update(permissions)

    for model, access in CONFIGURATION.items():
        give(access.seen_by, _permission("view", model))
        give(access.written_by, *(_permission(action, model) for action in _WRITES))
    for model, seen_by in EVIDENCE.items():
        give(seen_by, _permission("view", model))
    for permission, roles in SPECIAL.items():
        give(roles, permission)
    return {role: frozenset(permissions) for role, permissions in found.items()}


PERMISSIONS: Final = _permissions()
"""The permissions of each role, as `app.action_model`."""


def permissions_of(names: Collection[str]) -> frozenset[str]:
    """Return what the roles `names` may do together; a name that is no role gives nothing."""
    return frozenset().union(*(PERMISSIONS[role] for role in Role if role.value in names))


def matrix() -> str:
    """Return who may do what, as the Markdown table of docs/roles.md."""
    lines = ["| | " + " | ".join(Role) + " |", "|---|" + "---|" * len(Role)]

    def line(label: str, cells: Iterable[str]) -> None:
        lines.append(f"| {label} | " + " | ".join(cells) + " |")

    for model, access in CONFIGURATION.items():
        line(f"`{model}`", (_cell(role in access.seen_by, role in access.written_by) for role in Role))
    for model, seen_by in EVIDENCE.items():
        line(f"`{model}`", (_cell(role in seen_by, False) for role in Role))
    for permission, roles in SPECIAL.items():
        line(f"`{permission}`", ("may" if role in roles else "" for role in Role))
    return "\n".join(lines)


def _cell(may_see: bool, may_write: bool) -> str:
    if may_write:
        return "sees, writes"
    return "sees" if may_see else ""
