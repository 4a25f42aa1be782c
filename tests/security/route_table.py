"""Every door of the gateway, and who may open it: written by hand, compared with what is really routed.

A route that is added is missing here, and the tests say so until somebody has decided who may use it. What stands here
is the decision; `test_route_matrix` finds the routes by itself and tries every one of them.
"""

from __future__ import annotations

from typing import Final

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
READING: Final = frozenset({"GET", "HEAD"})

PUBLIC: Final[dict[str, frozenset[str]]] = {
    # The process runs, a call could pass: nothing else is told.
    "/healthz": READING,
    "/readyz": READING,
    # RFC 9728, RFC 8414, RFC 7517, SAML metadata: what a client or provider has to know before it can be anybody.
    # OPTIONS because a browser asks before it reads it from another origin.
    "/.well-known/oauth-protected-resource/mcp/<slug>": READING | {"OPTIONS"},
    "oauth-metadata": READING,
    "oauth-jwks": READING,
    "saml-metadata": READING,
    # The page that asks who one is.
    "console_login": READING | {"POST"},
    # RFC 7009, section 2.2: 200 also for what is no token, so that the answer tells nobody anything.
    "oauth-revoke": frozenset({"POST"}),
}
"""The only routes that may answer 2xx to somebody unknown, and by which methods: at most eight (THREAT_MODEL, A11)."""

ASGI: Final = {"/healthz", "/readyz", "/mcp/<slug>", "/.well-known/oauth-protected-resource/mcp/<slug>"}
"""Places that are answered before Django."""

WEBSOCKETS: Final[dict[str, str]] = {
    "inbox/live/": "a page of this site, with a login that counts and the permission to see requests: test_inbox_live",
}
"""Websockets, and who may open each; the test that is named tries it without a login."""

LOGIN: Final = {
    "console_login": "asks who one is",
    "login": "the same path, of the admin, which the one above hides",
    "console_login_factor": "second step of a login that has begun",
    "console_login_enrol": "second step of a login that has begun",
    "console_oidc_begin": "sends the browser to the provider",
    "console_oidc_callback": "comes back from the provider, with a state bound to the browser",
    "saml-login": "sends the browser to the provider",
    "saml-acs": "comes back from the provider, with a signed assertion",
    "saml-continue": "finishes a login in the browser that began it",
    "saml-slo": "a provider's signed word that a login is over",
}
"""Routes by which somebody unknown becomes somebody: never 2xx by themselves, except for the page in PUBLIC."""

MACHINES: Final = {
    "oauth-token": "a subject token or assertion in the form",
    "oauth-revoke": "the token itself, or an API token with the scope revoke",
    "oidc-backchannel-logout": "a signed logout token in the form",
    "events-push": "an API token with the scope events, and a signed event token",
    "slack-interactions": "a signature over time and body, with the signing secret of a channel, once",
    "oauth-jwks": "public keys",
    "oauth-metadata": "public metadata",
    "saml-metadata": "public metadata",
}
"""Routes for other servers, and what they have to bring."""

SCIM: Final = frozenset(
    {
        "unsupported",
        "users",
        "user",
        "groups",
        "group",
        "config",
        "resource-types",
        "resource-type",
        "schemas",
        "schema",
    }
    | {"unknown"}
)
"""Routes of SCIM 2.0, all of them for API tokens with the scope scim of the provider in the path."""

OWN: Final = {
    "index": "overview, each part by its permission",
    "console_account": "one's own logins and factors",
    "console_notifications": "what one wants to be told oneself",
    "console_forget_browser": "one's own browsers",
    "console_add_application": "one's own factors",
    "console_add_key": "one's own factors",
    "console_make_codes": "one's own recovery codes",
    "console_remove_factor": "one's own factors",
    "console_end_login": "one's own logins",
    "console_end_all_logins": "one's own logins",
    "policies_approvalrequest_own": "what one has asked for, with a role or without one",
    "policies_approvalrequest_ask": "asks for access, for oneself and what one owns",
    "policies_approvalrequest_status": "what one has asked for, with a role or without one",
    "policies_approvalrequest_act": "withdraws what one has asked for",
    "policies_approvalrequest_say": "answers about what one has asked for, asks about what one may decide",
    "console_logout": "one's own login",
    "logout": "the same path, of the admin, which the one above hides",
    "console_push_browser": "one's own browsers, and the public key to subscribe with",
    "console_slack": "one's own links to Slack",
    "console_slack_code": "a code for linking oneself, after a recent proof",
    "console_slack_unlink": "one's own links to Slack",
    "console_proof": "proves again who one is",
    "console_proof_done": "says that it is proved",
    "search": "finds what one may see",
    "jsi18n": "translations of widgets",
    "autocomplete": "finds what one may see",
    "password_change": "one's own password",
    "password_change_done": "one's own password",
    "view_on_site": "a redirect for what one may see",
    "app_list": "the models of an app that one may see",
    "accounts_apitoken_changelist": "one's own API tokens",
    "accounts_apitoken_add": "one's own API tokens",
    "accounts_apitoken_change": "one's own API tokens",
    "accounts_apitoken_history": "one's own API tokens",
}
"""Console routes that need a login and no permission, and why that is right."""

CONSOLE_MODELS: Final = frozenset(
    {
        "accounts_apitoken",
        "accounts_consolesession",
        "accounts_eventtransmitter",
        "accounts_exchangedtoken",
        "accounts_group",
        "accounts_identityprovider",
        "accounts_lock",
        "accounts_loginclient",
        "accounts_principal",
        "accounts_revocationstate",
        "accounts_revokedtoken",
        "accounts_rolegrant",
        "accounts_samlassertion",
        "accounts_samlprovider",
        "accounts_samlrequest",
        "accounts_scimmember",
        "accounts_scimsync",
        "accounts_scimuser",
        "accounts_seentoken",
        "accounts_signingkey",
        "accounts_user",
        "auth_user",
        "axes_accessattempt",
        "connections_connection",
        "connections_credential",
        "connections_tool",
        "gateway_sessions_checkpoint",
        "gateway_sessions_checkpointkey",
        "gateway_sessions_checkpointsink",
        "gateway_sessions_event",
        "gateway_sessions_eventrelease",
        "gateway_sessions_gatewayinstance",
        "gateway_sessions_exportsink",
        "gateway_sessions_legalhold",
        "gateway_sessions_recording",
        "gateway_sessions_retentionrule",
        "gateway_sessions_readevent",
        "gateway_sessions_recordaccess",
        "gateway_sessions_savedview",
        "gateway_sessions_session",
        "gateway_sessions_tombstone",
        "gateway_sessions_sessionstop",
        "policies_accessgrant",
        "policies_backtest",
        "policies_approvaldecision",
        "policies_approvaldelegation",
        "policies_approvalmessage",
        "policies_approvalrequest",
        "policies_approvalrule",
        "policies_approvaluse",
        "policies_approvalview",
        "policies_clientbudget",
        "policies_clientpatience",
        "policies_guardrail",
        "policies_maskingpattern",
        "policies_noticechannel",
        "policies_noticedelivery",
        "policies_policydraft",
        "policies_policystate",
        "policies_policytest",
        "policies_policyversion",
        "policies_slackidentity",
    }
)
"""Models with pages in the console; every page of theirs needs the model's permission."""

API: Final[dict[str, tuple[str | None, str | None]]] = {
    "api-token": ("admin", "admin"),
    "approval": ("read", "approve"),
    "approval-delegation": ("read", "approve"),
    "approval-rule": ("read", "write"),
    "checkpoint": ("audit", None),
    "checkpoint-key": ("audit", "admin"),
    "checkpoint-sink": ("read", "admin"),
    "client-budget": ("read", "write"),
    "client-patience": ("read", "write"),
    "connection": ("read", "write"),
    "credential": ("read", "write"),
    "docs": (None, None),
    "event-transmitter": ("read", "admin"),
    "exchanged-token": ("audit", None),
    "grant": ("read", "write"),
    "group": ("read", "admin"),
    "guardrail": ("read", "write"),
    "guardrail-pack": ("read", "write"),
    "lock": ("locks", "locks"),
    "login": ("admin", "admin"),
    "login-client": ("admin", "admin"),
    "masking-pattern": ("read", "write"),
    "back-test": ("read", "write"),
    "least-privilege": ("read", "write"),
    "policy-draft": ("read", "write"),
    "policy-simulate": ("read", "read"),
    "policy-test": ("read", "write"),
    "policy-version": ("read", "write"),
    "principal": ("read", "write"),
    "provider": ("read", "admin"),
    "provider-preset": ("read", None),
    "metrics": ("audit", None),
    "record-state": ("audit", None),
    "release": ("audit", None),
    "revoked-token": ("revoke", "revoke"),
    "role-grant": ("admin", "admin"),
    "saml-provider": ("read", "admin"),
    "scim-provisioning": ("read", None),
    "scim-user": ("read", None),
    "schema": ("read", None),
    "session": ("audit", "locks"),
    "call": ("audit", None),
    "saved-view": ("audit", "audit"),
    "reading": ("audit", None),
    "record-access": ("audit", "admin"),
    "export-sink": ("read", "admin"),
    "notification-channel": ("read", "admin"),
    "notification-delivery": ("read", "admin"),
    "notification-preferences": ("read", "write"),
    "recording": ("audit", None),
    "report": ("audit", None),
    "session-export": ("audit", None),
    "retention-rule": ("read", "admin"),
    "legal-hold": ("read", "admin"),
    "tombstone": ("audit", None),
    "signing-key": ("read", "admin"),
    "slack-link": ("admin", "admin"),
    "tool": ("read", "write"),
}
"""Resources of the REST API, and the scope that an API token needs to read and to write; None is closed to tokens."""

API_OWN: Final = {
    "api-token-list": "one's own tokens",
    "api-token-detail": "one's own tokens",
    "login-list": "one's own logins",
    "login-detail": "one's own logins",
    "login-end": "one's own logins",
    "slack-link-list": "one's own links to Slack",
    "slack-link-detail": "one's own links to Slack",
    "notification-preferences": "what one wants to be told oneself",
    "schema": "what the API looks like",
    "docs": "what the API looks like",
    "provider-preset-list": "ready-made profiles, the same for everybody",
    "provider-preset-detail": "ready-made profiles, the same for everybody",
}
"""REST routes that need a login and no permission, and why that is right."""
