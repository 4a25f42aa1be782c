"""What Slack shows: messages and dialogs in Block Kit, made of values. Pure.

What strangers wrote (names, tools, arguments, reasons) stands only in `plain_text` and in the text elements of
`rich_text`, of which Slack parses nothing: no mention, no link, no formatting. The one text that Slack does parse, the
fallback for notifications, is escaped (`&`, `<`, `>`). Characters that nobody would see are marked, as in the inbox.

Somebody can approve here only what is shown here completely. When a value had to be cut, or the arguments are not
shown, the message offers no such button, and the inbox does.

Limits: Slack, "Block Kit" reference (header 150 characters, text 3,000, value of a button 2,000, 50 blocks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sessions.markup import UNSEEN

APPROVE: Final = "wardgate_approve"
DENY: Final = "wardgate_deny"
OPEN: Final = "wardgate_open"
DENY_DIALOG: Final = "wardgate_deny_dialog"
LINK: Final = "wardgate_link"
LINK_DIALOG: Final = "wardgate_link_dialog"
REASON: Final = "reason"
CODE: Final = "code"

MAX_TITLE: Final = 150
MAX_VALUE: Final = 500
MAX_ARGUMENTS: Final = 2_900
MAX_FALLBACK: Final = 300
MAX_FACTS: Final = 20
MAX_REASON: Final = 1_000
_BRACKETS = str.maketrans({"⟦": "⟦U+27E6⟧", "⟧": "⟦U+27E7⟧"})


@dataclass(frozen=True, slots=True)
class Card:
    """A request as a message shows it.

    Args:
        title: what happened, in a few words.
        facts: labels of ours, and values that strangers may have written.
        arguments: laid out in full; None when this place may not show them.
        note: a sentence under it, such as who decided.
        url: of the request's page.
        may_approve: whether the rule lets somebody approve from here at all.
        may_deny: likewise.
        key: what the buttons carry back.
    """

    title: str
    url: str
    facts: Sequence[tuple[str, str]] = ()
    arguments: str | None = None
    note: str = ""
    may_approve: bool = False
    may_deny: bool = False
    key: str = ""


def escaped(text: str) -> str:
    """Return `text` so that Slack's mrkdwn reads no mention, link or channel in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def marked(text: str, *, is_one_line: bool = True) -> str:
    """Return `text` with ⟦U+202E⟧ for every character that would not be seen, or would reorder what is seen."""
    text = UNSEEN.sub(lambda found: f"\x00{ord(found[0]):04X}\x01", text.translate(_BRACKETS))
    if is_one_line:
        text = text.replace("\n", "\x00000A\x01").replace("\t", "\x000009\x01")
    return text.replace("\x00", "⟦U+").replace("\x01", "⟧")


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters; of a longer text its beginning, and how long it is."""
    if len(text) <= limit:
        return text
    end = f"… ({len(text):,} characters)"
    return text[: limit - len(end)] + end


def is_complete(card: Card) -> bool:
    """Tell whether a message shows everything of `card`, so that somebody can approve what they see."""
    return (
        card.arguments is not None
        and len(marked(card.arguments, is_one_line=False)) <= MAX_ARGUMENTS
        and len(card.facts) <= MAX_FACTS
        and all(len(marked(value)) <= MAX_VALUE for _, value in card.facts)
    )


def message(card: Card) -> dict[str, Any]:
    """Return `text` and `blocks` of a message."""
    title = cut(marked(card.title), MAX_TITLE)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(title)}]
    if card.facts:
        blocks.append({"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": _facts(card)}]})
    if card.arguments is not None:
        blocks.append(_arguments(card.arguments))
    if card.note:
        blocks.append({"type": "context", "elements": [_plain(cut(marked(card.note), MAX_VALUE))]})
    blocks.append({"type": "actions", "block_id": "wardgate", "elements": _buttons(card)})
    return {"text": cut(escaped(cut(title, MAX_FALLBACK)), 4_000), "blocks": blocks}


def deny_dialog(code: str, *, key: str) -> dict[str, Any]:
    """Return the dialog that asks why a request is denied; `key` comes back with the answer."""
    field = {"type": "plain_text_input", "action_id": REASON, "multiline": True, "min_length": 1}
    return {
        "type": "modal",
        "callback_id": DENY_DIALOG,
        "private_metadata": key,
        "title": _plain("Deny"),
        "submit": _plain("Deny"),
        "close": _plain("Cancel"),
        "blocks": [
            {"type": "section", "text": _plain(f"{code} is denied for everybody. The caller reads your reason.")},
            {
                "type": "input",
                "block_id": REASON,
                "label": _plain("Why"),
                "element": {**field, "max_length": MAX_REASON},
            },
        ],
    }


def link_dialog(where: str) -> dict[str, Any]:
    """Return the dialog that asks for a code; `where` is the page of the console that gives one."""
    sentence = f"Wardgate does not know who you are yet. Get a code at {where}, and enter it here."
    field = {"type": "plain_text_input", "action_id": CODE, "min_length": 1, "max_length": 40}
    return {
        "type": "modal",
        "callback_id": LINK_DIALOG,
        "title": _plain("Link to Wardgate"),
        "submit": _plain("Link"),
        "close": _plain("Cancel"),
        "blocks": [
            {"type": "section", "text": _plain(cut(sentence, MAX_ARGUMENTS))},
            {"type": "input", "block_id": CODE, "label": _plain("Code"), "element": field},
        ],
    }


def said(title: str, sentence: str) -> dict[str, Any]:
    """Return a dialog that says one sentence."""
    return {
        "type": "modal",
        "title": _plain(cut(title, 24)),
        "close": _plain("Close"),
        "blocks": [{"type": "section", "text": _plain(cut(marked(sentence), MAX_ARGUMENTS))}],
    }


def _facts(card: Card) -> list[dict[str, Any]]:
    elements: list[dict[str, Any]] = []
    for label, value in card.facts[:MAX_FACTS]:
        elements.append({"type": "text", "text": f"{label}: ", "style": {"bold": True}})
        elements.append({"type": "text", "text": f"{cut(marked(value), MAX_VALUE)}\n"})
    return elements


def _arguments(arguments: str) -> dict[str, Any]:
    text = marked(arguments, is_one_line=False)
    if len(text) > MAX_ARGUMENTS:
        sentence = f"The arguments are too long to be shown here ({len(text):,} characters). Open them in Wardgate."
        return {"type": "section", "text": _plain(sentence)}
    pieces = [{"type": "text", "text": text or " "}]
    return {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": pieces}]}


def _buttons(card: Card) -> list[dict[str, Any]]:
    buttons: list[dict[str, Any]] = []
    if card.may_approve and is_complete(card):
        question = {
            "title": _plain("Approve?"),
            "text": _plain("Exactly what is shown here may run once."),
            "confirm": _plain("Approve"),
            "deny": _plain("Back"),
        }
        buttons.append({**_button("Approve once", APPROVE), "style": "primary", "value": card.key, "confirm": question})
    if card.may_deny:
        buttons.append({**_button("Deny…", DENY), "style": "danger", "value": card.key})
    return [*buttons, {**_button("Open in Wardgate", OPEN), "url": card.url}]


def _button(label: str, action: str) -> dict[str, Any]:
    return {"type": "button", "action_id": action, "text": _plain(label)}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text or " ", "emoji": False}
