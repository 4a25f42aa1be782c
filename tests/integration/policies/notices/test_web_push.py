"""Messages in the browser: only its browser reads them, they hold no arguments, and what is gone is forgotten."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import ECKey

from accounts import outbound
from accounts.models import User
from policies import services
from policies.models import NoticeDelivery, PushKey, PushSubscription
from policies.notices.push_encryption import decoded, encoded
from policies.services.push_keys import PushKeyUnusable, push_key, push_public_key
from policies.services.push_sealing import push_secrets_seal_again
from tests.integration.policies.notifying import person, request, rule
from tests.support.chats import LOCAL, Asked, Service, service
from tests.support.hostile_texts import HOSTILE
from tests.support.push import Browser
from tests.support.syslog import certificate

pytestmark = pytest.mark.django_db


@pytest.fixture
def push_service(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Run a push service on https, with a certificate that the gateway trusts during the test."""
    file, pem = certificate(tmp_path)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=pem)
    server.load_cert_chain(file)
    monkeypatch.setattr(outbound, "_context", lambda: client)
    settings.WARDGATE_PUSH_NETWORKS = LOCAL
    with service(lambda _: (201, {}), tls=server) as running:
        yield running


def subscribed(user: User, at: Service, name: str = "abc") -> Browser:
    browser = Browser.new()
    services.push_subscribe(
        user=user,
        endpoint=f"{at.url}/send/{name}",
        p256dh=browser.p256dh,
        auth=browser.auth,
        browser="Firefox",
        now=timezone.now(),
    )
    return browser


def send() -> None:
    services.outbox_spread(now=timezone.now())
    services.deliveries_send(now=timezone.now(), seconds=20)


def vapid_claims(asked: Asked) -> dict[str, Any]:
    token, _, key = asked.headers["authorization"].removeprefix("vapid t=").partition(", k=")
    assert key == push_public_key(now=timezone.now())
    point = decoded(key)
    verifier = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": encoded(point[1:33]), "y": encoded(point[33:])})
    return dict(jwt.decode(token, verifier, algorithms=["ES256"]).claims)


def test_a_browser_is_told_what_waits_and_where_and_never_the_arguments(push_service: Service) -> None:
    browser = subscribed(person("grace"), push_service)
    approval = request(now=timezone.now(), arguments={"iban": "canary-4471"})
    send()
    [asked] = push_service.asked
    assert asked.path == "/send/abc"
    assert (asked.headers["content-encoding"], asked.headers["topic"]) == ("aes128gcm", approval.code)
    assert asked.headers["urgency"] == "normal"
    assert 0 < int(asked.headers["ttl"]) <= 8 * 3600
    assert len(asked.body) <= 4096
    told = json.loads(browser.read(asked.body))
    assert approval.code in told["title"]
    assert "alice" in told["body"]
    assert (told["path"], told["tag"]) == (f"/inbox/{approval.code}/", approval.code)
    assert set(told) == {"title", "body", "path", "tag"}
    assert "canary-4471" not in json.dumps(told)
    assert approval.code.encode() not in asked.body
    claims = vapid_claims(asked)
    assert claims["aud"] == push_service.url
    assert 0 < claims["exp"] - timezone.now().timestamp() <= 86_400
    [delivery] = NoticeDelivery.objects.filter(way="web_push")
    assert delivery.state == "sent"


def test_high_risk_is_urgent(push_service: Service) -> None:
    rule(risk="high")
    subscribed(person("grace"), push_service)
    request(now=timezone.now())
    send()
    assert push_service.asked[0].headers["urgency"] == "high"


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_gone_is_forgotten(push_service: Service, status: int) -> None:
    subscribed(person("grace"), push_service)
    request(now=timezone.now())
    push_service.answer_next(status)
    send()
    assert not PushSubscription.objects.exists()
    assert NoticeDelivery.objects.get(way="web_push").state == "failed"


@pytest.mark.parametrize(("status", "state"), [(429, "waiting"), (503, "waiting"), (413, "failed"), (403, "failed")])
def test_other_refusals_are_tried_again_or_are_final(push_service: Service, status: int, state: str) -> None:
    subscribed(person("grace"), push_service)
    request(now=timezone.now())
    push_service.answer_next(status, {"Retry-After": "44"})
    send()
    delivery = NoticeDelivery.objects.get(way="web_push")
    assert (delivery.state, PushSubscription.objects.count()) == (state, 1)
    assert "/send/abc" not in delivery.error
    if state == "waiting":
        assert delivery.next_at - timezone.now() > timedelta(seconds=40)


def test_an_endpoint_inside_is_not_reached(push_service: Service, settings: Any) -> None:
    settings.WARDGATE_PUSH_NETWORKS = []
    subscribed(person("grace"), push_service)
    request(now=timezone.now())
    send()
    assert push_service.asked == []
    assert NoticeDelivery.objects.get(way="web_push").state == "waiting"


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_are_text_that_fits(push_service: Service, kind: str) -> None:
    browser = subscribed(person("grace"), push_service)
    hostile = HOSTILE[kind].replace("\x00", "")
    request(now=timezone.now(), name=hostile, client_name=hostile, why=hostile)
    send()
    [asked] = push_service.asked
    assert len(asked.body) <= 4096
    told = json.loads(browser.read(asked.body))
    assert told["path"].startswith("/inbox/APR-")
    assert told["title"].isprintable()
    assert all(line.isprintable() for line in told["body"].split("\n"))


class TestTheKey:
    def test_it_is_made_once_and_stays(self) -> None:
        now = timezone.now()
        assert push_public_key(now=now) == push_key(now=now).public()
        assert PushKey.objects.count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_many_at_once_make_one(self) -> None:
        def ask(_: int) -> str:
            try:
                return push_public_key(now=timezone.now())
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(16)))) == 1
        assert PushKey.objects.count() == 1

    def test_the_private_half_is_sealed(self) -> None:
        pem = push_key(now=timezone.now()).private_pem()
        row = PushKey.objects.get()
        assert pem[30:60] not in bytes(row.ciphertext)
        PushKey.objects.update(ciphertext=bytes(row.ciphertext)[:-1] + b"x")
        with pytest.raises(PushKeyUnusable):
            push_key(now=timezone.now())

    def test_it_moves_to_a_new_master_key_with_the_keys_of_browsers(self, push_service: Service, settings: Any) -> None:
        before = push_public_key(now=timezone.now())
        browser = subscribed(person("grace"), push_service)
        new = f"new:{base64.b64encode(bytes(range(32))).decode()}"
        settings.WARDGATE_MASTER_KEYS = f"{new},{settings.WARDGATE_MASTER_KEYS}"
        call_command("seal_again")
        assert (PushKey.objects.get().key_id, PushSubscription.objects.get().key_id) == ("new", "new")
        assert push_secrets_seal_again() == (0, 0)
        # Without the old key everything goes on.
        settings.WARDGATE_MASTER_KEYS = new
        assert push_key(now=timezone.now()).public() == before
        request(now=timezone.now())
        send()
        assert browser.read(push_service.asked[0].body)
        settings.WARDGATE_MASTER_KEYS = f"other:{base64.b64encode(bytes(range(1, 33))).decode()}"
        assert push_secrets_seal_again() == (0, 2)

    def test_a_browser_whose_keys_do_not_open_is_counted_once(self, push_service: Service) -> None:
        subscribed(person("grace"), push_service)
        PushSubscription.objects.update(ciphertext=b"changed")
        with pytest.raises(CommandError, match=r"do not open: 1 keys of web push\."):
            call_command("seal_again")


class TestTheBrowsersPage:
    PLACE = "/admin/account/notifications/browser/"

    def body(self, **values: Any) -> dict[str, Any]:
        browser = Browser.new()
        return {"endpoint": "https://push.example/x", "p256dh": browser.p256dh, "auth": browser.auth, **values}

    def test_it_subscribes_and_gives_up(self, client: Any) -> None:
        grace = person("grace")
        client.force_login(grace)
        assert client.get(self.PLACE).json() == {"key": push_public_key(now=timezone.now())}
        body = self.body()
        assert client.post(self.PLACE, body, "application/json").status_code == 204
        row = PushSubscription.objects.get()
        assert (row.user, row.endpoint) == (grace, "https://push.example/x")
        assert body["auth"].encode() not in bytes(row.ciphertext)
        assert client.delete(self.PLACE, {"endpoint": row.endpoint}, "application/json").status_code == 204
        assert not PushSubscription.objects.exists()

    def test_nobody_gives_up_the_browser_of_somebody_else(self, client: Any) -> None:
        client.force_login(person("grace"))
        client.post(self.PLACE, self.body(), "application/json")
        client.force_login(person("heidi"))
        client.delete(self.PLACE, {"endpoint": "https://push.example/x"}, "application/json")
        assert PushSubscription.objects.get().user.username == "grace"

    @pytest.mark.parametrize(
        "values",
        [
            {"endpoint": "http://push.example/x"},
            {"endpoint": "javascript:alert(1)"},
            {"endpoint": "https://user:secret@push.example/x"},
            {"endpoint": "https://push.example/" + "x" * 1_000},
            {"endpoint": ""},
            {"endpoint": 7},
            {"p256dh": "AAAA"},
            {"auth": ""},
            {"more": "x"},
        ],
    )
    def test_what_no_browser_says_is_refused(self, client: Any, values: Any) -> None:
        client.force_login(person("grace"))
        answer = client.post(self.PLACE, self.body(**values), "application/json")
        assert answer.status_code == 400
        assert answer.json()["detail"]
        assert not PushSubscription.objects.exists()

    def test_a_form_of_another_site_subscribes_nobody(self, client: Any) -> None:
        strict = type(client)(enforce_csrf_checks=True)
        strict.force_login(person("grace"))
        assert strict.post(self.PLACE, self.body(), "application/json").status_code == 403
        assert not PushSubscription.objects.exists()

    def test_the_page_has_what_its_script_needs_and_nothing_inline(self, client: Any) -> None:
        client.force_login(person("grace"))
        page = client.get("/admin/account/notifications/").content.decode()
        assert 'data-worker="/static/console/push/worker.js"' in page
        assert 'data-scope="/static/console/push/"' in page
        assert f'data-browser="{self.PLACE}"' in page
        assert 'src="/static/console/push.js"' in page
