"""What is granted and not used, and grants that fit what was used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Group, IdentityProvider, Principal, RoleGrant
from connections.models import Connection, Tool
from policies import least_privilege, services
from policies.models import PolicyDraft
from policies.reading import document_now
from tests.support.recorded_calls import ISSUER, START, Recorded, Who

pytestmark = pytest.mark.django_db

NOW = START + timedelta(days=1)
ADA, BOB = Who("ada", frozenset({"ops"})), Who("bob", frozenset({"ops", "dev"}))
OPS = ("group", ISSUER, "ops")


@pytest.fixture
def orders():
    row = Connection.objects.create(slug="orders", name="Orders", labels=["prod"], upstream_url="https://o.example/mcp")
    for name in ("get_order", "list_orders", "delete_order"):
        Tool.objects.create(connection=row, name=name)
    return row


@pytest.fixture
def ops(orders):
    provider = IdentityProvider.objects.create(name="Login", issuer=ISSUER)
    group = Group.objects.create(provider=provider, name="ops")
    services.grant_save(
        connection=orders, group=group, tools=["*"], resources=["doc://*"], networks=["10.0.0.0/8"], now=START
    )
    return group


@pytest.fixture
def used(orders, ops):
    with Recorded() as record:
        record.call(ADA, orders, "get_order")
        record.call(BOB, orders, "get_order")
        record.call(BOB, orders, "doc://1", method="resources/read", params={"uri": "doc://1"})
        record.call(ADA, orders, "delete_order", verdict="deny", rule="no deletes")
    return record


def report(days=30, **values):
    return least_privilege.report(days=days, now=NOW, **values)


def test_what_a_group_used_is_what_its_members_used_and_a_denied_call_is_no_use(used):
    [line] = report().lines
    assert (line.title, line.connection, line.calls) == ("group ops", "orders", 2)
    assert (line.used, line.unused) == (("get_order",), ("delete_order", "list_orders"))
    assert line.last_used == START + timedelta(seconds=2)


def test_a_principal_has_only_what_was_granted_to_it(used, orders):
    ada = Principal.objects.get(subject="ada")
    services.grant_save(principal=ada, labels=["prod"], tools=["get_*", "list_*"], now=START)
    [line] = report(holder=("principal", ISSUER, "ada")).lines
    assert (line.used, line.unused) == (("get_order",), ("list_orders",))


def test_calls_from_before_the_time_do_not_count(used):
    [line] = least_privilege.report(days=7, now=START + timedelta(days=8)).lines
    assert (line.used, line.last_used) == ((), None)


def test_a_record_that_is_too_long_is_read_from_its_end_and_the_report_says_so(used, monkeypatch):
    monkeypatch.setattr(least_privilege, "MAX_EVENTS", 3)
    found = report()
    assert found.is_partial
    assert found.since > START


def test_a_fitted_grant_names_what_was_used_and_keeps_its_conditions(used):
    found = least_privilege.fitted(holder=OPS, days=30, now=NOW)
    [grant] = found.document["grants"]
    assert (grant["tools"], grant["resources"], grant["networks"]) == (["get_order"], ["doc://1"], ["10.0.0.0/8"])
    assert sorted(change.kind for change in found.changes) == ["added", "removed"]


def test_a_grant_of_which_nothing_was_used_is_left_out_and_those_of_others_stay(used, orders):
    eve = Principal.objects.create(issuer=ISSUER, subject="eve")
    services.grant_save(connection=orders, principal=eve, tools=["*"], now=START)
    found = least_privilege.fitted(holder=("principal", ISSUER, "eve"), days=30, now=NOW)
    assert [grant.get("group") for grant in found.document["grants"]] == [{"name": "ops", "provider": "Login"}]


def test_more_names_than_a_grant_can_hold_leave_its_globs(used, orders, monkeypatch):
    monkeypatch.setattr(least_privilege, "MAX_GLOBS", 0)
    found = least_privilege.fitted(holder=OPS, days=30, now=NOW)
    assert found.changes == []


def test_the_draft_that_fits_lets_every_recorded_call_through(used):
    draft = least_privilege.fitted_draft(holder=OPS, days=30, author=None, now=NOW)
    with Recorded(start=START + timedelta(hours=1)) as record:
        inside = Who("ada", frozenset({"ops"}), address="10.1.2.3")
        record.call(inside, Connection.objects.get(), "get_order")
    test = services.back_test_start(draft=draft, since=START + timedelta(hours=1), now=NOW)
    services.back_test_run(back_test_id=test.pk, now=NOW)
    test.refresh_from_db()
    assert (test.state, test.calls_done, test.differences_total) == ("done", 1, 0)
    before = document_now()
    services.draft_publish(draft_id=draft.pk, by=services.Publisher(), now=NOW)
    assert document_now()["grants"] != before["grants"]


@pytest.fixture
def recent(orders, ops):
    with Recorded(start=timezone.now() - timedelta(hours=1)) as record:
        record.call(ADA, orders, "get_order")


def test_rest_reports_and_makes_a_draft(admin_client, recent, ops):
    found = admin_client.get("/api/v1/least-privilege?days=7").json()
    assert [line["unused"] for line in found["lines"]] == [["delete_order", "list_orders"]]
    table = admin_client.get("/api/v1/least-privilege/csv").content.decode()
    assert "group ops,orders,3,1,1," in table
    answer = admin_client.post("/api/v1/least-privilege", {"group": str(ops.pk)}, content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert PolicyDraft.objects.get().pk.hex == answer.json()["draft"].replace("-", "")
    for body in ({}, {"group": str(ops.pk), "days": 0}, {"nobody": 1}):
        assert admin_client.post("/api/v1/least-privilege", body, content_type="application/json").status_code == 400


def test_the_page_shows_the_report_and_makes_a_draft(admin_client, recent):
    url = reverse("admin:policies_accessgrant_unused")
    page = admin_client.get(url).content.decode()
    assert "delete_order, list_orders" in page
    assert "group ops,orders" in admin_client.get(reverse("admin:policies_accessgrant_unused_csv")).content.decode()
    answer = admin_client.post(url, {"kind": "group", "issuer": ISSUER, "name": "ops"})
    assert answer.url == reverse("admin:policies_policydraft_change", args=[PolicyDraft.objects.get().pk])


def test_a_viewer_reads_the_report_and_makes_no_draft(client, django_user_model, recent, ops):
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    RoleGrant.objects.create(user=user, role="viewer")
    client.force_login(user)
    url = reverse("admin:policies_accessgrant_unused")
    assert client.get(url).status_code == 200
    assert client.post(url, {"kind": "group", "issuer": ISSUER, "name": "ops"}).status_code == 403
    assert client.get("/api/v1/least-privilege").status_code == 200
    body = {"group": str(ops.pk)}
    assert client.post("/api/v1/least-privilege", body, content_type="application/json").status_code == 403
