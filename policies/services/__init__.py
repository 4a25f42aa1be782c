"""Writes of policy. Every one is a use case, in one transaction, with the time passed in.

The version of the policy moves by database triggers in the same transaction (`migrations/0002`).
"""

from __future__ import annotations

from .access import access_request, principals_of
from .approval_rules import approval_rule_delete, approval_rule_save
from .approval_uses import Claimed, request_kept, use_claim, use_release, uses_reconcile
from .approvals import (
    OPEN,
    HeldCall,
    is_asked_for_by,
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
from .deciders import Deciding, Desk, deciders_besides, desk_of, may_decide
from .delegations import delegation_end, delegation_save
from .grants import grant_delete, grant_save
from .guardrails import guardrail_delete, guardrail_save
from .holding import knock, leg_begin, legs_begin, run_claim, run_owe, run_pay
from .masking import masking_pattern_delete, masking_pattern_save
from .notice_channels import (
    TestFailed,
    channel_secrets_seal_again,
    notice_channel_delete,
    notice_channel_save,
    notice_channel_test,
    signing_secret_of,
)
from .notice_delivery import NothingToRetry, deliveries_send, delivery_retry, notices_forget
from .notice_people import notice_preference_save, push_subscribe, push_unsubscribe
from .notice_spreading import outbox_spread, overdue_reviews_note, wishes_of
from .notices import notify, reminders_note
from .patience import client_budget_delete, client_budget_save, patience_learn, patience_of, patience_set
from .publishing import Publisher
from .questions import question_answer, question_ask
from .reviews import emergencies, request_review, reviews_due, reviews_overdue, why_not_review
from .seats import awaited_of, seat_of, stages_of, why_not
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
    "Desk",
    "DocumentOutdated",
    "DraftOutdated",
    "HeldCall",
    "NothingToRetry",
    "Problem",
    "Publisher",
    "TestFailed",
    "access_request",
    "approval_rule_delete",
    "approval_rule_save",
    "awaited_of",
    "back_test_cancel",
    "back_test_delete",
    "back_test_run",
    "back_test_start",
    "back_tests_left",
    "channel_secrets_seal_again",
    "client_budget_delete",
    "client_budget_save",
    "deciders_besides",
    "delegation_end",
    "delegation_save",
    "deliveries_send",
    "delivery_retry",
    "desk_of",
    "document_apply",
    "document_check",
    "document_rehearsal",
    "draft_delete",
    "draft_publish",
    "draft_rebase",
    "draft_save",
    "emergencies",
    "grant_delete",
    "grant_save",
    "guardrail_delete",
    "guardrail_save",
    "is_asked_for_by",
    "knock",
    "leg_begin",
    "legs_begin",
    "masking_pattern_delete",
    "masking_pattern_save",
    "may_decide",
    "may_withdraw",
    "notice_channel_delete",
    "notice_channel_save",
    "notice_channel_test",
    "notice_preference_save",
    "notices_forget",
    "notify",
    "outbox_spread",
    "overdue_reviews_note",
    "patience_learn",
    "patience_of",
    "patience_set",
    "policy_test_delete",
    "policy_test_save",
    "principals_of",
    "push_subscribe",
    "push_unsubscribe",
    "question_answer",
    "question_ask",
    "reminders_note",
    "request_break_glass",
    "request_decide",
    "request_hand_over",
    "request_kept",
    "request_open",
    "request_review",
    "request_seen",
    "request_withdraw",
    "requests_escalate",
    "requests_expire",
    "requests_waiting",
    "reviews_due",
    "reviews_overdue",
    "run_claim",
    "run_owe",
    "run_pay",
    "seat_of",
    "signing_secret_of",
    "stages_of",
    "use_claim",
    "use_release",
    "uses_reconcile",
    "version_roll_back",
    "view_of",
    "why_not",
    "why_not_review",
    "wishes_of",
]
