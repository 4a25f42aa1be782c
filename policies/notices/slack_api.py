"""Slack's Web API: one call at a time, through the one way out, and what its answers mean. No database."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from django.conf import settings

from accounts import outbound
from accounts.vault import Secret

from . import SECONDS
from .message import NotSent
from .webhook import refused

_ANSWER_BYTES: Final = 512 * 1024
_ERROR = re.compile(r"[a-z_]{1,60}")
PASSING: Final = frozenset(
    {
        "accesslimited",
        "fatal_error",
        "internal_error",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)
"""Errors that pass by themselves; every other one stays until somebody changes something."""
_WHAT_TO_DO: Final = {
    "channel_not_found": "Write the id of the channel, and invite the app into it.",
    "not_in_channel": "Invite the app into the channel.",
    "is_archived": "The channel is archived.",
    "invalid_auth": "Set the bot token again.",
    "not_authed": "Set the bot token again.",
    "token_revoked": "Install the app again, and set its bot token.",
    "token_expired": "Set a bot token that does not expire.",
    "account_inactive": "Install the app again, and set its bot token.",
    "missing_scope": "Give the app the scope chat:write, and install it again.",
}
_teams: dict[bytes, str] = {}
_teams_lock = threading.Lock()


def call(
    method: str,
    members: Mapping[str, Any],
    *,
    token: Secret,
    allowed_networks: Sequence[str],
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Return what Slack answered to `method`, such as chat.postMessage.

    Raises:
        NotSent: it did not do it. Final when trying again is no use; with the pause that it asks for (429).
    """
    try:
        answer = outbound.request(
            "POST",
            f"{settings.WARDGATE_SLACK_API_URL}{method}",
            allowed_networks=allowed_networks,
            headers={
                "Authorization": f"Bearer {token.reveal().decode('latin-1')}",
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "wardgate",
            },
            body=json.dumps(members, ensure_ascii=True, separators=(",", ":")).encode(),
            limit=_ANSWER_BYTES,
            seconds=seconds,
        )
    except outbound.OutboundFailed as error:
        raise NotSent(str(error)) from None
    if not 200 <= answer.status < 300:
        raise refused(answer)
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NotSent("Slack's answer cannot be read.")
    if said.get("ok") is not True:
        raise _error(said.get("error"))
    return said


def team_of(token: Secret, *, allowed_networks: Sequence[str]) -> str:
    """Return the id of the workspace that the bot token is of; it is asked once a process.

    Raises:
        NotSent: as `call`.
    """
    known = sha256(settings.WARDGATE_SLACK_API_URL.encode() + b"\x00" + token.reveal()).digest()
    with _teams_lock:
        if known in _teams:
            return _teams[known]
    team = call("auth.test", {}, token=token, allowed_networks=allowed_networks).get("team_id")
    if not isinstance(team, str) or not team:
        raise NotSent("Slack did not say which workspace the bot token is of.")
    with _teams_lock:
        if len(_teams) > 100:
            _teams.clear()
        _teams[known] = team
    return team


def _error(said: object) -> NotSent:
    code = said if isinstance(said, str) and _ERROR.fullmatch(said) else "an unknown error"
    hint = _WHAT_TO_DO.get(code, "")
    return NotSent(f"Slack answered {code}. {hint}".strip(), is_final=code not in PASSING)
