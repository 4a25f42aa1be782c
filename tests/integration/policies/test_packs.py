"""Ready-made packs: installed by service, REST and console, and the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import User
from connections.services import connection_save
from policies import services
from policies.engine.guardrail_packs import PACKS
from policies.models import Guardrail, PolicyVersion
from policies.services.packs import NoSuchPack, pack_apply, pack_remove

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=NOW)


def test_a_pack_is_installed_as_guardrails_that_are_only_observed():
    changes = pack_apply(pack="destructive-sql", now=NOW)
    assert [change.kind for change in changes] == ["added", "added"]
    rows = Guardrail.objects.filter(pack="destructive-sql")
    assert [(row.name, row.effect, row.is_observed) for row in rows] == [
        ("SQL that changes data", "hold", True),
        ("SQL that destroys", "deny", True),
    ]


@pytest.mark.parametrize("pack", PACKS)
def test_every_pack_can_be_installed_twice_and_the_second_time_changes_nothing(pack):
    pack_apply(pack=pack, is_observed=False, now=NOW)
    versions = PolicyVersion.objects.count()
    assert {change.kind for change in pack_apply(pack=pack, is_observed=False, now=NOW)} == {"unchanged"}
    assert PolicyVersion.objects.count() == versions


def test_a_pack_is_one_version_of_policy_with_its_author():
    author = User.objects.create_user("ada")
    pack_apply(pack="shell", by=services.Publisher(author, PolicyVersion.Source.API, "Pack shell"), now=NOW)
    version = PolicyVersion.objects.get()
    assert (version.author, version.comment) == (author, "Pack shell")


def test_a_dry_run_says_what_would_change_and_changes_nothing():
    assert {change.kind for change in pack_apply(pack="shell", is_dry_run=True, now=NOW)} == {"added"}
    assert not Guardrail.objects.exists()
    assert not PolicyVersion.objects.exists()


def test_bringing_an_observed_pack_into_force_changes_that_alone():
    pack_apply(pack="shell", now=NOW)
    changes = pack_apply(pack="shell", is_observed=False, now=NOW)
    assert {(change.kind, change.members) for change in changes} == {("changed", ("is_observed",))}


def test_what_was_changed_by_hand_is_brought_back_and_told():
    pack_apply(pack="shell", now=NOW)
    row = Guardrail.objects.get(name="Commands that wreck")
    services.guardrail_save(guardrail_id=row.pk, name=row.name, effect="hold", is_active=False, now=NOW)
    changes = {change.name: change.members for change in pack_apply(pack="shell", now=NOW)}
    assert {"effect", "names", "condition", "reason", "is_active"} <= set(changes["Commands that wreck"])
    assert changes["Commands that gain rights or leave"] == ()
    assert Guardrail.objects.get(pk=row.pk).effect == "deny"


def test_each_place_has_its_own_guardrails(connection):
    pack_apply(pack="kubernetes", now=NOW)
    pack_apply(pack="kubernetes", connection=connection, now=NOW)
    pack_apply(pack="kubernetes", labels=["prod"], now=NOW)
    assert Guardrail.objects.filter(pack="kubernetes").count() == 3 * len(PACKS["kubernetes"].rules)
    assert Guardrail.objects.filter(name="Commands in pods (orders)", connection=connection).exists()
    assert pack_remove(pack="kubernetes", connection=connection, now=NOW) == len(PACKS["kubernetes"].rules)
    assert pack_remove(pack="kubernetes", labels=["prod"], now=NOW) == len(PACKS["kubernetes"].rules)
    assert Guardrail.objects.count() == len(PACKS["kubernetes"].rules)


def test_parameters_are_put_into_the_conditions():
    pack_apply(pack="after-hours", parameters={"zone": "Asia/Tokyo", "ends": 20}, now=NOW)
    condition = Guardrail.objects.get().condition
    assert '"Asia/Tokyo"' in condition
    assert ">= 20" in condition


@pytest.mark.parametrize(
    ("pack", "parameters"),
    [
        ("after-hours", {"zone": "Europe/Atlantis"}),
        ("after-hours", {"zone": '") || true || ("'}),
        ("after-hours", {"begins": "8 || true"}),
        ("after-hours", {"begins": -1}),
        ("after-hours", {"begins": True}),
        ("budgets", {"argument": 'id") == 1 || ("'}),
        ("shell", {"zone": "Europe/Berlin"}),
    ],
)
def test_a_parameter_that_is_wrong_is_refused(pack, parameters):
    with pytest.raises(ValidationError) as refused:
        pack_apply(pack=pack, parameters=parameters, now=NOW)
    assert list(refused.value.error_dict) == ["parameters"]
    assert not Guardrail.objects.exists()


def test_a_guardrail_of_the_same_name_that_is_not_of_the_pack_stays():
    services.guardrail_save(name="Commands that wreck", effect="allow", now=NOW)
    with pytest.raises(ValidationError, match="Rename it first"):
        pack_apply(pack="shell", now=NOW)
    assert Guardrail.objects.get().effect == "allow"


def test_there_is_no_pack_of_another_name():
    with pytest.raises(NoSuchPack):
        pack_apply(pack="everything", now=NOW)


@pytest.fixture
def admin_client():
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


def test_packs_are_listed_installed_and_removed_over_rest(admin_client):
    listed = admin_client.get("/api/v1/guardrail-packs/").json()
    assert [pack["id"] for pack in listed] == list(PACKS)
    url = "/api/v1/guardrail-packs/budgets/"
    body = {"is_observed": False, "parameters": {"calls": "10"}, "is_dry_run": True}
    looked = admin_client.post(f"{url}apply/", body, content_type="application/json")
    assert {change["kind"] for change in looked.json()} == {"added"}
    assert admin_client.get(url).json()["installed"] == 0
    done = admin_client.post(f"{url}apply/", {**body, "is_dry_run": False}, content_type="application/json")
    assert done.status_code == 200
    assert admin_client.get(url).json()["installed"] == 4
    assert Guardrail.objects.get(name="Too many calls").condition == "session.calls >= 10"
    assert admin_client.post(f"{url}remove/", {}, content_type="application/json").json() == {"removed": 4}
    assert (
        admin_client.post("/api/v1/guardrail-packs/no/apply/", {}, content_type="application/json").status_code == 404
    )
    refused = admin_client.post(f"{url}apply/", {"packs": 1}, content_type="application/json")
    assert refused.status_code == 400


def test_somebody_who_may_only_look_installs_nothing():
    client = Client()
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_guardrail"))
    client.force_login(user)
    assert client.get("/api/v1/guardrail-packs/shell/").status_code == 200
    assert client.post("/api/v1/guardrail-packs/shell/apply/", {}, content_type="application/json").status_code == 403
    assert client.get("/admin/policies/guardrail/packs/").status_code == 200
    assert client.post("/admin/policies/guardrail/packs/", {"pack": "shell", "do": "install"}).status_code == 403
    assert not Guardrail.objects.exists()


def test_the_page_shows_what_would_change_installs_and_takes_away(admin_client):
    url = "/admin/policies/guardrail/packs/"
    page = admin_client.get(url).content.decode()
    assert all(pack.title.split(":")[0] in page for pack in PACKS.values())
    looked = admin_client.post(url, {"pack": "after-hours", "do": "look", "parameter_zone": "Asia/Tokyo"})
    assert "Changes after hours: added" in looked.content.decode()
    assert not Guardrail.objects.exists()
    refused = admin_client.post(url, {"pack": "after-hours", "do": "install", "parameter_zone": "Mars"})
    assert "IANA" in refused.content.decode()
    admin_client.post(url, {"pack": "after-hours", "do": "install", "is_enforced": "on"})
    assert not Guardrail.objects.get().is_observed
    admin_client.post(url, {"pack": "after-hours", "do": "remove"})
    assert not Guardrail.objects.exists()
    assert admin_client.get("/admin/policies/guardrail/").status_code == 200
