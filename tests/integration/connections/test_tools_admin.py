"""The catalogue of tools in the console: what a reviewer sees, and that only what was seen is accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from connections import catalogue
from connections.models import Tool
from connections.services import connection_save

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
READ = {"name": "get_order", "description": "Read an order.", "inputSchema": {"type": "object"}}
HIDDEN = {"name": "send_mail", "description": "Send.\u200b <script>alert(1)</script>", "inputSchema": {}}


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=NOW)


@pytest.fixture
def tools(connection):
    """`get_order` has changed since it was accepted, `send_mail` hides something, `put_order` is new."""
    see(connection, READ, HIDDEN, later=0)
    see(connection, {**READ, "description": "Read any order."}, {**READ, "name": "put_order"})
    return {row.name: row for row in Tool.objects.all()}


@pytest.fixture
def person(client, django_user_model):
    def made(*permissions):
        user = django_user_model.objects.create_user("somebody", is_staff=True)
        for name in permissions:
            user.user_permissions.add(Permission.objects.get(codename=name, content_type__app_label="connections"))
        client.force_login(user)
        return client

    return made


def see(connection, *definitions, later=1):
    now = NOW + timedelta(hours=later)
    catalogue.tools_seen(connection_id=connection.pk, seen=definitions, is_later_page=False, now=now)


def url(page, *args):
    return reverse(f"admin:connections_tool_{page}", args=args)


def states():
    return {tool.name: tool.state for tool in Tool.objects.all()}


def decide(client, do, *chosen, button="chosen"):
    seen = {f"seen-{tool.pk}": tool.seen_digest for tool in chosen}
    return client.post(url("review"), {do: button, "chosen": [tool.pk for tool in chosen], **seen}, follow=True)


def said(answer):
    return [str(message) for message in answer.context["messages"]]


def test_the_start_page_counts_the_tools_that_wait(admin_client, person, tools):
    assert admin_client.get(reverse("admin:index")).context["tools_to_review"] == 3
    assert "tools_to_review" not in person("view_connection").get(reverse("admin:index")).context


def test_tools_of_a_connection_that_pins_none_wait_for_nobody(admin_client, connection, tools):
    connection.pins_tools = False
    connection.save()
    assert admin_client.get(reverse("admin:index")).context["tools_to_review"] == 0


def test_the_list_says_what_there_is_to_look_at(admin_client, tools):
    page = admin_client.get(url("changelist"), {"flagged": "yes"}).content.decode()
    assert "invisible characters" in page
    assert "put_order" not in page
    assert "Review 3 that wait" in page


def test_a_list_costs_the_same_for_many_tools(admin_client, connection, django_assert_max_num_queries):
    see(connection, *({**READ, "name": f"tool_{number}"} for number in range(30)), later=0)
    with django_assert_max_num_queries(8):
        admin_client.get(url("changelist"))


def test_a_reviewer_sees_what_changed_and_what_cannot_be_seen(admin_client, tools):
    page = admin_client.get(url("review")).content.decode()
    assert "<del>&quot;Read an order.&quot;</del>" in page
    assert "<ins>&quot;Read any order.&quot;</ins>" in page
    assert "U+200B" in page
    assert "<script>alert(1)" not in page
    page = admin_client.get(url("change", tools["send_mail"].pk)).content.decode()
    assert "U+200B" in page
    assert "<script>alert(1)" not in page


def test_the_page_of_a_connection_leads_to_its_tools(admin_client, person, connection, tools):
    path = reverse("admin:connections_connection_change", args=[connection.pk])
    page = admin_client.get(path).content.decode()
    assert "3 tools" in page
    assert "Review 3 that wait" in page
    assert url("forget", connection.pk) in page
    page = person("view_connection", "view_tool").get(path).content.decode()
    assert "3 tools" in page
    assert "Review 3" not in page
    assert url("forget", connection.pk) not in page


def test_a_review_can_be_of_one_connection(admin_client, connection, tools):
    other = connection_save(slug="wiki", name="Wiki", upstream_url="https://wiki.example.com/mcp", now=NOW)
    see(other, {**HIDDEN, "name": "other"}, later=0)
    page = admin_client.get(url("review"), {"connection": str(other.pk)})
    assert [looked.tool.name for looked in page.context["looked_at"]] == ["other"]


def test_those_that_were_looked_at_are_accepted_at_once(admin_client, admin_user, tools):
    answer = decide(admin_client, "accept", tools["get_order"], tools["put_order"])
    assert said(answer) == ["2 tools accepted."]
    assert states() == {"get_order": "accepted", "put_order": "accepted", "send_mail": "quarantined"}
    assert Tool.objects.get(name="get_order").reviewed_by == admin_user


def test_what_has_changed_since_it_was_looked_at_is_not_accepted(admin_client, connection, tools):
    see(connection, {**READ, "description": "Read every order, and the key."})
    answer = decide(admin_client, "accept", tools["get_order"], tools["put_order"])
    assert said(answer) == [
        "The definition has changed while you were looking at it. Review it again.",
        "1 tool accepted.",
    ]
    assert states()["get_order"] == "quarantined"


def test_one_is_rejected_by_its_own_button(admin_client, tools):
    answer = decide(admin_client, "reject", tools["get_order"], button=str(tools["send_mail"].pk))
    assert said(answer) == ["1 tool rejected."]
    assert states() == {"get_order": "quarantined", "put_order": "quarantined", "send_mail": "rejected"}


@pytest.mark.parametrize("chosen", ["", "nonsense", "00000000-0000-4000-8000-000000000000"])
def test_what_is_no_tool_is_neither_accepted_nor_an_error(admin_client, tools, chosen):
    assert admin_client.post(url("review"), {"accept": chosen}).status_code == 302
    assert set(states().values()) == {"quarantined"}


def test_an_action_of_the_list_leads_to_the_review_and_accepts_nothing(admin_client, tools):
    selected = {"action": "review_selected", "_selected_action": [tools["send_mail"].pk]}
    page = admin_client.post(url("changelist"), selected)
    assert [looked.tool.name for looked in page.context["looked_at"]] == ["send_mail"]
    assert set(states().values()) == {"quarantined"}
    admin_client.post(url("changelist"), {**selected, "action": "reject_selected"})
    assert states()["send_mail"] == "rejected"


def test_labels_and_taints_are_one_a_line_and_refused_at_their_field(admin_client, tools):
    path = url("change", tools["get_order"].pk)
    page = admin_client.post(path, {"labels": "orders\nNot A Label", "taints": ""})
    assert "is no label" in page.context["adminform"].form.errors["labels"][0]
    assert admin_client.post(path, {"labels": "orders\nread", "taints": "sensitive"}).status_code == 302
    tool = Tool.objects.get(name="get_order")
    assert (tool.labels, tool.taints, tool.state) == (["orders", "read"], ["sensitive"], "quarantined")


def test_tools_are_neither_added_nor_deleted_one_by_one(admin_client, tools):
    tool = tools["get_order"]
    assert admin_client.get(url("add")).status_code == 403
    assert admin_client.post(url("delete", tool.pk), {"post": "yes"}).status_code == 403


def test_a_catalogue_is_forgotten_after_a_question_and_a_proof(admin_client, connection, tools, settings):
    path = url("forget", connection.pk)
    assert "Forget every tool of Orders?" in admin_client.get(path).content.decode()
    seconds, settings.WARDGATE_CONSOLE_PROOF_SECONDS = settings.WARDGATE_CONSOLE_PROOF_SECONDS, -1
    assert admin_client.post(path).url.startswith(reverse("console_proof"))
    assert Tool.objects.count() == 3
    settings.WARDGATE_CONSOLE_PROOF_SECONDS = seconds
    assert said(admin_client.post(path, follow=True)) == ["3 tools of Orders forgotten."]
    assert not Tool.objects.exists()


def test_whoever_may_only_look_reviews_nothing(person, connection, tools):
    client = person("view_tool", "view_connection")
    tool = tools["get_order"]
    assert client.get(url("changelist")).status_code == 200
    assert b"Accept what it says now" not in client.get(url("change", tool.pk)).content
    assert client.get(url("review")).status_code == 403
    assert client.post(url("review"), {"accept": str(tool.pk)}).status_code == 403
    assert client.post(url("forget", connection.pk)).status_code == 403
    assert states()["get_order"] == "quarantined"


def test_whoever_may_review_forgets_nothing(person, connection, tools):
    client = person("view_tool", "change_tool", "view_connection")
    assert client.get(url("review")).status_code == 200
    assert client.get(url("forget", connection.pk)).status_code == 403
