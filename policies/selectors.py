"""Reads of policy: who may see which rows."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from accounts.models import User

from .models import (
    AccessGrant,
    ApprovalDelegation,
    ApprovalRequest,
    ApprovalRule,
    BackTest,
    ClientBudget,
    ClientPatience,
    Guardrail,
    MaskingPattern,
    NoticeChannel,
    NoticeDelivery,
    PolicyDraft,
    PolicyTest,
    PolicyVersion,
    SlackIdentity,
)
from .reading import newest_number


def grants_visible_to(*, user: User) -> QuerySet[AccessGrant]:
    """Return the grants that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_accessgrant"):
        return AccessGrant.objects.none()
    return AccessGrant.objects.select_related("connection", "principal", "group__provider")


def guardrails_visible_to(*, user: User) -> QuerySet[Guardrail]:
    """Return the guardrails that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_guardrail"):
        return Guardrail.objects.none()
    return Guardrail.objects.select_related("connection")


def masking_patterns_visible_to(*, user: User) -> QuerySet[MaskingPattern]:
    """Return the masking patterns that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_maskingpattern"):
        return MaskingPattern.objects.none()
    return MaskingPattern.objects.select_related("connection")


def versions_visible_to(*, user: User) -> QuerySet[PolicyVersion]:
    """Return the versions of policy that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_policyversion"):
        return PolicyVersion.objects.none()
    return PolicyVersion.objects.all()


def version_before(version: PolicyVersion) -> PolicyVersion | None:
    """Return the version that was in force before `version`."""
    return PolicyVersion.objects.filter(number__lt=version.number).order_by("-number").first()


def drafts_visible_to(*, user: User) -> QuerySet[PolicyDraft]:
    """Return the drafts that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_policydraft"):
        return PolicyDraft.objects.none()
    return PolicyDraft.objects.select_related("author")


def is_outdated(draft: PolicyDraft) -> bool:
    """Tell whether policy has changed since the draft was made; one that was published is not asked that."""
    return draft.published_number is None and draft.base_number != newest_number()


def policy_tests_visible_to(*, user: User) -> QuerySet[PolicyTest]:
    """Return the policy tests that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_policytest"):
        return PolicyTest.objects.none()
    return PolicyTest.objects.all()


def may_simulate(*, user: User) -> bool:
    """Tell whether `user` may ask policy without a call: an answer shows grants and guardrails."""
    return user.has_perms(["policies.view_accessgrant", "policies.view_guardrail"])


def back_tests_visible_to(*, user: User) -> QuerySet[BackTest]:
    """Return the back-tests that `user` may see: all with the permission, none without."""
    if not user.has_perm("policies.view_backtest"):
        return BackTest.objects.none()
    return BackTest.objects.select_related("author")


def approval_rules_visible_to(*, user: User) -> QuerySet[ApprovalRule]:
    """Return the approval rules that `user` may see."""
    if not user.has_perm("policies.view_approvalrule"):
        return ApprovalRule.objects.none()
    return ApprovalRule.objects.prefetch_related("access_to")


def approval_requests_visible_to(*, user: User) -> QuerySet[ApprovalRequest]:
    """Return the requests that `user` may see: all of them with the permission for that.

    Everybody else sees their own, and those of machines that they own.
    """
    rows = ApprovalRequest.objects.select_related("principal", "connection", "approval_rule")
    if user.has_perm("policies.see_all_approvalrequest"):
        return rows
    if getattr(user, "principal_id", None) is None:
        return rows.none()
    return rows.filter(Q(principal_id=user.principal_id) | Q(principal__owner_id=user.principal_id))


def slack_identities_visible_to(*, user: User) -> QuerySet[SlackIdentity]:
    """Return the links to Slack that `user` may see: their own without a permission, everybody's with it."""
    links = SlackIdentity.objects.select_related("user")
    return links if user.has_perm("policies.view_slackidentity") else links.filter(user=user)


def client_budgets_visible_to(*, user: User) -> QuerySet[ClientBudget]:
    """Return for how long kinds of clients are held, as far as `user` may see that."""
    if not user.has_perm("policies.view_clientbudget"):
        return ClientBudget.objects.none()
    return ClientBudget.objects.select_related("connection")


def patiences_visible_to(*, user: User) -> QuerySet[ClientPatience]:
    """Return the single clients of which it is known how long they wait, as far as `user` may see them."""
    if not user.has_perm("policies.view_clientpatience"):
        return ClientPatience.objects.none()
    return ClientPatience.objects.select_related("connection", "principal")


def notice_channels_visible_to(*, user: User) -> QuerySet[NoticeChannel]:
    """Return the notification channels that `user` may see."""
    if not user.has_perm("policies.view_noticechannel"):
        return NoticeChannel.objects.none()
    return NoticeChannel.objects.prefetch_related("approval_rules", "connections")


def notice_deliveries_visible_to(*, user: User) -> QuerySet[NoticeDelivery]:
    """Return the log of notifications, for those with the permission."""
    if not user.has_perm("policies.view_noticedelivery"):
        return NoticeDelivery.objects.none()
    return NoticeDelivery.objects.select_related("request", "channel")


def delegations_visible_to(*, user: User) -> QuerySet[ApprovalDelegation]:
    """Return the delegations that `user` may see: all with the permission, else those that they gave or hold."""
    rows = ApprovalDelegation.objects.select_related("delegator", "delegate")
    if user.has_perm("policies.see_all_approvalrequest"):
        return rows
    return rows.filter(Q(delegator=user) | Q(delegate=user))
