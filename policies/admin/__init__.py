"""WHAT IS ALLOWED, in the console."""

from __future__ import annotations

from .approvals import ApprovalDelegationAdmin, ApprovalRequestAdmin, ApprovalRuleAdmin
from .back_tests import BackTestAdmin
from .chats import SlackIdentityAdmin
from .client_waiting import ClientBudgetAdmin, ClientPatienceAdmin
from .drafts import PolicyDraftAdmin
from .notices import NoticeChannelAdmin, NoticeDeliveryAdmin
from .policy_tests import PolicyTestAdmin
from .rules import AccessGrantAdmin, GuardrailAdmin, MaskingPatternAdmin
from .versions import PolicyStateAdmin, PolicyVersionAdmin

__all__ = [
    "AccessGrantAdmin",
    "ApprovalDelegationAdmin",
    "ApprovalRequestAdmin",
    "ApprovalRuleAdmin",
    "BackTestAdmin",
    "ClientBudgetAdmin",
    "ClientPatienceAdmin",
    "GuardrailAdmin",
    "MaskingPatternAdmin",
    "NoticeChannelAdmin",
    "NoticeDeliveryAdmin",
    "PolicyDraftAdmin",
    "PolicyStateAdmin",
    "PolicyTestAdmin",
    "PolicyVersionAdmin",
    "SlackIdentityAdmin",
]
