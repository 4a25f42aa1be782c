"""Writes of policy. Every one is a use case, in one transaction, with the time passed in.

The version of the policy moves by database triggers in the same transaction (`migrations/0002`).
"""

from __future__ import annotations

from .access import access_request, principals_of
from .approval_rules import approval_rule_delete, approval_rule_save
from .approval_uses import Claimed, request_kept, use_claim, use_release, uses_reconcile
from .approvals import (
    OPEN,
    Deciding,
    HeldCall,
    approver_of,
    awaited_of,
    may_withdraw,
    request_break_glass,
    request_decide,
    request_hand_over,
    request_open,
    request_seen,
    request_withdraw,
    requests_escalate,
    requests_expire,
    requests_waiting,
    view_of,
    why_not,
)
from .back_tests import (
    BackTestEnded,
    back_test_cancel,
    back_test_delete,
    back_test_run,
    back_test_start,
    back_tests_left,
)
from .checking import Checked, Problem, document_check, document_rehearsal
from .grants import grant_delete, grant_save
from .guardrails import guardrail_delete, guardrail_save
from .masking import masking_pattern_delete, masking_pattern_save
from .patience import patience_learn, patience_of, patience_set
from .publishing import Publisher
from .versions import (
    AlreadyPublished,
    DocumentOutdated,
    DraftOutdated,
    document_apply,
    draft_delete,
    draft_publish,
    draft_rebase,
    draft_save,
    policy_test_delete,
    policy_test_save,
    version_roll_back,
)

__all__ = [
    "OPEN",
    "AlreadyPublished",
    "BackTestEnded",
    "Checked",
    "Claimed",
    "Deciding",
    "DocumentOutdated",
    "DraftOutdated",
    "HeldCall",
    "Problem",
    "Publisher",
    "access_request",
    "approval_rule_delete",
    "approval_rule_save",
    "approver_of",
    "awaited_of",
    "back_test_cancel",
    "back_test_delete",
    "back_test_run",
    "back_test_start",
    "back_tests_left",
    "document_apply",
    "document_check",
    "document_rehearsal",
    "draft_delete",
    "draft_publish",
    "draft_rebase",
    "draft_save",
    "grant_delete",
    "grant_save",
    "guardrail_delete",
    "guardrail_save",
    "masking_pattern_delete",
    "masking_pattern_save",
    "may_withdraw",
    "patience_learn",
    "patience_of",
    "patience_set",
    "policy_test_delete",
    "policy_test_save",
    "principals_of",
    "request_break_glass",
    "request_decide",
    "request_hand_over",
    "request_kept",
    "request_open",
    "request_seen",
    "request_withdraw",
    "requests_escalate",
    "requests_expire",
    "requests_waiting",
    "use_claim",
    "use_release",
    "uses_reconcile",
    "version_roll_back",
    "view_of",
    "why_not",
]
