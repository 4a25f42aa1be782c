"""Locks, revocations and transmitters in the console and over REST: who may do what, and that nothing is edited."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from joserfc.jwk import ECKey

from accounts import services
from accounts.models import EventTransmitter, Lock, Principal, RevokedToken
from connections.services import connection_save

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"
DIGEST = hashlib.sha256(b"token").hexdigest()
ROOT = "/api/v1/"
PUBLIC = {"kid": "one", **ECKey.generate_key("P-256").as_dict(private=False)}

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return services.provider_save(name="Main", issuer=ISSUER, audiences=["gateway"], now=NOW)


@pytest.fixture
def ada():
    return Principal.objects.create(issuer=ISSUER, subject="<b>ada")


@pytest.fixture
def lock(ada):
    return services.lock_place(kind="principal", principal=ada, reason="why", source="console", now=NOW)


@pytest.fixture
def person(client, django_user_model):
    """Log a person in who has the permissions that are named."""

    def made(*permissions, is_staff=False):
        user = django_user_model.objects.create_user("somebody", is_staff=is_staff)
        for name in permissions:
            user.user_permissions.add(Permission.objects.get(codename=name, content_type__app_label="accounts"))
        client.force_login(user)
        return client

    return made


def send(client, method, path, body=None):
    answer = getattr(client, method)(
        ROOT + path, **({} if body is None else {"data": json.dumps(body), "content_type": "application/json"})
    )
    return answer.status_code, answer.json() if answer.content else None


def test_a_lock_is_placed_read_and_lifted_over_rest(admin_client, admin_user, ada):
    status, placed = send(
        admin_client, "post", "locks/", {"kind": "principal", "principal": str(ada.pk), "reason": "x"}
    )
    assert (status, placed["source"], placed["actor"]) == (201, "api", admin_user.pk)
    assert send(admin_client, "get", f"locks/{placed['id']}/") == (200, placed)
    status, lifted = send(admin_client, "post", f"locks/{placed['id']}/lift/", {})
    assert (status, lifted["lifted_by"]) == (200, admin_user.pk)
    assert send(admin_client, "post", f"locks/{placed['id']}/lift/", {}) == (200, lifted)


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_lock_is_neither_edited_nor_deleted_over_rest(admin_client, lock, method):
    assert send(admin_client, method, f"locks/{lock.pk}/", {"reason": "y"})[0] == 405
    assert Lock.objects.get().reason == "why"


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ((), {"list": 403, "create": 403, "lift": 403}),
        (("view_lock",), {"list": 200, "create": 403, "lift": 403}),
        (("view_lock", "add_lock"), {"list": 200, "create": 201, "lift": 403}),
        (("view_lock", "change_lock"), {"list": 200, "create": 403, "lift": 200}),
        # What one may not see does not exist.
        (("change_lock",), {"list": 403, "create": 403, "lift": 404}),
    ],
)
def test_each_deed_needs_its_permission(person, lock, permissions, expected):
    client = person(*permissions)
    body = {"kind": "agent", "agent": "coder", "reason": "x"}
    assert {
        "list": send(client, "get", "locks/")[0],
        "create": send(client, "post", "locks/", body)[0],
        "lift": send(client, "post", f"locks/{lock.pk}/lift/", {})[0],
    } == expected


@pytest.mark.parametrize(
    "member", [{"source": "scim"}, {"actor": 1}, {"lifted_at": "2026-01-01T00:00:00Z"}, {"created_at": None}, {"x": 1}]
)
def test_a_body_cannot_write_the_evidence(admin_client, member):
    status, answer = send(admin_client, "post", "locks/", {"kind": "agent", "agent": "a", "reason": "x", **member})
    assert (status, list(answer["fields"])) == (400, list(member))
    assert not Lock.objects.exists()


def test_refusals_of_the_service_stand_at_their_fields(admin_client):
    status, answer = send(admin_client, "post", "locks/", {"kind": "agent", "token": DIGEST, "reason": "x"})
    assert status == 400
    assert answer["fields"]["agent"][0]["code"] == "required"
    assert answer["fields"]["token"][0]["code"] == "other_target"


def test_a_token_is_revoked_by_its_digest_or_by_its_id_and_provider(admin_client, provider):
    status, row = send(admin_client, "post", "revoked-tokens/", {"sha256": DIGEST.upper(), "reason": "leaked"})
    assert (status, row["kind"], row["value"], row["source"]) == (201, "digest", DIGEST, "api")
    body = {"provider": str(provider.pk), "jti": "jti-1", "reason": "leaked"}
    status, row = send(admin_client, "post", "revoked-tokens/", body)
    assert (status, row["kind"], row["issuer"], row["value"]) == (201, "token_id", ISSUER, "jti-1")
    assert len(send(admin_client, "get", "revoked-tokens/")[1]["results"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sha256": "short"},
        {"jti": "jti-1"},
        {"sha256": DIGEST, "jti": "jti-1"},
        {"token": "eyJ"},
    ],
)
def test_a_revocation_names_exactly_one_token(admin_client, body):
    assert send(admin_client, "post", "revoked-tokens/", {**body, "reason": "x"})[0] == 400
    assert not RevokedToken.objects.exists()


def test_revoking_needs_its_permission_and_is_never_taken_back(person, admin_client):
    row = services.token_revoke(
        kind="digest", issuer="", value=DIGEST, source="api", reason="", expires_at=NOW, now=NOW
    )
    assert send(admin_client, "delete", f"revoked-tokens/{row.pk}/")[0] == 405
    client = person("view_revokedtoken")
    assert send(client, "get", "revoked-tokens/")[0] == 200
    assert send(client, "post", "revoked-tokens/", {"sha256": DIGEST, "reason": "x"})[0] == 403


def test_a_transmitter_is_added_changed_and_deleted_over_rest(admin_client, provider):
    body = {"provider": str(provider.pk), "name": "Hub", "issuer": "https://events.example.com", "audience": "wardgate"}
    status, added = send(admin_client, "post", "event-transmitters/", body)
    assert (status, added["algorithms"]) == (201, ["RS256", "ES256"])
    path = f"event-transmitters/{added['id']}/"
    assert send(admin_client, "patch", path, {"pinned_jwks": {"keys": [PUBLIC]}})[0] == 200
    assert send(admin_client, "delete", path) == (204, None)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"jwks_url": "http://events.example.com/keys"}, "jwks_url"),
        ({"jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"pinned_jwks": {"keys": []}}, "pinned_jwks"),
        ({"pinned_jwks": {"keys": [{**PUBLIC, "d": "AA"}]}}, "pinned_jwks"),
        ({"audience": ""}, "audience"),
        ({"issuer": "https://taken.example.com"}, "issuer"),
    ],
)
def test_a_transmitter_whose_keys_nobody_should_trust_is_refused(admin_client, provider, values, field):
    services.transmitter_save(
        provider=provider, name="Other", issuer="https://taken.example.com", audience="wardgate", now=NOW
    )
    body = {"provider": str(provider.pk), "name": "Hub", "issuer": "https://events.example.com", "audience": "wardgate"}
    status, answer = send(admin_client, "post", "event-transmitters/", {**body, **values})
    assert (status, list(answer["fields"])) == (400, [field])
    assert EventTransmitter.objects.count() == 1


def test_a_lock_is_placed_at_the_console_in_the_name_of_its_person(admin_client, admin_user, ada):
    path = reverse("admin:accounts_lock_add")
    page = admin_client.get(path, {"kind": "principal", "principal": ada.pk})
    assert page.context["adminform"].form.initial == {"kind": "principal", "principal": str(ada.pk)}
    answer = admin_client.post(path, {"kind": "principal", "principal": ada.pk, "reason": "Lost her laptop"})
    assert answer.status_code == 302
    lock = Lock.objects.get()
    assert (lock.principal, lock.source, lock.actor) == (ada, "console", admin_user)


def test_the_console_says_at_which_field_a_lock_is_wrong(admin_client):
    answer = admin_client.post(reverse("admin:accounts_lock_add"), {"kind": "agent", "reason": "x"})
    assert list(answer.context["adminform"].form.errors) == ["agent"]


def test_lifting_at_the_console_asks_first(admin_client, admin_user, lock):
    listed = reverse("admin:accounts_lock_changelist")
    chosen = {"action": "lift_selected", "_selected_action": [lock.pk]}
    asked = admin_client.post(listed, chosen)
    assert asked.status_code == 200
    assert "&lt;b&gt;ada" in asked.content.decode()
    assert services.is_in_force(Lock.objects.get(), datetime.now(UTC))
    admin_client.post(listed, {**chosen, "confirmed": "yes"})
    assert Lock.objects.get().lifted_by == admin_user


def test_the_page_of_a_lock_leads_to_lifting_it(admin_client, lock):
    page = admin_client.get(reverse("admin:accounts_lock_change", args=[lock.pk]))
    path = reverse("admin:accounts_lock_lift_one", args=[lock.pk])
    assert path in page.content.decode()
    asked = admin_client.get(path)
    assert "Lift this lock?" in asked.content.decode()
    assert Lock.objects.get().lifted_at is None


def test_nobody_edits_or_deletes_a_lock_at_the_console(admin_client, lock):
    assert admin_client.post(reverse("admin:accounts_lock_change", args=[lock.pk]), {"reason": "y"}).status_code == 403
    assert admin_client.post(reverse("admin:accounts_lock_delete", args=[lock.pk]), {"post": "yes"}).status_code == 403
    assert Lock.objects.get().reason == "why"


def test_who_may_only_look_is_offered_no_lifting(person, lock):
    client = person("view_lock", is_staff=True)
    client.post(
        reverse("admin:accounts_lock_changelist"),
        {"action": "lift_selected", "_selected_action": [lock.pk], "confirmed": "yes"},
    )
    assert client.get(reverse("admin:accounts_lock_lift_one", args=[lock.pk])).status_code in {302, 403}
    assert Lock.objects.get().lifted_at is None


@pytest.mark.parametrize(("state", "count"), [("in_force", 1), ("over", 2)])
def test_the_list_tells_what_is_in_force_from_what_is_over(admin_client, ada, state, count):
    now = datetime.now(UTC)
    services.lock_place(kind="agent", agent="one", reason="x", source="console", now=now)
    ended = services.lock_place(
        kind="agent",
        agent="two",
        reason="x",
        source="console",
        now=now - timedelta(hours=2),
        ends_at=now - timedelta(hours=1),
    )
    lifted = services.lock_place(kind="agent", agent="three", reason="x", source="console", now=now)
    services.lock_lift(lock_id=lifted.pk, now=now)
    page = admin_client.get(reverse("admin:accounts_lock_changelist"), {"state": state})
    assert page.context["cl"].result_count == count
    assert (ended in page.context["cl"].result_list) == (state == "over")


def targets(provider, ada):
    group = services.group_save(provider=provider, name="sre", now=NOW)
    connection = connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com", now=NOW)
    return {"principal": ada, "group": group, "provider": provider, "connection": connection}


@pytest.mark.parametrize("kind", ["principal", "group", "provider", "connection"])
def test_the_page_of_a_target_leads_to_a_lock_of_it(admin_client, provider, ada, kind):
    target = targets(provider, ada)[kind]
    model = f"{target._meta.app_label}_{target._meta.model_name}"
    leads = reverse(f"admin:{model}_lock_this", args=[target.pk])
    assert leads in admin_client.get(reverse(f"admin:{model}_change", args=[target.pk])).content.decode()
    form = admin_client.get(leads, follow=True).context["adminform"].form
    assert form.initial == {"kind": kind, kind: str(target.pk)}
    assert not Lock.objects.exists()


def test_who_may_not_lock_is_offered_no_button(person, ada):
    client = person("view_principal", is_staff=True)
    page = client.get(reverse("admin:accounts_principal_change", args=[ada.pk]))
    assert page.status_code == 200
    assert "lock-this" not in page.content.decode()
