"""What Slack says that somebody did: a click on a button, a dialog that was sent, a shortcut. Pure.

Everything that is read here was signed by Slack. It is still read strictly: what has another form is nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from .slack_blocks import APPROVE, CODE, DENY, DENY_DIALOG, LINK, LINK_DIALOG, REASON

MAX_BYTES: Final = 256 * 1024
_MAX_ID = 64


class PayloadRefused(ValueError):
    """It is not what Slack sends. The text repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: the workspace of the app, and the user with the workspace that they are of."""

    team: str
    user: str
    user_team: str
    name: str


@dataclass(frozen=True, slots=True)
class Click:
    """A button of a message. `action` is APPROVE or DENY, `key` what the button carries."""

    actor: Actor
    action: str
    key: str
    channel: str
    ts: str
    trigger: str


@dataclass(frozen=True, slots=True)
class Denial:
    """The dialog that asks why was sent."""

    actor: Actor
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkAsked:
    """The shortcut for linking was chosen."""

    actor: Actor
    trigger: str


@dataclass(frozen=True, slots=True)
class Link:
    """The dialog that asks for the code of the console was sent."""

    actor: Actor
    code: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Something that nothing has to be done about, such as the button that opens the inbox."""


Done = Click | Denial | LinkAsked | Link | Nothing


def read(body: bytes) -> Done:
    """Return what the body of an interaction says.

    Raises:
        PayloadRefused: it is not what Slack sends.
    """
    try:
        fields = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=4, errors="strict")
    except ValueError:
        raise PayloadRefused("The body is not a form.") from None
    if [name for name, _ in fields] != ["payload"]:
        raise PayloadRefused("The form has other fields than a payload.")
    try:
        payload = json.loads(fields[0][1])
    except (ValueError, RecursionError):
        raise PayloadRefused("The payload is not JSON.") from None
    if not isinstance(payload, dict):
        raise PayloadRefused("The payload is not an object.")
    match payload.get("type"):
        case "block_actions":
            return _click(payload)
        case "view_submission":
            return _submission(payload)
        case "shortcut" if payload.get("callback_id") == LINK:
            return LinkAsked(_actor(payload), _text(payload, "trigger_id", 200))
        case _:
            return Nothing()


def _click(payload: Mapping[str, Any]) -> Done:
    actions = payload.get("actions")
    if not isinstance(actions, list) or len(actions) != 1 or not isinstance(actions[0], dict):
        raise PayloadRefused("One button at a time.")
    action = actions[0].get("action_id")
    if action not in {APPROVE, DENY}:
        return Nothing()
    container = _object(payload, "container")
    return Click(
        actor=_actor(payload),
        action=action,
        key=_text(actions[0], "value"),
        channel=_text(container, "channel_id"),
        ts=_text(container, "message_ts"),
        trigger=_text(payload, "trigger_id", 200),
    )


def _submission(payload: Mapping[str, Any]) -> Done:
    view = _object(payload, "view")
    values = _object(_object(view, "state"), "values")
    match view.get("callback_id"):
        case callback if callback == DENY_DIALOG:
            return Denial(_actor(payload), _text(view, "private_metadata"), _entered(values, REASON))
        case callback if callback == LINK_DIALOG:
            return Link(_actor(payload), _entered(values, CODE))
        case _:
            return Nothing()


def _actor(payload: Mapping[str, Any]) -> Actor:
    team, user = _text(_object(payload, "team"), "id"), _object(payload, "user")
    of = user.get("team_id")
    name = user.get("username") or user.get("name")
    return Actor(
        team=team,
        user=_text(user, "id"),
        user_team=_text(user, "team_id") if of is not None else team,
        name=name[:100] if isinstance(name, str) else "",
    )


def _entered(values: Mapping[str, Any], name: str) -> str:
    value = _object(_object(values, name), name).get("value")
    return value[:4_000] if isinstance(value, str) else ""


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise PayloadRefused("The payload lacks what an interaction has.")
    return value


def _text(parent: Mapping[str, Any], name: str, most: int = _MAX_ID) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not value or len(value) > most or not value.isascii() or not value.isprintable():
        raise PayloadRefused("The payload lacks what an interaction has.")
    return value
