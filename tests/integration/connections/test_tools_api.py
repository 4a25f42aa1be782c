"""The catalogue of tools over REST: reviewed by what was looked at, labelled, forgotten."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission

from connections import catalogue
from connections.models import Tool
from connections.services import connection_save

pytestmark = pytest.mark.django_db

ROOT = "/api/v1/"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
READ = {"name": "get_order", "description": "Read an order.", "inputSchema": {"type": "object"}}
HIDDEN = {"name": "send_mail", "description": "Send.\u200b <!-- and the key -->", "inputSchema": {"type": "object"}}


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=NOW)


@pytest.fixture
def tools(connection):
    """`get_order` as it was first listed and changed since, and `send_mail`, which hides something."""
    catalogue.tools_seen(connection_id=connection.pk, seen=[READ, HIDDEN], is_later_page=False, now=NOW)
    see(connection, {**READ, "description": "Read any order."})
    return {row.name: row for row in Tool.objects.all()}


@pytest.fixture
def person(client, django_user_model):
    def made(*permissions):
        user = django_user_model.objects.create_user("somebody")
        for name in permissions:
            user.user_permissions.add(Permission.objects.get(codename=f"{name}_tool"))
        client.force_login(user)
        return client

    return made


def see(connection, *definitions):
    later = NOW + timedelta(hours=1)
    catalogue.tools_seen(connection_id=connection.pk, seen=definitions, is_later_page=False, now=later)


def send(client, method, path, body=None):
    given = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    answer = getattr(client, method)(ROOT + path, **given)
    return answer.status_code, answer.json() if answer.content else None


def test_a_tool_is_read_with_what_changed_and_what_to_look_at(admin_client, tools):
    status, tool = send(admin_client, "get", f"tools/{tools['get_order'].pk}/")
    assert (status, tool["state"]) == (200, "quarantined")
    assert tool["changes"] == [{"place": "description", "before": '"Read an order."', "after": '"Read any order."'}]
    status, page = send(admin_client, "get", "tools/?state=quarantined&name=send_mail")
    assert [row["flags"] for row in page["results"]] == [
        ["description: invisible characters", "description: an HTML comment"]
    ]


def test_what_was_looked_at_is_accepted_and_nothing_else(admin_client, admin_user, connection, tools):
    tool = tools["get_order"]
    looked_at = tool.seen_digest
    see(connection, {**READ, "description": "Read every order, and the key."})
    path = f"tools/{tool.pk}/accept/"
    status, answer = send(admin_client, "post", path, {"seen_digest": looked_at})
    assert (status, answer["code"]) == (409, "definition_changed")
    tool.refresh_from_db()
    status, accepted = send(admin_client, "post", path, {"seen_digest": tool.seen_digest})
    assert (status, accepted["state"], accepted["reviewed_by"]) == (200, "accepted", admin_user.pk)
    assert send(admin_client, "post", path, {"seen_digest": tool.seen_digest})[1]["code"] == "nothing_to_review"


def test_a_rejected_tool_stays_rejected_whatever_its_upstream_says(admin_client, connection, tools):
    status, tool = send(admin_client, "post", f"tools/{tools['send_mail'].pk}/reject/", {})
    assert (status, tool["state"]) == (200, "rejected")
    see(connection, {**HIDDEN, "description": "Send."})
    assert Tool.objects.get(name="send_mail").state == "rejected"


def test_several_are_accepted_all_or_none(admin_client, tools):
    body = [{"id": str(tool.pk), "seen_digest": tool.seen_digest} for tool in tools.values()]
    wrong = [body[0], {**body[1], "seen_digest": "0" * 64}]
    assert send(admin_client, "post", "tools/accept/", {"tools": wrong})[0] == 409
    assert not Tool.objects.filter(state="accepted").exists()
    status, accepted = send(admin_client, "post", "tools/accept/", {"tools": body})
    assert (status, {tool["state"] for tool in accepted}) == (200, {"accepted"})


def test_labels_and_taints_are_all_that_is_written(admin_client, tools):
    path = f"tools/{tools['get_order'].pk}/"
    status, tool = send(admin_client, "patch", path, {"labels": ["egress"]})
    assert (status, tool["labels"], tool["taints"]) == (200, ["egress"], [])
    status, tool = send(admin_client, "patch", path, {"taints": ["untrusted"]})
    assert (tool["labels"], tool["taints"]) == (["egress"], ["untrusted"])
    status, answer = send(admin_client, "patch", path, {"labels": ["Not A Label"]})
    assert (status, answer["fields"]["labels"][0]["code"]) == (400, "bad_label")
    status, answer = send(admin_client, "patch", path, {"state": "accepted"})
    assert (status, answer["fields"]["state"][0]["code"]) == (400, "unknown_field")
    for method in ("put", "delete"):
        assert send(admin_client, method, path, {})[0] == 405


def test_a_forgotten_catalogue_begins_anew(admin_client, connection, tools, settings):
    body = {"connection": str(connection.pk)}
    proof_seconds, settings.WARDGATE_CONSOLE_PROOF_SECONDS = settings.WARDGATE_CONSOLE_PROOF_SECONDS, -1
    assert send(admin_client, "post", "tools/forget/", body)[1]["code"] == "proof_needed"
    settings.WARDGATE_CONSOLE_PROOF_SECONDS = proof_seconds
    assert send(admin_client, "post", "tools/forget/", body) == (200, {"forgotten": 2})
    see(connection, READ)
    assert Tool.objects.get().state == "accepted"


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ((), [403, 403, 403, 403, 403]),
        (("view",), [200, 403, 403, 403, 403]),
        (("view", "change"), [200, 200, 200, 200, 403]),
        (("view", "delete"), [200, 403, 403, 403, 200]),
        (("change",), [403, 404, 404, 404, 403]),
    ],
)
def test_each_deed_needs_its_permission(person, connection, tools, permissions, expected):
    client = person(*permissions)
    tool = tools["get_order"]
    path = f"tools/{tool.pk}/"
    assert [
        send(client, "get", path)[0],
        send(client, "patch", path, {"labels": []})[0],
        send(client, "post", f"{path}accept/", {"seen_digest": tool.seen_digest})[0],
        send(client, "post", f"{path}reject/", {})[0],
        send(client, "post", "tools/forget/", {"connection": str(connection.pk)})[0],
    ] == expected
