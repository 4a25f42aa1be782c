"""Links to Slack, where administrators and programs look: one's own, and with the permission those of everybody."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from policies.models import SlackIdentity
from tests.integration.policies.notifying import person

from .slack import linked

pytestmark = pytest.mark.django_db


@pytest.fixture
def grace() -> User:
    return person("grace")


def api(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def seen_by(user: User) -> set[str]:
    return {row["slack_user"] for row in api(user).get("/api/v1/slack-links/").json()["results"]}


def test_people_see_their_own_links_and_auditors_those_of_everybody(grace: User) -> None:
    linked(grace)
    linked(person("heidi"), "U0HEIDI")
    assert seen_by(grace) == {"U0GRACE"}
    assert seen_by(person("otto", "auditor")) == {"U0GRACE", "U0HEIDI"}


def test_one_ends_ones_own_and_an_owner_that_of_anybody(grace: User) -> None:
    own, other = linked(grace), linked(person("heidi"), "U0HEIDI")
    assert api(grace).delete(f"/api/v1/slack-links/{other.pk}/").status_code == 404
    assert api(person("otto", "auditor")).delete(f"/api/v1/slack-links/{other.pk}/").status_code == 403
    assert SlackIdentity.objects.filter(ended_at=None).count() == 2
    assert api(grace).delete(f"/api/v1/slack-links/{own.pk}/").status_code == 204
    assert api(person("olga", "owner")).delete(f"/api/v1/slack-links/{other.pk}/").status_code == 204
    assert not SlackIdentity.objects.filter(ended_at=None).exists()


def test_a_link_is_neither_made_nor_changed_over_rest(grace: User) -> None:
    row = linked(grace)
    owner = api(person("olga", "owner"))
    assert owner.post("/api/v1/slack-links/", {"user": grace.pk}, format="json").status_code == 405
    assert owner.patch(f"/api/v1/slack-links/{row.pk}/", {"user": 1}, format="json").status_code == 405


def test_an_owner_ends_links_in_the_console_and_an_auditor_only_looks(client: Any, grace: User) -> None:
    row = linked(grace)
    place, chosen = "/admin/policies/slackidentity/", {"action": "end_selected", "_selected_action": str(row.pk)}
    client.force_login(person("otto", "auditor"))
    assert "U0GRACE" in client.get(place).content.decode()
    client.post(place, chosen)
    assert SlackIdentity.objects.filter(ended_at=None).exists()
    client.force_login(person("olga", "owner"))
    client.post(place, chosen)
    assert not SlackIdentity.objects.filter(ended_at=None).exists()
