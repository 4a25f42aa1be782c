"""Writes of notification channels, and the secrets that they are reached with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import addresses, sealing, vault
from accounts.exceptions import DomainError
from accounts.saving import Refusals
from connections.models import Connection
from policies.models import ApprovalRule, NoticeChannel, NoticeDelivery
from policies.notices import composing
from policies.notices.message import CHOSEN, NotSent
from policies.notices.ways import WAYS

PLACE: Final = "policies_noticechannel"
LONGEST_SECRET: Final = 2_000


class TestFailed(DomainError):
    """A test did not reach the channel; the message says why."""

    __test__ = False  # for pytest, which takes every class of this name for tests
    code = "notification_failed"


@transaction.atomic
def notice_channel_save(
    *,
    channel_id: UUID | None = None,
    name: str,
    kind: str,
    target: str = "",
    secret: str = "",
    keeps_old_secret: bool = False,
    signing_secret: str = "",
    allowed_networks: Iterable[object] = (),
    events: Iterable[object] = (),
    approval_rules: Iterable[ApprovalRule] = (),
    connections: Iterable[Connection] = (),
    risks: Iterable[object] = (),
    includes_arguments: bool = False,
    most_per_minute: int = 20,
    is_active: bool = True,
    now: datetime,
) -> NoticeChannel:
    """Add or change a channel; an empty secret keeps the one there is.

    With `keeps_old_secret` a webhook is signed with the secret so far as well, until the channel is saved without it:
    the receiver changes over in between. `signing_secret` is of Slack, which signs with it what it sends here.

    Raises:
        ValidationError: by field.
        NoticeChannel.DoesNotExist: there is no such channel.
        MasterKeysUnusable: the secret cannot be sealed.
    """
    channel = NoticeChannel(created_at=now)
    if channel_id is not None:
        channel = NoticeChannel.objects.select_for_update().get(pk=channel_id)
    was_at, kept = (channel.kind, channel.target), _opened(channel)
    channel.name, channel.kind, channel.target = name.strip(), kind, target.strip()
    channel.includes_arguments, channel.most_per_minute, channel.is_active = (
        includes_arguments,
        most_per_minute,
        is_active,
    )
    refusals = Refusals()
    channel.allowed_networks = refusals.texts("allowed_networks", allowed_networks)
    channel.events = _chosen("events", events, [event.value for event in CHOSEN], refusals)
    channel.risks = _chosen("risks", risks, [risk.value for risk in ApprovalRule.Risk], refusals)
    moves = channel_id is not None and was_at != (channel.kind, channel.target)
    if moves and kept and not secret and _needs_secret(channel.kind):
        # A secret never follows to another place than the one that it was given for.
        refusals.add("secret", "secret_needed", "Give the secret again: the channel is another place now.")
    members = {} if moves else dict(kept)
    if not keeps_old_secret:
        members.pop("previous", None)
    if secret:
        old = members.get("secret", "")
        members["secret"] = secret.strip()
        if keeps_old_secret and old and channel.kind == NoticeChannel.Kind.WEBHOOK:
            members["previous"] = old
    if signing_secret:
        members["signing"] = signing_secret.strip()
    _check(channel, members, bool(secret) or "secret" not in members, refusals)
    _seal(channel, members)
    channel.failures, channel.last_error, channel.retry_at = 0, "", None
    refusals.save(channel)
    channel.approval_rules.set(approval_rules)
    channel.connections.set(connections)
    return channel


@transaction.atomic
def notice_channel_delete(*, channel_id: UUID) -> None:
    """Delete a channel; what it was told stays in the log, and what waits for it is dropped."""
    waiting = NoticeDelivery.objects.filter(channel=channel_id, ended_at=None)
    waiting.update(state=NoticeDelivery.State.DROPPED, error="The channel was deleted.", ended_at=timezone.now())
    NoticeChannel.objects.filter(pk=channel_id).delete()


def notice_channel_test(*, channel_id: UUID, now: datetime) -> None:
    """Send a message that is about no request to the channel, now; the log has it.

    Raises:
        TestFailed: it did not take it.
        NoticeChannel.DoesNotExist: there is no such channel.
    """
    channel = NoticeChannel.objects.get(pk=channel_id)
    delivery = NoticeDelivery(
        event="test", way=channel.kind, channel=channel, told=channel.name, attempts=1, created_at=now, ended_at=now
    )
    notice = composing.test_of(channel.name, delivery=str(delivery.pk))
    try:
        sent = WAYS[channel.kind].send(notice, channel.target, secret_of(channel), tuple(channel.allowed_networks))
    except NotSent as error:
        delivery.state, delivery.error = NoticeDelivery.State.FAILED, str(error)[:300]
        delivery.save()
        raise TestFailed(str(error)) from None
    delivery.state, delivery.reference = NoticeDelivery.State.SENT, sent.reference[:200]
    delivery.save()
    NoticeChannel.objects.filter(pk=channel_id).update(failures=0, last_error="", retry_at=None)


def secret_of(channel: NoticeChannel) -> vault.Secret:
    """Return what the channel's way takes as its secret; of a webhook that changes over, both, one a line.

    Raises:
        NotSent: it cannot be opened.
    """
    members = _opened(channel, must_open=True)
    return vault.Secret("\n".join(members[name] for name in ("secret", "previous") if members.get(name)).encode())


def signing_secret_of(channel: NoticeChannel) -> vault.Secret:
    """Return the secret with which the service signs what it sends to the gateway; empty when there is none.

    Raises:
        NotSent: it cannot be opened.
    """
    return vault.Secret(_opened(channel, must_open=True).get("signing", "").encode())


def channel_secrets_seal_again() -> tuple[int, int]:
    """Seal secrets of channels under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    return sealing.rows_seal_again(NoticeChannel.objects.exclude(key_id=""), place=PLACE)


def _opened(channel: NoticeChannel, *, must_open: bool = False) -> dict[str, str]:
    """Return the sealed members; without `must_open` none when they cannot be opened, so that new ones can be set."""
    if not channel.ciphertext:
        return {}
    kept = vault.Sealed(channel.key_id, bytes(channel.wrapped_key), bytes(channel.ciphertext))
    try:
        members = json.loads(sealing.opened(kept, place=PLACE, row_id=channel.pk).reveal())
    except vault.CannotOpen:
        if must_open:
            raise NotSent("The secret of the channel cannot be opened: set it again.") from None
        return {}
    return {str(name): str(text) for name, text in members.items()}


def _seal(channel: NoticeChannel, members: dict[str, str]) -> None:
    if not members:
        channel.key_id, channel.wrapped_key, channel.ciphertext = "", b"", b""
        return
    kept = sealing.sealed(json.dumps(members, sort_keys=True), place=PLACE, row_id=channel.pk)
    channel.key_id, channel.wrapped_key, channel.ciphertext = kept.key_id, kept.wrapped_key, kept.ciphertext


def _check(channel: NoticeChannel, members: dict[str, str], is_new_secret: bool, refusals: Refusals) -> None:
    try:
        addresses.parse_networks(channel.allowed_networks)
    except addresses.NetworkRefused as error:
        refusals.add("allowed_networks", "bad_network", error.message)
    for field, member in (("secret", "secret"), ("signing_secret", "signing")):
        text = members.get(member, "")
        if len(text) > LONGEST_SECRET or (not (text.isascii() and text.isprintable()) and text):
            refusals.add(field, "bad_secret", f"Give one line of at most {LONGEST_SECRET} ASCII characters.")
    if members.get("signing") and channel.kind != NoticeChannel.Kind.SLACK:
        refusals.add("signing_secret", "not_for_this_kind", "Only Slack has a signing secret; leave it empty.")
    way = WAYS.get(channel.kind)
    if way is None:
        return  # the model refuses the kind
    problem = way.refusal(
        channel.target, members.get("secret", "") if is_new_secret else None, tuple(channel.allowed_networks)
    )
    if problem is not None:
        refusals.add(problem[0], "refused", problem[1])


def _needs_secret(kind: str) -> bool:
    return kind != NoticeChannel.Kind.EMAIL


def _chosen(field: str, given: Iterable[object], known: list[str], refusals: Refusals) -> list[str]:
    texts = refusals.texts(field, given)
    for text in texts:
        if text not in known:
            refusals.add(field, "unknown_choice", f"{text!r} is none of {', '.join(known)}.")
    return [name for name in known if name in texts]
