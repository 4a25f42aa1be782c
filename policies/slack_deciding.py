"""What a click in Slack does: the same decision as in the inbox, by the same service, with everything asked again.

Slack's signature says that the click happened, in which workspace, and by which of its users. Who that is here, and
whether they may decide this now, is asked of the gateway's own rows at that moment.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from accounts.exceptions import DomainError

from . import selectors, services
from .approval_errors import Moved, ReasonNeeded
from .models import ApprovalRequest, ApprovalRule, NoticeChannel, SlackIdentity, SlackMessage
from .notices import slack_api, slack_blocks
from .notices.message import NotSent
from .notices.slack import QUIET
from .notices.slack_payload import Actor, Click, Denial, Done, Link, LinkAsked, Nothing
from .services.deciders import directory_groups_of
from .services.notice_channels import secret_of
from .services.slack_links import CodeRefused, slack_identity_of, slack_link
from .services.slack_messages import slack_message_make

logger = logging.getLogger(__name__)

SECONDS: Final = 2.0
"""How long telling somebody may take: Slack shows an error to whoever clicked after three seconds."""
_NOT_THIS: Final = "Nothing can be decided from this message. Open the request in Wardgate."
_NOT_KNOWN: Final = "Wardgate does not know who you are. Link your account first, then do this again."
_PROOF: Final = "This is of high risk: it is decided in Wardgate, after confirming who you are."


class Refused(DomainError):
    """Nothing was decided; the text says why, for whoever clicked."""

    code = "slack_refused"


@dataclass(frozen=True, slots=True)
class Party:
    """Who clicked, and what about."""

    message: SlackMessage
    identity: SlackIdentity
    request: ApprovalRequest
    deciding: services.Deciding


def do(done: Done, *, channels: Sequence[NoticeChannel], address: str, now: datetime) -> dict[str, Any]:
    """Do what somebody did in Slack, and return the answer to Slack; empty when there is nothing to say in it.

    `channels` are those with whose secret the request was signed.
    """
    match done:
        case Click():
            _click(done, channels, address, now)
            return {}
        case Denial():
            return _denied(done, channels, address, now)
        case LinkAsked():
            _dialog(slack_blocks.link_dialog(link_page()), done.trigger, channels[0])
            return {}
        case Link():
            return _linked(done, now)
        case Nothing():
            return {}


def link_page() -> str:
    """Return the page of the console that gives codes for linking."""
    return f"{settings.WARDGATE_PUBLIC_URL}{reverse('console_slack')}"


def _click(click: Click, channels: Sequence[NoticeChannel], address: str, now: datetime) -> None:
    message = _message(click.key, click.actor.team, channels)
    try:
        if message is None or (message.slack_channel, message.ts) != (click.channel, click.ts) or not message.ts:
            raise Refused(_NOT_THIS)
        party = _party(message, click.actor, address, now)
        if party is None:
            _dialog(slack_blocks.link_dialog(link_page()), click.trigger, message.channel)
            return
        if click.action == slack_blocks.DENY:
            _ask_why(party, click, now)
        else:
            _tell(click, message.channel, _approved(party, now))
    except Moved:
        _show_anew(message, now)
        _tell(click, channels[0], "This request has changed since it was shown here. Look again.")
    except DomainError as error:
        _tell(click, channels[0] if message is None else message.channel, str(error))


def _approved(party: Party, now: datetime) -> str:
    if not party.message.may_approve:
        raise Refused("This message does not show everything, so it cannot be approved here. Open it in Wardgate.")
    done = services.request_decide(
        request_id=party.request.pk,
        deciding=party.deciding,
        approve=True,
        seen_at=party.message.seen_at,
        now=now,
    )
    if done.state == ApprovalRequest.State.HELD:
        _show_anew(party.message, now)
        return f"{done.code}: your approval counts. It waits for others."
    return f"{done.code} is approved, once."


def _ask_why(party: Party, click: Click, now: datetime) -> None:
    problem = services.why_not(party.request, party.deciding, now=now)
    if problem is not None:
        raise problem
    if party.message.seen_at != party.request.changed_at:
        raise Moved("It has changed.")
    dialog = slack_blocks.deny_dialog(party.request.code, key=str(party.message.pk))
    _dialog(dialog, click.trigger, party.message.channel)


def _denied(denial: Denial, channels: Sequence[NoticeChannel], address: str, now: datetime) -> dict[str, Any]:
    message = _message(denial.key, denial.actor.team, channels)
    try:
        party = None if message is None or not message.ts else _party(message, denial.actor, address, now)
        if party is None:
            raise Refused(_NOT_THIS if message is None else _NOT_KNOWN)
        done = services.request_decide(
            request_id=party.request.pk,
            deciding=party.deciding,
            approve=False,
            reason=denial.reason,
            seen_at=party.message.seen_at,
            now=now,
        )
    except ReasonNeeded as error:
        return {"response_action": "errors", "errors": {slack_blocks.REASON: str(error)}}
    except DomainError as error:
        return _update("Not denied", str(error))
    return _update("Denied", f"{done.code} is denied.")


def _linked(link: Link, now: datetime) -> dict[str, Any]:
    actor = link.actor
    try:
        identity = slack_link(
            code=link.code, team=actor.user_team, slack_user=actor.user, slack_name=actor.name, now=now
        )
    except CodeRefused as error:
        return {"response_action": "errors", "errors": {slack_blocks.CODE: str(error)}}
    until = f"{identity.expires_at:%Y-%m-%d}"
    return _update("Linked", f"You are {identity.user} in Wardgate, until {until}. You can decide from messages now.")


def _message(key: str, team: str, channels: Sequence[NoticeChannel]) -> SlackMessage | None:
    """Return the message whose button or dialog this is, if it is of this workspace and of the app that signed."""
    try:
        identifier = UUID(key)
    except ValueError:
        return None
    rows = SlackMessage.objects.select_related("channel", "request__principal__owner", "request__connection")
    return rows.filter(pk=identifier, team=team, channel__in=[channel.pk for channel in channels]).first()


def _party(message: SlackMessage, actor: Actor, address: str, now: datetime) -> Party | None:
    """Return who asks for what; None when nobody knows who they are.

    Raises:
        Refused: they may not see the request, or nothing may be decided from here.
    """
    identity = slack_identity_of(team=actor.user_team, slack_user=actor.user, now=now)
    if identity is None:
        return None
    user, request = identity.user, message.request
    if not user.is_active or not selectors.approval_requests_visible_to(user=user).filter(pk=request.pk).exists():
        raise Refused("You may not decide about this.")
    if request.terms.get("risk") == ApprovalRule.Risk.HIGH or not message.may_deny:
        raise Refused(_PROOF)
    proved = f"Slack {actor.user_team}/{actor.user}, linked {identity.linked_at:%Y-%m-%dT%H:%M:%SZ}"
    deciding = services.Deciding(user, directory_groups_of(user), "slack", address, proved, _view(message))
    services.request_seen(request=request, user=user, address=address, now=now)
    return Party(message, identity, request, deciding)


def _view(message: SlackMessage) -> str:
    """Return exactly what Slack showed, besides what every decision keeps."""
    place = {"team": message.team, "channel": message.slack_channel, "ts": message.ts}
    return services.view_of(message.request, {"slack": {**place, "message": json.loads(message.shown)}})


def _show_anew(message: SlackMessage | None, now: datetime) -> None:
    """Bring a message up to date whose request has moved and still waits."""
    if message is None or not message.ts:
        return
    title = f"Approval needed: {message.request.code}"
    offer = slack_message_make(
        request_id=message.request_id, channel=message.channel, title=title, team=message.team, ts=message.ts, now=now
    )
    if offer is not None:
        members = {"channel": message.slack_channel, "ts": message.ts, **offer.content}
        _say("chat.update", {**members, "parse": "none", "link_names": False}, message.channel)


def _dialog(view: dict[str, Any], trigger: str, channel: NoticeChannel) -> None:
    _say("views.open", {"trigger_id": trigger, "view": view}, channel)


def _tell(click: Click, channel: NoticeChannel, sentence: str) -> None:
    """Tell whoever clicked, and nobody else."""
    text = slack_blocks.escaped(slack_blocks.cut(slack_blocks.marked(sentence), 1_000))
    _say("chat.postEphemeral", {"channel": click.channel, "user": click.actor.user, "text": text, **QUIET}, channel)


def _say(method: str, members: dict[str, Any], channel: NoticeChannel) -> None:
    """Call Slack; what was decided stands, whether somebody can be told or not."""
    try:
        networks = tuple(channel.allowed_networks)
        slack_api.call(method, members, token=secret_of(channel), allowed_networks=networks, seconds=SECONDS)
    except NotSent as error:
        logger.warning("slack was not told", extra={"method": method, "problem": str(error)})


def _update(title: str, sentence: str) -> dict[str, Any]:
    return {"response_action": "update", "view": slack_blocks.said(title, sentence)}
