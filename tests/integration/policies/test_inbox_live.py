"""The socket of the inbox: who may listen, what is told, and when it is over."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.db import connection, connections
from django.utils import timezone

from accounts.models import ConsoleSession, Principal, RoleGrant, User
from accounts.services import lock_place, principal_ensure
from connections.models import Connection
from connections.services import connection_save
from gateway_project.asgi import application
from gateway_project.doors import GuardedDoors
from policies import consumers, services
from policies.live import MOST_IDS, Hub
from policies.models import ApprovalRequest

pytestmark = pytest.mark.django_db(transaction=True)
ISSUER = "https://idp.test.example"
SECONDS = 5


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the database back before Django drops it."""
    yield
    for _ in range(4):
        consumers._THREADS.submit(connections.close_all).result(SECONDS)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(most=3, most_of_one=2)
    monkeypatch.setattr(consumers, "hub", made)
    monkeypatch.setattr(consumers, "PAUSE_SECONDS", 0.0)
    return made


@pytest.fixture
def alice() -> Principal:
    return principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=timezone.now())


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=timezone.now())


@pytest.fixture
def grace() -> User:
    user = User.objects.create(username="grace", is_staff=True)
    RoleGrant.objects.create(user=user, role="approver")
    return User.objects.get(pk=user.pk)


@pytest.fixture
def cookie(client: Any, grace: User, settings: Any) -> str:
    client.force_login(grace, backend="accounts.backends.LocalBackend")
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def page(cookie: str = "", origin: str | None = "http://testserver", host: str = "testserver") -> WebsocketCommunicator:
    headers = [(b"host", host.encode())]
    headers += [(b"origin", origin.encode())] if origin is not None else []
    headers += [(b"cookie", cookie.encode())] if cookie else []
    sockets = application.console.application_mapping["websocket"]
    return WebsocketCommunicator(sockets, "/inbox/live/", headers=headers)


async def opened(cookie: str) -> WebsocketCommunicator:
    made = page(cookie)
    assert (await made.connect(SECONDS))[0]
    return made


async def ended(made: WebsocketCommunicator) -> int:
    message = await made.receive_output(SECONDS)
    assert message["type"] == "websocket.close"
    return int(message.get("code", 1000))


def held(alice: Principal, orders: Connection) -> ApprovalRequest:
    call = services.HeldCall(
        issuer=ISSUER, subject="alice", client_id="", client_name="", client_version="", user_agent="", address="",
        connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund", arguments={},
        masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32), body=b"{}",
    )  # fmt: skip
    return services.request_open(held=call, now=timezone.now())


async def test_a_page_is_told_the_code_of_what_has_moved_and_nothing_else(
    hub: Hub, cookie: str, alice: Principal, orders: Connection
) -> None:
    made = await opened(cookie)
    request = await sync_to_async(held)(alice, orders)
    hub.ring(str(request.pk))
    assert json.loads(await made.receive_from(SECONDS)) == {"moved": [request.code]}
    await made.disconnect()
    assert len(hub) == 0


async def test_what_a_person_may_not_see_is_not_even_a_code(
    hub: Hub, cookie: str, grace: User, alice: Principal, orders: Connection
) -> None:
    await sync_to_async(RoleGrant.objects.filter(user=grace).update)(role="viewer")
    made = await opened(cookie)
    request = await sync_to_async(held)(alice, orders)
    hub.ring(str(request.pk))
    assert await made.receive_nothing(0.5)
    await made.disconnect()


async def test_of_very_many_it_is_told_that_there_are_many(hub: Hub, cookie: str) -> None:
    made = await opened(cookie)
    for _ in range(MOST_IDS + 1):
        hub.ring(str(uuid4()))
    assert json.loads(await made.receive_from(SECONDS)) == {"moved": ["*"]}
    await made.disconnect()


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "testserver"),
        ("null", "testserver"),
        ("https://evil.example", "testserver"),
        ("http://testserver.evil.example", "testserver"),
        ("http://testserver@evil.example", "testserver"),
        ("http://evil.example", "evil.example"),
        ("ftp://testserver", "testserver"),
    ],
)
async def test_another_site_may_not_listen_with_the_cookie(cookie: str, origin: str | None, host: str) -> None:
    assert not (await page(cookie, origin, host).connect(SECONDS))[0]


@pytest.mark.parametrize("given", ["", "wardgate=", "wardgate=nonsense", "other=1"])
async def test_without_a_login_nobody_listens(given: str) -> None:
    assert not (await page(given).connect(SECONDS))[0]


def without_role(user: User, alice: Principal) -> None:
    RoleGrant.objects.filter(user=user).delete()


def logged_out(user: User, alice: Principal) -> None:
    ConsoleSession.objects.filter(user=user).update(ended_at=timezone.now())


def disabled(user: User, alice: Principal) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def locked(user: User, alice: Principal) -> None:
    User.objects.filter(pk=user.pk).update(principal=alice)
    lock_place(kind="principal", principal=alice, reason="leaver", source="console", now=timezone.now())


def idle(user: User, alice: Principal) -> None:
    ConsoleSession.objects.filter(user=user).update(began_at=timezone.now() - timedelta(days=2))


def new_password(user: User, alice: Principal) -> None:
    changed = User.objects.get(pk=user.pk)
    changed.set_password("correct horse battery staple")
    changed.save()


@pytest.mark.parametrize("change", [without_role, logged_out, disabled, locked, idle, new_password])
@pytest.mark.parametrize("is_rung", [True, False], ids=["at a bell", "at the next look"])
async def test_a_login_that_has_ended_is_closed(
    hub: Hub, cookie: str, grace: User, alice: Principal, monkeypatch: pytest.MonkeyPatch, change: Any, is_rung: bool
) -> None:
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 60.0 if is_rung else 0.2)
    made = await opened(cookie)
    await sync_to_async(change)(grace, alice)
    if is_rung:
        hub.ring(str(uuid4()))
    assert await ended(made) == consumers.ENDED
    assert len(hub) == 0
    assert not (await page(cookie).connect(SECONDS))[0]


async def test_one_person_has_so_many_pages_and_one_more_is_told_so(hub: Hub, cookie: str) -> None:
    pages = [await opened(cookie) for _ in range(2)]
    more = await opened(cookie)
    assert await ended(more) == consumers.FULL
    await pages[0].disconnect()
    again = await opened(cookie)
    await again.disconnect()
    await pages[1].disconnect()
    assert len(hub) == 0


async def test_a_full_process_lets_nobody_in(hub: Hub, cookie: str) -> None:
    for person in range(3):
        hub.join(1000 + person)
    assert not (await page(cookie).connect(SECONDS))[0]


async def test_a_page_has_nothing_to_say(hub: Hub, cookie: str) -> None:
    made = await opened(cookie)
    await made.send_to(text_data="hello")
    assert await ended(made) == 1003
    assert len(hub) == 0


async def test_an_address_that_knocks_too_often_is_not_asked_who_it_is() -> None:
    asked: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await send({"type": "websocket.close"})

    doors = GuardedDoors(inner, per_second=1, proxies=application._console._proxies, clock=lambda: 0.0)
    for _ in range(5):
        assert not (await WebsocketCommunicator(doors, "/inbox/live/").connect(SECONDS))[0]
    assert len(asked) == 2


def test_the_database_rings_for_a_new_request_and_for_whatever_moves_it(alice: Principal, orders: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("LISTEN wardgate_approval")
    request = held(alice, orders)
    assert rings() == [str(request.pk)]
    ApprovalRequest.objects.filter(pk=request.pk).update(waiting_at=timezone.now())
    assert rings() == []
    ApprovalRequest.objects.filter(pk=request.pk).update(changed_at=timezone.now())
    assert rings() == [str(request.pk)]
    ApprovalRequest.objects.filter(pk=request.pk).update(state="cancelled")
    assert rings() == [str(request.pk)]


def test_redis_is_not_asked() -> None:
    assert get_channel_layer(consumers.InboxConsumer.channel_layer_alias) is None


def rings() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return [notice.payload for notice in connection.connection.notifies(timeout=0.05)]


async def test_a_listener_that_is_slow_keeps_no_more_than_so_much() -> None:
    hub = Hub(most=1, most_of_one=1)
    listener = hub.join(1)
    for _ in range(10 * MOST_IDS):
        hub.ring(str(uuid4()))
    moved, is_over = listener.take()
    assert len(moved) == MOST_IDS
    assert is_over
    assert listener.take() == (frozenset(), False)
    await asyncio.wait_for(listener.wait(0.01), SECONDS)
