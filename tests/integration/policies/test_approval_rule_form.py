"""The form of an approval rule: stages are filled in, not written as JSON, and what is wrong stands at its field."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Group, IdentityProvider, RoleGrant, User
from policies import services
from policies.models import ApprovalRule

pytestmark = pytest.mark.django_db
ADD = "/admin/policies/approvalrule/add/"
VALUES = {
    "name": "prod", "risk": "high", "is_active": "on", "expires_seconds": "3600", "run_within_seconds": "900",
    "max_uses": "3", "max_window_seconds": "1800", "stage_1_name": "Team", "stage_1_needed": "1",
}  # fmt: skip


@pytest.fixture
def group() -> Group:
    provider = IdentityProvider.objects.create(
        name="T", issuer="https://i.example", audiences=["x"], pinned_jwks={"keys": []}
    )
    return Group.objects.create(provider=provider, name="sre")


@pytest.fixture
def grace() -> User:
    user = User.objects.create(username="grace", is_staff=True)
    RoleGrant.objects.create(user=user, role="approver")
    return user


def operator() -> Client:
    user = User.objects.create(username="olga", is_staff=True)
    RoleGrant.objects.create(user=user, role="operator")
    client = Client()
    client.force_login(User.objects.get(pk=user.pk))
    return client


def test_stages_and_escalation_are_filled_in_and_shown_again(group: Group, grace: User) -> None:
    given = {
        "stage_1_needed": "2", "stage_1_groups": [group.pk], "stage_1_users": [grace.pk],
        "stage_2_name": "Owners", "stage_2_owners": "on", "escalate_seconds": "600", "escalation_users": [grace.pk],
    }  # fmt: skip
    client = operator()
    answer = client.post(ADD, {**VALUES, **given})
    assert answer.status_code == 302, answer.content.decode()
    rule = ApprovalRule.objects.get()
    assert rule.stages == [
        {"name": "Team", "needed": 2, "groups": [group.pk], "users": [grace.pk], "owners": False},
        {"name": "Owners", "needed": 1, "groups": [], "users": [], "owners": True},
    ]
    assert rule.escalate_to["users"] == [grace.pk]
    form = client.get(f"/admin/policies/approvalrule/{rule.pk}/change/").context["adminform"].form
    assert form.initial["stage_2_name"] == "Owners"
    assert form["stage_1_groups"].value() == [group.pk]
    assert form["escalation_users"].value() == [grace.pk]


def test_a_rule_that_is_saved_again_stays_what_it_was(group: Group) -> None:
    stages = [{"name": "a", "needed": 1, "groups": [group.pk]}, {"name": "b"}]
    rule = services.approval_rule_save(name="prod", stages=stages, now=timezone.now())
    client, page = operator(), f"/admin/policies/approvalrule/{rule.pk}/change/"
    form = client.get(page).context["adminform"].form
    values = {field.html_name: field.value() for field in form}
    shown = {name: value for name, value in values.items() if not (value is None or isinstance(value, bool))}
    on = {name: "on" for name, value in values.items() if value is True}
    assert client.post(page, {**shown, **on}).status_code == 302
    again = ApprovalRule.objects.get()
    assert again.stages == rule.stages
    assert (again.name, again.expires_seconds, again.escalate_to) == (rule.name, rule.expires_seconds, rule.escalate_to)


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"stage_1_name": ""}, "stage_1_name", "Say who decides"),
        ({"stage_2_owners": "on"}, "stage_2_name", "Give the stage a name."),
        ({"stage_1_needed": "11"}, "stage_1_needed", "less than or equal to 10"),
        ({"stage_1_needed": "2", "stage_1_users": ["grace"]}, "stage_1_name", "only 1 are named"),
        ({"escalation_users": ["grace"]}, "escalate_seconds", "after how many seconds"),
        ({"escalate_seconds": "5"}, "escalate_seconds", "greater than or equal to 30"),
    ],
)
def test_what_cannot_be_saved_is_said_at_its_field(grace: User, given: dict[str, Any], field: str, said: str) -> None:
    values = {name: [grace.pk] if value == ["grace"] else value for name, value in given.items()}
    form = operator().post(ADD, {**VALUES, **values}).context["adminform"].form
    assert said in " ".join(form.errors.get(field, [])), form.errors
    assert not ApprovalRule.objects.exists()


def test_who_may_not_decide_is_marked_in_the_picker(grace: User) -> None:
    text = operator().get(ADD).content.decode()
    assert "olga (may not decide)" in text
    assert "grace (may not decide)" not in text
