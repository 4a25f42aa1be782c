"""The sidebar of the console: the words of the product, in the order of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from policies.selectors import may_simulate
from policies.services.deciders import DECIDE

_GROUPS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    (
        "What happened",
        (
            ("Sessions", "play_circle", "gateway_sessions", "session"),
            ("Events", "receipt_long", "gateway_sessions", "event"),
            ("Saved views", "bookmark", "gateway_sessions", "savedview"),
            ("Who read the record", "visibility", "gateway_sessions", "readevent"),
            ("Record access", "groups_2", "gateway_sessions", "recordaccess"),
            ("Ended sessions", "stop_circle", "gateway_sessions", "sessionstop"),
            ("Recordings", "inventory_2", "gateway_sessions", "recording"),
            ("Retention", "auto_delete", "gateway_sessions", "retentionrule"),
            ("Legal holds", "gavel", "gateway_sessions", "legalhold"),
            ("Export sinks", "output", "gateway_sessions", "exportsink"),
            ("Deletions", "delete_history", "gateway_sessions", "tombstone"),
            ("Checkpoints", "verified", "gateway_sessions", "checkpoint"),
            ("Copies of checkpoints", "outbox", "gateway_sessions", "checkpointsink"),
            ("Keys of the record", "signature", "gateway_sessions", "checkpointkey"),
            ("Released months", "event_busy", "gateway_sessions", "eventrelease"),
            ("Gateway processes", "memory", "gateway_sessions", "gatewayinstance"),
        ),
    ),
    (
        "Where to",
        (
            ("Connections", "lan", "connections", "connection"),
            ("Credentials", "key", "connections", "credential"),
            ("Tools", "handyman", "connections", "tool"),
        ),
    ),
    (
        "What is allowed",
        (
            ("Access grants", "how_to_reg", "policies", "accessgrant"),
            ("Guardrails", "shield", "policies", "guardrail"),
            ("Approval rules", "how_to_vote", "policies", "approvalrule"),
            ("Client budgets", "hourglass_top", "policies", "clientbudget"),
            ("Client patiences", "hourglass_bottom", "policies", "clientpatience"),
            ("Approval requests", "pending_actions", "policies", "approvalrequest"),
            ("Delegations", "switch_account", "policies", "approvaldelegation"),
            ("Notification channels", "notifications", "policies", "noticechannel"),
            ("Notifications", "outgoing_mail", "policies", "noticedelivery"),
            ("Masking patterns", "visibility_off", "policies", "maskingpattern"),
            ("Back-tests", "fast_rewind", "policies", "backtest"),
            ("Policy drafts", "edit_document", "policies", "policydraft"),
            ("Policy tests", "fact_check", "policies", "policytest"),
            ("Policy versions", "history", "policies", "policyversion"),
        ),
    ),
    (
        "Who",
        (
            ("Principals", "fingerprint", "accounts", "principal"),
            ("Groups", "groups", "accounts", "group"),
            ("Identity providers", "badge", "accounts", "identityprovider"),
            ("SAML providers", "key_vertical", "accounts", "samlprovider"),
            ("SCIM users", "cloud_sync", "accounts", "scimuser"),
            ("SCIM provisioning", "sync", "accounts", "scimsync"),
            ("Exchanged tokens", "token", "accounts", "exchangedtoken"),
            ("Signing keys", "vpn_key", "accounts", "signingkey"),
            ("Locks", "lock", "accounts", "lock"),
            ("Revoked tokens", "block", "accounts", "revokedtoken"),
            ("Event transmitters", "sensors", "accounts", "eventtransmitter"),
        ),
    ),
    (
        "Console",
        (
            ("People", "person", "accounts", "user"),
            ("API tokens", "api", "accounts", "apitoken"),
            ("Roles", "admin_panel_settings", "accounts", "rolegrant"),
            ("Logins", "login", "accounts", "consolesession"),
            ("Slack links", "link", "policies", "slackidentity"),
            ("Login clients", "passkey", "accounts", "loginclient"),
            ("Failed logins", "lock", "axes", "accessattempt"),
        ),
    ),
)


_OWN = frozenset({("accounts", "apitoken")})
"""Lists that show everybody their own rows."""


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups and their items; an item is shown to those who may view its model."""
    overview = {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index")}
    items = [
        {
            "title": title,
            "separator": True,
            "items": [*(_item(*item) for item in items), *_pages(title)],
        }
        for title, items in _GROUPS
    ]
    return [{"items": [overview]}, *items]


def _pages(group: str) -> list[dict[str, Any]]:
    """Return the items of a group that lead to no list."""
    if group == "What happened":
        search = reverse("admin:gateway_sessions_session_search")
        evidence = reverse("gateway_sessions_recording_report")
        return [
            {"title": "Search", "icon": "search", "link": search, "permission": _may_search},
            {"title": "Evidence", "icon": "assured_workload", "link": evidence, "permission": _may_report},
        ]
    if group != "What is allowed":
        return []
    inbox = reverse("policies_approvalrequest_inbox")
    link = reverse("admin:policies_policystate_simulate")
    own, reviews = reverse("policies_approvalrequest_own"), reverse("policies_approvalrequest_reviews")
    away = reverse("policies_approvaldelegation_away")
    return [
        {"title": "Inbox", "icon": "inbox", "link": inbox, "permission": _may_view_approvals},
        {"title": "Your requests", "icon": "outbox", "link": own},
        {"title": "Reviews", "icon": "rate_review", "link": reviews, "permission": _may_decide_approvals},
        {"title": "Out of office", "icon": "beach_access", "link": away, "permission": _may_decide_approvals},
        {"title": "Simulator", "icon": "science", "link": link, "permission": _may_simulate},
    ]


def _may_view_approvals(request: HttpRequest) -> bool:
    return request.user.has_perm("policies.view_approvalrequest")


def _may_decide_approvals(request: HttpRequest) -> bool:
    return request.user.has_perm(DECIDE)


def _may_simulate(request: HttpRequest) -> bool:
    user: Any = request.user
    return may_simulate(user=user)


def _may_report(request: HttpRequest) -> bool:
    return request.user.has_perms(["gateway_sessions.view_event", "gateway_sessions.see_all_sessions"])


def _item(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{app}_{model}_changelist"),
        "permission": _may_view(f"{app}.view_{model}", is_own=(app, model) in _OWN),
    }


def _may_view(permission: str, *, is_own: bool) -> Callable[[HttpRequest], bool]:
    return lambda request: is_own or request.user.has_perm(permission)


def _may_search(request: HttpRequest) -> bool:
    return request.user.has_perm("gateway_sessions.view_session")
