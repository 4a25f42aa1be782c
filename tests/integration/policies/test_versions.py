"""Whole documents of policy: versions, drafts, roll-back, tests that must pass."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction

from accounts.models import Group, IdentityProvider
from connections.models import Connection
from policies import documents, services
from policies.documents import DocumentRefused
from policies.models import AccessGrant, Guardrail, PolicyState, PolicyTest, PolicyVersion
from policies.reading import document_now, rehearsal_now
from policies.rehearsal import read_case

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
GIVEN = {
    "identity": {"issuer": "https://login.example.com", "subject": "ada", "groups": ["ops"]},
    "connection": "orders",
    "name": "delete_order",
}


@pytest.fixture
def connection():
    return Connection.objects.create(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp")


@pytest.fixture
def group():
    provider = IdentityProvider.objects.create(name="Login", issuer="https://login.example.com")
    return Group.objects.create(provider=provider, name="ops")


def filled(connection, group):
    services.grant_save(connection=connection, group=group, tools=["*"], now=NOW)
    services.guardrail_save(name="no deletes", effect="deny", names=["delete_*"], groups=[group], now=NOW)
    services.masking_pattern_save(name="email", pattern=r"[a-z]+@[a-z.]+", now=NOW)


def test_every_change_is_kept_as_a_version_with_its_author(connection, group, django_user_model):
    ada = django_user_model.objects.create_user("ada")
    by = services.Publisher(ada, PolicyVersion.Source.CONSOLE, "Only reading")
    services.grant_save(connection=connection, group=group, tools=["get_*"], by=by, now=NOW)
    version = PolicyVersion.objects.get()
    assert (version.author_name, version.comment) == ("ada", "Only reading")
    assert version.number == PolicyState.objects.get().version
    assert version.document["grants"][0]["tools"] == ["get_*"]
    assert version.digest == documents.digest(version.document)


def test_a_change_that_changes_nothing_makes_no_version(connection, group):
    for _ in range(2):
        services.grant_save(connection=connection, group=group, tools=["get_*"], now=NOW)
    assert PolicyVersion.objects.count() == 1


@pytest.mark.parametrize(
    "statement", ["UPDATE policies_policyversion SET comment = 'x'", "DELETE FROM policies_policyversion"]
)
def test_a_version_is_never_changed_or_deleted(connection, group, statement):
    filled(connection, group)
    from django.db import connection as database

    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic(), database.cursor() as cursor:
        cursor.execute(statement)


def test_a_document_read_back_changes_nothing(connection, group):
    filled(connection, group)
    text = documents.write(document_now())
    assert services.document_apply(document=documents.read(text), by=services.Publisher(), now=NOW) == []


def test_a_document_is_applied_whole(connection, group):
    filled(connection, group)
    document = document_now()
    document["guardrails"] = [{"name": "hold deletes", "effect": "hold", "names": ["delete_*"]}]
    document["grants"].append(
        {"connection": "orders", "principal": {"issuer": "i", "subject": "bob"}, "tools": ["get_*"]}
    )
    changes = services.document_apply(document=document, by=services.Publisher(), now=NOW)
    assert sorted((change.section, change.kind) for change in changes) == [
        ("grants", "added"),
        ("guardrails", "added"),
        ("guardrails", "removed"),
    ]
    assert document_now() == documents.canonical(document)
    assert list(Guardrail.objects.values_list("name", flat=True)) == ["hold deletes"]


def test_a_dry_run_tells_the_changes_and_makes_none(connection, group):
    filled(connection, group)
    changes = services.document_apply(document={}, by=services.Publisher(), is_dry_run=True, now=NOW)
    assert {change.kind for change in changes} == {"removed"}
    assert AccessGrant.objects.count() == 1
    assert PolicyVersion.objects.count() == 3


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"guardrails": [{"name": "x", "effect": "deny", "condition": "args.q =="}]}, "condition"),
        ({"guardrails": [{"name": "x", "effect": "deny", "connection": "nowhere"}]}, "no connection 'nowhere'"),
        ({"guardrails": [{"name": "x", "effect": "deny", "groups": [{"provider": "P", "name": "g"}]}]}, "no group 'g'"),
        ({"grants": [{"connection": "orders", "principal": "ada", "tools": ["*"]}]}, "issuer and subject"),
        ({"grants": [{"connection": "orders", "principal": {"issuer": "i", "subject": "s"}}]}, "at least one tool"),
        ({"masking_patterns": [{"name": "x", "pattern": "(?=a)"}]}, "Look-around"),
    ],
)
def test_a_document_that_cannot_be_applied_changes_nothing_and_says_where(connection, group, entry, said):
    filled(connection, group)
    before = document_now()
    with pytest.raises(DocumentRefused, match=said):
        services.document_apply(document=entry, by=services.Publisher(), now=NOW)
    assert document_now() == before


def test_a_roll_back_is_a_new_version_that_says_what_the_old_one_said(connection, group):
    filled(connection, group)
    first = PolicyVersion.objects.order_by("number")[1]
    services.version_roll_back(number=first.number, by=services.Publisher(source="rollback"), now=NOW)
    newest = PolicyVersion.objects.first()
    assert newest.number > first.number
    assert newest.document == first.document == document_now()


def test_a_change_that_fails_a_policy_test_is_undone(connection, group):
    filled(connection, group)
    services.policy_test_save(name="ops cannot delete", given=GIVEN, expected="deny", rule="no deletes", now=NOW)
    rule = Guardrail.objects.get()
    with pytest.raises(ValidationError, match="ops cannot delete"):
        services.guardrail_delete(guardrail_id=rule.pk, now=NOW)
    assert Guardrail.objects.exists()


def test_a_policy_test_that_policy_does_not_meet_is_not_saved(connection, group):
    filled(connection, group)
    with pytest.raises(ValidationError, match="would fail"):
        services.policy_test_save(name="x", given=GIVEN, expected="allow", now=NOW)
    assert not PolicyTest.objects.exists()


def test_a_draft_is_published_as_one_version(connection, group):
    filled(connection, group)
    draft = services.draft_save(name="softer", now=NOW)
    document = {**draft.document, "guardrails": []}
    services.draft_save(draft_id=draft.pk, name="softer", document=document, now=NOW)
    count = PolicyVersion.objects.count()
    services.draft_publish(draft_id=draft.pk, by=services.Publisher(comment="softer"), now=NOW)
    assert PolicyVersion.objects.count() == count + 1
    assert not Guardrail.objects.exists()
    with pytest.raises(services.AlreadyPublished):
        services.draft_publish(draft_id=draft.pk, by=services.Publisher(), now=NOW)


def test_a_draft_does_not_undo_what_was_changed_since(connection, group):
    filled(connection, group)
    draft = services.draft_save(name="old", now=NOW)
    document = {**draft.document, "masking_patterns": []}
    services.draft_save(draft_id=draft.pk, name="old", document=document, now=NOW)
    services.guardrail_save(name="newer", effect="deny", now=NOW)
    with pytest.raises(services.DraftOutdated):
        services.draft_publish(draft_id=draft.pk, by=services.Publisher(), now=NOW)
    _, conflicts = services.draft_rebase(draft_id=draft.pk, now=NOW)
    changes = services.draft_publish(draft_id=draft.pk, by=services.Publisher(), now=NOW)
    assert conflicts == ()
    assert [(change.section, change.kind) for change in changes] == [("masking_patterns", "removed")]
    assert list(Guardrail.objects.values_list("name", flat=True)) == ["newer", "no deletes"]


def test_where_both_changed_one_entry_the_draft_stands_and_the_conflict_is_told(connection, group):
    filled(connection, group)
    draft = services.draft_save(name="softer", now=NOW)
    [rule] = draft.document["guardrails"]
    document = {**draft.document, "guardrails": [{**rule, "effect": "hold"}]}
    services.draft_save(draft_id=draft.pk, name="softer", document=document, now=NOW)
    services.guardrail_save(name="no deletes", effect="deny", names=["delete_*"], reason="ask", now=NOW)
    draft, [conflict] = services.draft_rebase(draft_id=draft.pk, now=NOW)
    assert (conflict.key, conflict.before["reason"], conflict.after["effect"]) == ("no deletes", "ask", "hold")
    assert draft.document["guardrails"][0]["effect"] == "hold"


def test_a_document_that_is_tried_out_tells_its_changes_and_its_tests_and_changes_nothing(connection, group):
    filled(connection, group)
    before = document_now()
    tests = [{"name": "ops cannot delete", "given": GIVEN, "expected": "deny", "rule": "no deletes"}]
    checked = services.document_check(document={**before, "guardrails": [], "tests": tests}, now=NOW)
    assert {(change.section, change.kind) for change in checked.changes} == {
        ("guardrails", "removed"),
        ("tests", "added"),
    }
    assert [str(outcome) for outcome in checked.failing] == [
        '"ops cannot delete" expects deny by "no deletes" and gets allow by "grant"'
    ]
    assert not checked.is_publishable
    assert services.document_check(document={**before, "tests": tests}, now=NOW).is_publishable
    assert document_now() == before


def test_a_document_that_cannot_be_applied_is_told_with_its_place_and_its_difference(connection, group):
    filled(connection, group)
    document = {"guardrails": [{"name": "x", "effect": "deny", "condition": "args.q =="}]}
    checked = services.document_check(document=document, now=NOW)
    assert (checked.problem.place, checked.is_publishable) == ("guardrails, x", False)
    assert "condition" in checked.problem.hint
    assert "x" in {change.key for change in checked.changes}


def test_a_document_is_asked_without_being_in_force(connection, group):
    filled(connection, group)
    asked = services.document_rehearsal(document={**document_now(), "guardrails": []}, now=NOW)
    case = read_case(GIVEN, now=NOW.timestamp())
    assert asked.decision(case).verdict.effect.value == "allow"
    assert rehearsal_now().decision(case).verdict.effect.value == "deny"


def test_policy_is_asked_without_a_call(connection, group):
    filled(connection, group)
    asked = rehearsal_now()
    denied = asked.decision(read_case(GIVEN, now=NOW.timestamp())).verdict
    assert (denied.effect.value, denied.rule, denied.attributes) == ("deny", "no deletes", ("caller",))
    allowed = asked.decision(read_case({**GIVEN, "name": "get_order"}, now=NOW.timestamp())).verdict
    assert allowed.effect.value == "allow"
