"""Routes of the console and the REST API. `/mcp/` never comes here: `asgi` hands it to the proxy."""

from __future__ import annotations

from collections.abc import Mapping

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import DefaultRouter

from accounts import api as accounts_api
from accounts.rest_authentication import scopes_by_method
from connections import api as connections_api
from gateway_project import oauth, reports
from gateway_project.metrics import MetricsViewSet
from policies import api as policies_api
from policies import notice_views, people_views, push_views, slack_views
from policies import views as policy_views
from sessions import api as sessions_api
from sessions import api_checkpoints, api_exports, api_recordings, api_search

router = DefaultRouter()
router.include_root_view = False
# One URL for one thing: the answer is JSON whatever the end of the path says.
router.include_format_suffixes = False
router.register("providers", accounts_api.IdentityProviderViewSet, basename="provider")
router.register("provider-presets", accounts_api.ProviderPresetViewSet, basename="provider-preset")
router.register("groups", accounts_api.GroupViewSet, basename="group")
router.register("principals", accounts_api.PrincipalViewSet, basename="principal")
router.register("api-tokens", accounts_api.ApiTokenViewSet, basename="api-token")
router.register("exchanged-tokens", accounts_api.ExchangedTokenViewSet, basename="exchanged-token")
router.register("signing-keys", accounts_api.SigningKeyViewSet, basename="signing-key")
router.register("locks", accounts_api.LockViewSet, basename="lock")
router.register("revoked-tokens", accounts_api.RevokedTokenViewSet, basename="revoked-token")
router.register("event-transmitters", accounts_api.EventTransmitterViewSet, basename="event-transmitter")
router.register("saml-providers", accounts_api.SamlProviderViewSet, basename="saml-provider")
router.register("scim-users", accounts_api.ScimUserViewSet, basename="scim-user")
router.register("scim-provisioning", accounts_api.ScimSyncViewSet, basename="scim-provisioning")
router.register("role-grants", accounts_api.RoleGrantViewSet, basename="role-grant")
router.register("login-clients", accounts_api.LoginClientViewSet, basename="login-client")
router.register("logins", accounts_api.ConsoleSessionViewSet, basename="login")
router.register("connections", connections_api.ConnectionViewSet, basename="connection")
router.register("credentials", connections_api.CredentialViewSet, basename="credential")
router.register("tools", connections_api.ToolViewSet, basename="tool")
router.register("grants", policies_api.AccessGrantViewSet, basename="grant")
router.register("guardrails", policies_api.GuardrailViewSet, basename="guardrail")
router.register("guardrail-packs", policies_api.GuardrailPackViewSet, basename="guardrail-pack")
router.register("masking-patterns", policies_api.MaskingPatternViewSet, basename="masking-pattern")
router.register("approval-rules", policies_api.ApprovalRuleViewSet, basename="approval-rule")
router.register("approval-delegations", policies_api.ApprovalDelegationViewSet, basename="approval-delegation")
router.register("client-budgets", policies_api.ClientBudgetViewSet, basename="client-budget")
router.register("client-patiences", policies_api.ClientPatienceViewSet, basename="client-patience")
router.register("approvals", policies_api.ApprovalRequestViewSet, basename="approval")
router.register("notification-channels", policies_api.NoticeChannelViewSet, basename="notification-channel")
router.register("slack-links", policies_api.SlackIdentityViewSet, basename="slack-link")
router.register("notification-deliveries", policies_api.NoticeDeliveryViewSet, basename="notification-delivery")
router.register("policy-versions", policies_api.PolicyVersionViewSet, basename="policy-version")
router.register("back-tests", policies_api.BackTestViewSet, basename="back-test")
router.register("policy-drafts", policies_api.PolicyDraftViewSet, basename="policy-draft")
router.register("policy-tests", policies_api.PolicyTestViewSet, basename="policy-test")
router.register("sessions", sessions_api.SessionViewSet, basename="session")
router.register("metrics", MetricsViewSet, basename="metrics")
router.register("record-state", api_checkpoints.RecordStateViewSet, basename="record-state")
router.register("checkpoints", api_checkpoints.CheckpointViewSet, basename="checkpoint")
router.register("checkpoint-keys", api_checkpoints.CheckpointKeyViewSet, basename="checkpoint-key")
router.register("checkpoint-sinks", api_checkpoints.CheckpointSinkViewSet, basename="checkpoint-sink")
router.register("releases", api_checkpoints.EventReleaseViewSet, basename="release")
router.register("export-sinks", api_exports.ExportSinkViewSet, basename="export-sink")
router.register("reports", reports.ReportViewSet, basename="report")
router.register("session-exports", api_recordings.SessionExportViewSet, basename="session-export")
router.register("recordings", api_recordings.RecordingViewSet, basename="recording")
router.register("retention-rules", api_recordings.RetentionRuleViewSet, basename="retention-rule")
router.register("legal-holds", api_recordings.LegalHoldViewSet, basename="legal-hold")
router.register("tombstones", api_recordings.TombstoneViewSet, basename="tombstone")
router.register("calls", api_search.CallSearchViewSet, basename="call")
router.register("saved-views", api_search.SavedViewViewSet, basename="saved-view")
router.register("readings", api_search.ReadEventViewSet, basename="reading")
router.register("record-access", api_search.RecordAccessViewSet, basename="record-access")


class Schema(SpectacularAPIView):
    """The schema of the API."""

    required_scopes = scopes_by_method(read="read")


class Docs(SpectacularSwaggerSplitView):
    """The schema as a page, which is for people alone."""

    required_scopes: Mapping[str, str] = {}


schema = csp_replace({"default-src": [NONE]})(Schema.as_view())
# Swagger UI needs no more than its own scripts: the split view puts the one that starts it into a file.
docs = csp_replace({"script-src": [SELF]})(Docs.as_view(url_name="api:schema"))

api: list[URLPattern | URLResolver] = [
    path("schema/", schema, name="schema"),
    path("docs/", docs, name="docs"),
    path("least-privilege", policies_api.LeastPrivilegeView.as_view(), name="least-privilege"),
    path("least-privilege/csv", policies_api.LeastPrivilegeTableView.as_view(), name="least-privilege-csv"),
    path("notification-preferences", policies_api.NoticePreferenceView.as_view(), name="notification-preferences"),
    path("policy/simulate", policies_api.SimulateView.as_view(), name="policy-simulate"),
    path("", include(router.urls)),
]

report = admin.site.admin_view(reports.page)

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/account/notifications/", notice_views.notifications, name="console_notifications"),
    path(
        "admin/account/notifications/browsers/<uuid:subscription_id>/forget/",
        notice_views.forget_browser,
        name="console_forget_browser",
    ),
    path("admin/", include("accounts.urls")),
    path("admin/gateway_sessions/recording/report/", report, name="gateway_sessions_recording_report"),
    path("admin/gateway_sessions/recording/report/<slug:kind>/", report, name="gateway_sessions_recording_report"),
    path("admin/account/notifications/browser/", push_views.browser, name="console_push_browser"),
    path("admin/account/slack/", slack_views.slack_links, name="console_slack"),
    path("admin/account/slack/code/", slack_views.slack_code, name="console_slack_code"),
    path("admin/account/slack/<uuid:identity_id>/end/", slack_views.slack_unlink, name="console_slack_unlink"),
    path("admin/", admin.site.urls),
    path("inbox/", policy_views.inbox_list, name="policies_approvalrequest_inbox"),
    path("inbox/together/", policy_views.inbox_together, name="policies_approvalrequest_inbox_together"),
    path("inbox/filters/", policy_views.inbox_filter, name="policies_approvalrequest_inbox_filter"),
    path("inbox/figures/", policy_views.inbox_figures_page, name="policies_approvalrequest_inbox_figures"),
    path("inbox/<str:code>/", policy_views.inbox_request, name="policies_approvalrequest_inbox_request"),
    path("inbox/<str:code>/act/", policy_views.inbox_act, name="policies_approvalrequest_inbox_act"),
    path("approvals/", people_views.own, name="policies_approvalrequest_own"),
    path("approvals/access/", people_views.ask, name="policies_approvalrequest_ask"),
    path("approvals/reviews/", people_views.reviews, name="policies_approvalrequest_reviews"),
    path("approvals/away/", people_views.away, name="policies_approvaldelegation_away"),
    path("approvals/away/<uuid:delegation_id>/end/", people_views.away_end, name="policies_approvaldelegation_end"),
    path("approvals/<str:code>/", people_views.status, name="policies_approvalrequest_status"),
    path("approvals/<str:code>/act/", people_views.act, name="policies_approvalrequest_act"),
    path("approvals/<str:code>/say/", people_views.say, name="policies_approvalrequest_say"),
    path("approvals/<str:code>/review/", people_views.review, name="policies_approvalrequest_review"),
    path("api/v1/", include((api, "api"))),
    path("oauth/token", oauth.token, name="oauth-token"),
    path("oauth/jwks", oauth.jwks, name="oauth-jwks"),
    path(".well-known/oauth-authorization-server", oauth.metadata, name="oauth-metadata"),
    path("scim/v2/", include(("accounts.scim.urls", "scim"))),
    path("", include("accounts.receivers.urls")),
    path("slack/interactions/", slack_views.interactions, name="slack-interactions"),
    path("", include("accounts.saml.urls")),
]
