"""What the page of one call shows, ready for the template. Pure but for the URL of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings

from . import curl, parts
from .calls import CallView, Message
from .models import Session

MOST_ANSWERS = 200
PAGE_CHARACTERS = 1_500_000
"""Most characters of answers on one page; messages beyond can be saved one by one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One message to the client with its blocks; `number` is its place, from 1."""

    number: int
    message: Message
    blocks: list[parts.Block]
    raw: parts.Shown | None


@dataclass(frozen=True, slots=True)
class Panel:
    """One call. Without `may_read` it has no contents: who, what, when and the verdict remain."""

    call: CallView
    may_read: bool
    arguments: str | None = None
    request: parts.Shown | None = None
    answers: list[Answer] = field(default_factory=list)
    command: str = ""
    left_out: int = 0


def panel_of(call: CallView, session: Session, *, may_read: bool) -> Panel:
    """Return what is shown of `call` to somebody who may read contents, or not."""
    if not may_read:
        return Panel(call, may_read=False)
    answers: list[Answer] = []
    room = PAGE_CHARACTERS
    for number, message in enumerate(call.messages[:MOST_ANSWERS], start=1):
        text = message.text
        if text is None or (answers and len(text) > room):
            answers.append(Answer(number, message, [], None))
            continue
        room -= len(text)
        answers.append(Answer(number, message, parts.blocks(text), parts.shown(text)))
    request = None if call.request is None else parts.shown(call.request)
    return Panel(
        call,
        may_read=True,
        arguments=parts.arguments(call.request or ""),
        request=request,
        answers=answers,
        command=_command(call, session),
        left_out=max(0, len(call.messages) - MOST_ANSWERS),
    )


def _command(call: CallView, session: Session) -> str:
    body = call.request or ""
    if not body or len(body) > parts.SHOWN_CHARACTERS:
        return ""
    return curl.command(
        url=f"{settings.WARDGATE_PUBLIC_URL}/mcp/{session.connection.slug}",
        version=session.protocol_version,
        method=call.method,
        name=call.name,
        body=body,
        verb=call.verb or "POST",
    )
