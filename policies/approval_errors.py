"""Why an approval request cannot be opened, decided or used. Codes are stable; sentences are for people."""

from __future__ import annotations

from accounts.exceptions import DomainError


class NotPending(DomainError):
    """The request is not waiting for a decision any more."""

    code = "not_pending"


class OwnRequest(DomainError):
    """Nobody decides about what they asked for themselves, or what was asked for in their name."""

    code = "own_request"


class NotAnApprover(DomainError):
    """The stage whose approvals are awaited does not name this person."""

    code = "not_an_approver"


class DecidedAlready(DomainError):
    """The person has approved this request before; one person counts once."""

    code = "decided_already"


class ReasonNeeded(DomainError):
    """The decision needs a reason."""

    code = "reason_needed"


class BeyondTerms(DomainError):
    """More uses, or a longer window, than the rule allows."""

    code = "beyond_terms"


class Moved(DomainError):
    """The request has changed since the person looked at it."""

    code = "request_moved"


class TooManyPending(DomainError):
    """The principal, or the connection, has as many requests waiting as it may have."""

    code = "too_many_pending"


class CannotBeHeld(DomainError):
    """The call cannot be kept for an approver to look at."""

    code = "cannot_be_held"


class PolicyMoved(DomainError):
    """Policy or locks in the database are newer than those under which the run was looked at; look again."""

    code = "policy_moved"


class NothingToReview(DomainError):
    """The request was not approved in an emergency, or somebody has reviewed it."""

    code = "nothing_to_review"


class NotYours(DomainError):
    """Only whoever asked for it may do that."""

    code = "not_yours"


class TooManyMessages(DomainError):
    """The request has as many questions and answers as it may have."""

    code = "too_many_messages"
