"""WHAT IS ALLOWED, over REST."""

from __future__ import annotations

from .approval_people import ApprovalDelegationViewSet
from .approvals import ApprovalRequestViewSet, ApprovalRuleViewSet
from .back_tests import BackTestViewSet
from .chats import SlackIdentityViewSet
from .client_waiting import ClientBudgetViewSet, ClientPatienceViewSet
from .drafts import PolicyDraftViewSet
from .least_privilege import LeastPrivilegeTableView, LeastPrivilegeView
from .notices import NoticeChannelViewSet, NoticeDeliveryViewSet, NoticePreferenceView
from .packs import GuardrailPackViewSet
from .policy_tests import PolicyTestViewSet
from .rules import AccessGrantViewSet, GuardrailViewSet, MaskingPatternViewSet
from .simulation import SimulateView
from .versions import PolicyVersionViewSet

__all__ = [
    "AccessGrantViewSet",
    "ApprovalDelegationViewSet",
    "ApprovalRequestViewSet",
    "ApprovalRuleViewSet",
    "BackTestViewSet",
    "ClientBudgetViewSet",
    "ClientPatienceViewSet",
    "GuardrailPackViewSet",
    "GuardrailViewSet",
    "LeastPrivilegeTableView",
    "LeastPrivilegeView",
    "MaskingPatternViewSet",
    "NoticeChannelViewSet",
    "NoticeDeliveryViewSet",
    "NoticePreferenceView",
    "PolicyDraftViewSet",
    "PolicyTestViewSet",
    "PolicyVersionViewSet",
    "SimulateView",
    "SlackIdentityViewSet",
]
