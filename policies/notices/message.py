"""What people are told about a request, whatever the way: short, harmless lines, and never a value that was masked.

Pure. A tool's name, a justification and a client's name come from outside: every text is made one line of printable
characters here, of a bounded length, before any channel sees it. What a channel's own markup means (HTML, mrkdwn,
JSON) is escaped by that channel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sessions.markup import UNSEEN

LONGEST_LINE: Final = 300
LONGEST_ARGUMENTS: Final = 2_000
"""Characters of masked arguments that go along, when a channel is set to send them."""


class Event(StrEnum):
    """What happened."""

    ASKED = "asked"
    REMINDER = "reminder"
    ESCALATED = "escalated"
    HANDED_OVER = "handed_over"
    QUESTION = "question"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    BREAK_GLASS = "break_glass"
    REVIEW_DUE = "review_due"
    SUMMARY = "summary"
    """So many more requests wait than a channel is told of one by one."""
    TEST = "test"


ASKING: Final = frozenset({Event.ASKED, Event.REMINDER, Event.ESCALATED, Event.HANDED_OVER})
"""Somebody is asked to decide; such a message is without an object as soon as nobody is needed any more."""
ENDING: Final = frozenset({Event.APPROVED, Event.DENIED, Event.EXPIRED, Event.WITHDRAWN})
"""Nobody has to decide any more: an earlier message that asks is brought up to date."""
CHOSEN: Final = tuple(event for event in Event if event not in {Event.SUMMARY, Event.TEST})
"""The events that a channel and a person choose from."""


def plain(text: object, most: int = LONGEST_LINE) -> str:
    """Return `text` as one line without characters that are unseen, reorder or control, at most `most` long.

    Such a character is shown as its code point, and a link in it leads nowhere: mail programs make links of whatever
    looks like one, and only ours are to be followed.
    """
    given = str(text)[: 4 * most].replace("\n", " ").replace("\t", " ")
    seen = UNSEEN.sub(lambda found: " " if found[0].isspace() else _mark(found[0]), given)
    marked = "".join(letter if letter.isprintable() else _mark(letter) for letter in seen)
    line = " ".join(marked.split()).replace("://", "[:]//")
    return line if len(line) <= most and len(str(text)) <= 4 * most else line[: most - 1] + "…"


def _mark(letter: str) -> str:
    return f"<U+{ord(letter):04X}>"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. Every text is made harmless when it is built; the two URLs are the gateway's own.

    `requester` is who asked (and the human behind it), `client` their program. `reason` is what a person wrote: the
    justification of what is asked for, or why it was denied. `arguments` is empty unless the channel sends masked
    arguments along. `count` is of a summary: how many more wait.
    """

    event: Event
    code: str
    kind: str
    """`call` or `access`."""
    title: str
    what: str = ""
    connection: str = ""
    requester: str = ""
    client: str = ""
    rule: str = ""
    risk: str = ""
    reason: str = ""
    decided_by: str = ""
    waits_for: str = ""
    expires_at: datetime | None = None
    url: str = ""
    """The page of the request in the inbox; never a link that decides."""
    status_url: str = ""
    """The page of whoever asked."""
    arguments: str = ""
    count: int = 0
    id: str = ""
    """Of the delivery: the same when it is sent again, so that a receiver can know a repetition."""

    def __post_init__(self) -> None:
        for member in fields(self):
            value = getattr(self, member.name)
            if member.name in {"event", "url", "status_url"} or not isinstance(value, str):
                continue
            most = LONGEST_ARGUMENTS if member.name == "arguments" else LONGEST_LINE
            object.__setattr__(self, member.name, plain(value, most))

    @property
    def is_asking(self) -> bool:
        """Whether whoever gets it is asked to decide."""
        return self.event in ASKING

    @property
    def link(self) -> str:
        """Where to look: the inbox for those who decide, the status page when there is no page in the inbox."""
        return self.url or self.status_url

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return what is known as pairs of label and text, in the order in which to show them; nothing is empty."""
        until = "" if self.expires_at is None else f"{self.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        found = (
            ("What", self.what),
            ("Connection", self.connection),
            ("Asked by", self.requester),
            ("Client", self.client),
            ("Rule", self.rule),
            ("Risk", self.risk),
            ("Waits for", self.waits_for),
            ("Until", until),
            ("Decided by", self.decided_by),
            ("Reason", self.reason),
            ("Arguments (masked)", self.arguments),
        )
        return tuple((label, text) for label, text in found if text)


@dataclass(frozen=True, slots=True)
class Sent:
    """It was taken. `reference` finds the message again (Slack: channel and time), empty where there is no way to."""

    reference: str = ""


class NotSent(Exception):
    """It was not taken, or may not have been. The text is a sentence without a secret and without a URL.

    `is_final`: trying again is no use. `is_gone`: nor is the address any more (a web push subscription that ended).
    `retry_after`: seconds that the service asks to wait, None when it does not say.
    """

    def __init__(
        self, text: str, *, is_final: bool = False, is_gone: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.is_final = is_final or is_gone
        self.is_gone = is_gone
        self.retry_after = retry_after
