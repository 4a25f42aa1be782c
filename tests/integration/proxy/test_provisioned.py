"""What an identity provider provisions over SCIM, on the data path: who is stopped, let back in, and in which group."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from accounts.scim import schemas
from tests.support.gateway import LiveGateway
from tests.support.idp import ABSENT
from tests.support.servers import ROOT, wait_until
from tests.support.upstream import ScriptedUpstream, Seen, default_script

from .calls import ACCEPT, tool

STOPPED_SECONDS = 2.0
CUT_SECONDS = 5.0
JSON = "application/scim+json"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SETUP = """
import django
django.setup()
from datetime import UTC, datetime
from accounts import services
from accounts.models import IdentityProvider, User
now = datetime.now(UTC)
IdentityProvider.objects.update(uses_directory=True, missing_groups_are_unknown=True)
provider, owner = IdentityProvider.objects.get(), User.objects.create_superuser("owner")
_row, token = services.api_token_create(
    user=owner, actor=owner, name="provisioning", scopes=["scim"], provider=provider, now=now
)
print(provider.pk, token)
"""


class Directory:
    """The provider's provisioning service, which speaks to the running gateway."""

    def __init__(self, gateway: LiveGateway) -> None:
        done = subprocess.run(
            [sys.executable, "-c", SETUP],
            cwd=ROOT,
            env=gateway.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        provider_id, token = done.stdout.split()
        self._root = f"{gateway.origin}/scim/v2/{provider_id}"
        self._headers = {"Authorization": f"Bearer {token}", "content-type": JSON}

    def send(self, method: str, path: str, document: dict[str, Any] | None = None) -> Any:
        answer = httpx.request(method, f"{self._root}/{path}", json=document, headers=self._headers, timeout=15)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def patch(self, place: str, **operation: Any) -> None:
        self.send("PATCH", place, {"schemas": [schemas.PATCH], "Operations": [operation]})

    def user(self, subject: str) -> str:
        body = {"schemas": [schemas.USER], "userName": f"{subject}@acme.example", "externalId": subject}
        return str(self.send("POST", "Users", body)["id"])


@pytest.fixture(scope="module")
def directory(live_gateway: LiveGateway) -> Directory:
    return Directory(live_gateway)


@pytest.fixture
def subject() -> str:
    return f"caller-{secrets.token_hex(6)}"


def status_of(gateway: LiveGateway, headers: dict[str, str]) -> int:
    answer = httpx.post(gateway.url("orders"), json=tool("get_order"), headers={**headers, **ACCEPT}, timeout=15)
    return answer.status_code


def seconds_until(is_so: Callable[[], bool]) -> float:
    began = time.monotonic()
    wait_until(is_so, seconds=10, what="what was provisioned to take effect")
    return time.monotonic() - began


@pytest.mark.parametrize(
    "stop",
    [
        {"op": "replace", "value": {"active": False}},
        {"op": "Replace", "path": "active", "value": "False"},
        None,
    ],
    ids=["okta", "entra", "deleted"],
)
def test_whoever_is_deactivated_or_deleted_is_refused_within_two_seconds(live_gateway, directory, subject, stop):
    user_id, headers = directory.user(subject), live_gateway.headers(subject)
    assert status_of(live_gateway, headers) == 200
    if stop is None:
        directory.send("DELETE", f"Users/{user_id}")
    else:
        directory.patch(f"Users/{user_id}", **stop)
    assert seconds_until(lambda: status_of(live_gateway, headers) != 200) < STOPPED_SECONDS
    fresh = live_gateway.headers(subject)
    assert status_of(live_gateway, fresh) in {401, 403}


def test_whoever_is_active_again_is_let_in_again(live_gateway, directory, subject):
    user_id, headers = directory.user(subject), live_gateway.headers(subject)
    directory.patch(f"Users/{user_id}", op="replace", value={"active": False})
    seconds_until(lambda: status_of(live_gateway, headers) != 200)
    directory.patch(f"Users/{user_id}", op="replace", value={"active": True})
    assert seconds_until(lambda: status_of(live_gateway, headers) == 200) < STOPPED_SECONDS


def test_whoever_was_never_seen_is_refused_from_the_first_call(live_gateway, directory, subject):
    body = {"schemas": [schemas.USER], "userName": subject, "externalId": subject, "active": False}
    directory.send("POST", "Users", body)
    headers = live_gateway.headers(subject)
    seconds_until(lambda: status_of(live_gateway, headers) != 200)
    assert status_of(live_gateway, live_gateway.headers(subject)) in {401, 403}


def test_an_open_stream_is_cut_within_five_seconds(live_gateway, directory, subject, upstream: ScriptedUpstream):
    opened = threading.Event()

    def endless(seen: Seen, connection: Any) -> None:
        if seen.message.get("params", {}).get("name") != "stream":
            default_script(seen, connection)
            return
        connection.sendall(STREAM_HEAD)
        opened.set()
        connection.recv(1)

    upstream.script = endless
    user_id, headers = directory.user(subject), live_gateway.headers(subject)
    ended: list[float] = []

    def follow() -> None:
        try:
            httpx.post(live_gateway.url("orders"), json=tool("stream"), headers={**headers, **ACCEPT}, timeout=30)
        except httpx.HTTPError:
            pass
        ended.append(time.monotonic())

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        assert opened.wait(10)
        directory.patch(f"Users/{user_id}", op="replace", value={"active": False})
        stopped_at = time.monotonic()
    finally:
        thread.join(timeout=40)
    assert not thread.is_alive()
    assert ended[0] - stopped_at < CUT_SECONDS


def test_a_group_that_the_token_does_not_tell_is_the_provisioned_one(live_gateway, directory, subject):
    headers = {"Authorization": f"Bearer {live_gateway.token(subject, groups=ABSENT)}"}
    user_id = directory.user(subject)
    assert status_of(live_gateway, headers) == 404
    group = directory.send("POST", "Groups", {"schemas": [schemas.GROUP], "displayName": "readers"})
    place = f"Groups/{group['id']}"
    directory.patch(place, op="add", path="members", value=[{"value": user_id}])
    seconds_until(lambda: status_of(live_gateway, headers) == 200)
    directory.patch(place, op="Remove", path="members", value=[{"value": user_id}])
    assert seconds_until(lambda: status_of(live_gateway, headers) == 404) < STOPPED_SECONDS
    directory.patch(place, op="add", path="members", value=[{"value": user_id}])
    seconds_until(lambda: status_of(live_gateway, headers) == 200)
    directory.send("DELETE", place)
    assert seconds_until(lambda: status_of(live_gateway, headers) == 404) < STOPPED_SECONDS
