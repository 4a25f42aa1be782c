"""Questions about a request, and their answers. They stop no clock and decide nothing."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from policies.approval_errors import NotPending, NotYours, ReasonNeeded, TooManyMessages
from policies.models import ApprovalMessage, ApprovalRequest
from policies.notices.message import Event

from .approvals import is_asked_for_by, locked, plain
from .deciders import Deciding
from .notices import notify
from .seats import why_not

MOST_MESSAGES = 50
Kind = ApprovalMessage.Kind


@transaction.atomic
def question_ask(*, request_id: UUID, deciding: Deciding, text: str, now: datetime) -> ApprovalMessage:
    """Ask whoever made the request something, as somebody who may decide it.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request.
        DomainError: the person may not decide it; the code says why.
        TooManyMessages: the request has as many messages as it may have.
        ReasonNeeded: the text is empty.
    """
    request = locked(request_id)
    problem = why_not(request, deciding, now=now)
    if problem is not None:
        raise problem
    message = _kept(request, deciding, Kind.QUESTION, text, now)
    notify(request=request, event=Event.QUESTION, by=deciding.user, text=message.text, now=now)
    return message


@transaction.atomic
def question_answer(*, request_id: UUID, deciding: Deciding, text: str, now: datetime) -> ApprovalMessage:
    """Answer, as the requester or as the human who answers for the machine that asked. Nobody has to be asked first.

    Raises:
        ApprovalRequest.DoesNotExist: there is no such request.
        NotYours: it is somebody else's.
        NotPending: it waits for no decision any more.
        TooManyMessages: the request has as many messages as it may have.
        ReasonNeeded: the text is empty.
    """
    request = locked(request_id)
    if not is_asked_for_by(request, deciding.user):
        raise NotYours("Only whoever asked for this can answer.")
    if request.state != ApprovalRequest.State.HELD or request.expires_at <= now:
        raise NotPending("This request waits for no decision any more.")
    message = _kept(request, deciding, Kind.ANSWER, text, now)
    asked = request.messages.filter(kind=Kind.QUESTION).select_related("user").last()
    if asked is not None:
        notify(request=request, event=Event.QUESTION, by=deciding.user, to=asked.user, text=message.text, now=now)
    return message


def _kept(request: ApprovalRequest, deciding: Deciding, kind: str, text: str, now: datetime) -> ApprovalMessage:
    text = plain(text)
    if not text:
        raise ReasonNeeded("Write something.")
    if request.messages.count() >= MOST_MESSAGES:
        raise TooManyMessages(f"This request has {MOST_MESSAGES} messages already. Decide, or withdraw it.")
    return ApprovalMessage.objects.create(
        request=request,
        user=deciding.user,
        kind=kind,
        text=text,
        channel=deciding.channel,
        address=deciding.address[:64],
        at=now,
    )
