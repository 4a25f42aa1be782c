"""Versions, drafts, policy tests and the simulator over REST: who may do what, and what is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import Group, IdentityProvider, Principal
from accounts.services import api_token_create
from connections.models import Connection, Tool
from policies import services
from policies.models import Guardrail, PolicyDraft, PolicyTest, PolicyVersion

pytestmark = pytest.mark.django_db

ROOT = "/api/v1/"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"
IDENTITY = {"issuer": ISSUER, "subject": "ada", "groups": ["ops"]}
GIVEN = {"identity": IDENTITY, "connection": "orders", "name": "delete_order"}


@pytest.fixture
def group():
    provider = IdentityProvider.objects.create(name="Login", issuer=ISSUER)
    return Group.objects.create(provider=provider, name="ops")


@pytest.fixture
def policy(group):
    connection = Connection.objects.create(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp")
    services.grant_save(connection=connection, group=group, tools=["*"], now=NOW)
    by = services.Publisher(comment="Nobody deletes")
    return services.guardrail_save(name="no deletes", effect="deny", names=["delete_*"], reason="Ask.", by=by, now=NOW)


@pytest.fixture
def person(client, django_user_model):
    def made(*permissions):
        user = django_user_model.objects.create_user("somebody")
        for name in permissions:
            app, _, codename = name.partition(".")
            user.user_permissions.add(Permission.objects.get(codename=codename, content_type__app_label=app))
        client.force_login(user)
        return client

    return made


def send(client, method, path, body=None, **headers):
    given = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    answer = getattr(client, method)(ROOT + path, **given, **headers)
    return answer.status_code, answer.json() if answer.content else None


class TestVersions:
    def test_a_version_is_read_with_its_author_its_document_and_what_it_changed(self, admin_client, policy):
        status, page = send(admin_client, "get", "policy-versions/")
        assert status == 200
        assert [row["comment"] for row in page["results"]] == ["Nobody deletes", ""]
        assert "document" not in page["results"][0]
        status, version = send(admin_client, "get", f"policy-versions/{page['results'][0]['number']}/")
        assert status == 200
        assert version["document"]["guardrails"][0]["name"] == "no deletes"
        [change] = version["changes"]
        assert (change["section"], change["title"], change["kind"], change["before"]) == (
            "guardrails",
            "no deletes",
            "added",
            None,
        )

    @pytest.mark.parametrize("method", ["put", "patch", "delete"])
    def test_a_version_is_neither_changed_nor_deleted(self, admin_client, policy, method):
        number = PolicyVersion.objects.first().number
        assert send(admin_client, method, f"policy-versions/{number}/", {"comment": "x"})[0] == 405

    def test_a_roll_back_is_a_new_version_with_its_comment(self, admin_client, admin_user, policy):
        first = PolicyVersion.objects.last()
        status, changes = send(
            admin_client, "post", f"policy-versions/{first.number}/roll-back/", {"comment": "Too strict"}
        )
        assert (status, [(change["title"], change["kind"]) for change in changes]) == (200, [("no deletes", "removed")])
        newest = PolicyVersion.objects.first()
        assert (newest.source, newest.comment, newest.author) == ("rollback", "Too strict", admin_user)
        assert not Guardrail.objects.exists()

    def test_a_roll_back_to_what_is_no_longer_possible_says_why(self, admin_client, policy):
        first = PolicyVersion.objects.last()
        services.document_apply(document={}, by=services.Publisher(), now=NOW)
        Connection.objects.all().delete()
        status, answer = send(admin_client, "post", f"policy-versions/{first.number}/roll-back/", {})
        assert (status, answer["fields"]["document"][0]["code"]) == (400, "document_refused")
        assert "there is no connection 'orders'" in answer["fields"]["document"][0]["detail"]

    def test_a_roll_back_takes_its_permission(self, person, policy):
        client = person("policies.view_policyversion", "policies.change_guardrail")
        number = PolicyVersion.objects.last().number
        assert send(client, "post", f"policy-versions/{number}/roll-back/", {})[0] == 403
        assert Guardrail.objects.exists()

    def test_a_roll_back_asks_for_a_proof(self, admin_client, policy, settings):
        settings.WARDGATE_CONSOLE_PROOF_SECONDS = -1
        number = PolicyVersion.objects.last().number
        status, answer = send(admin_client, "post", f"policy-versions/{number}/roll-back/", {})
        assert (status, answer["code"]) == (403, "proof_needed")
        assert Guardrail.objects.exists()


class TestDrafts:
    def test_a_draft_begins_as_policy_is_and_is_written_as_text(self, admin_client, policy):
        status, draft = send(admin_client, "post", "policy-drafts/", {"name": "softer"})
        assert (status, draft["document"]["guardrails"][0]["name"]) == (201, "no deletes")
        text = draft["text"].replace("effect: deny", "effect: hold")
        status, changed = send(admin_client, "patch", f"policy-drafts/{draft['id']}/", {"text": text})
        assert (status, changed["document"]["guardrails"][0]["effect"]) == (200, "hold")
        assert changed["name"] == "softer"
        assert Guardrail.objects.get().effect == "deny"

    @pytest.mark.parametrize(
        ("body", "field", "said"),
        [
            ({"text": "guardrails: [\n"}, "text", "line 2, column 1"),
            ({"text": "rules: []"}, "text", "there is no such section"),
            ({"document": {"guardrails": [{"name": "x"}]}}, "document", "guardrails, entry 1: 'effect' is missing"),
            ({"document": {}, "text": "{}"}, "non_field_errors", "Give document or text."),
            ({"base_number": 7}, "base_number", "This cannot be set."),
        ],
    )
    def test_a_document_that_is_none_is_refused_with_its_place(self, admin_client, policy, body, field, said):
        status, answer = send(admin_client, "post", "policy-drafts/", {"name": "bad", **body})
        assert status == 400
        assert said in answer["fields"][field][0]["detail"]
        assert not PolicyDraft.objects.exists()

    def test_a_draft_is_tried_out_before_it_is_published(self, admin_client, policy):
        document = {"tests": [{"name": "ops may delete", "given": GIVEN, "expected": "allow"}]}
        _, draft = send(admin_client, "post", "policy-drafts/", {"name": "closed", "document": document})
        status, checked = send(admin_client, "post", f"policy-drafts/{draft['id']}/check/", {})
        assert (status, checked["is_publishable"], checked["problem"]) == (200, False, None)
        assert {change["kind"] for change in checked["changes"]} == {"added", "removed"}
        [test] = checked["tests"]
        assert (test["is_met"], test["got"], test["sentence"]) == (
            False,
            "deny",
            '"ops may delete" expects allow and gets deny by "no-grant"',
        )
        assert not PolicyTest.objects.exists()

    def test_a_draft_that_cannot_be_applied_says_where(self, admin_client, policy):
        text = "guardrails:\n- name: one\n  effect: deny\n- name: two\n  effect: deny\n  condition: args.q ==\n"
        _, draft = send(admin_client, "post", "policy-drafts/", {"name": "bad", "text": text})
        _, checked = send(admin_client, "post", f"policy-drafts/{draft['id']}/check/", {})
        assert (checked["problem"]["place"], checked["problem"]["line"]) == ("guardrails, two", 4)
        assert "condition" in checked["problem"]["hint"]
        status, answer = send(admin_client, "post", f"policy-drafts/{draft['id']}/publish/", {})
        assert (status, answer["fields"]["document"][0]["code"]) == (400, "document_refused")

    def test_a_draft_is_published_with_its_comment_and_only_once(self, admin_client, policy):
        document = {**PolicyVersion.objects.first().document, "guardrails": []}
        body = {"name": "open", "comment": "Deleting is fine", "document": document}
        _, draft = send(admin_client, "post", "policy-drafts/", body)
        status, changes = send(admin_client, "post", f"policy-drafts/{draft['id']}/publish/", {})
        assert (status, [change["title"] for change in changes]) == (200, ["no deletes"])
        newest = PolicyVersion.objects.first()
        assert (newest.source, newest.comment) == ("api", "Deleting is fine")
        status, answer = send(admin_client, "post", f"policy-drafts/{draft['id']}/publish/", {})
        assert (status, answer["code"]) == (409, "draft_published")

    def test_a_draft_whose_tests_fail_is_not_published(self, admin_client, policy):
        services.policy_test_save(name="ops cannot delete", given=GIVEN, expected="deny", now=NOW)
        document = {**PolicyVersion.objects.first().document, "guardrails": []}
        _, draft = send(admin_client, "post", "policy-drafts/", {"name": "open", "document": document})
        status, answer = send(admin_client, "post", f"policy-drafts/{draft['id']}/publish/", {})
        assert (status, answer["fields"]["non_field_errors"][0]["code"]) == (400, "policy_tests_fail")
        assert Guardrail.objects.exists()

    def test_an_outdated_draft_is_refused_and_can_be_brought_up_to_date(self, admin_client, policy):
        document = {**PolicyVersion.objects.first().document, "guardrails": []}
        _, draft = send(admin_client, "post", "policy-drafts/", {"name": "open", "document": document})
        services.guardrail_save(name="newer", effect="hold", names=["refund_*"], now=NOW)
        path = f"policy-drafts/{draft['id']}/"
        assert send(admin_client, "get", path)[1]["is_outdated"]
        status, answer = send(admin_client, "post", f"{path}publish/", {})
        assert (status, answer["code"]) == (409, "draft_outdated")
        status, rebased = send(admin_client, "post", f"{path}rebase/", {})
        assert (status, rebased["conflicts"], rebased["draft"]["is_outdated"]) == (200, [], False)
        assert send(admin_client, "post", f"{path}publish/", {})[0] == 200
        assert [rule.name for rule in Guardrail.objects.all()] == ["newer"]

    @pytest.mark.parametrize(
        ("permissions", "expected"),
        [
            ((), [403, 403, 403, 403]),
            (("view",), [200, 403, 403, 403]),
            (("view", "change"), [200, 200, 403, 403]),
            (("view", "delete"), [200, 403, 403, 204]),
        ],
    )
    def test_each_deed_needs_its_permission(self, person, policy, permissions, expected):
        draft = services.draft_save(name="mine", now=NOW)
        client = person(*(f"policies.{name}_policydraft" for name in permissions))
        path = f"policy-drafts/{draft.pk}/"
        deeds = [("get", path), ("post", f"{path}check/"), ("post", f"{path}publish/"), ("delete", path)]
        assert [send(client, method, to, {} if method == "post" else None)[0] for method, to in deeds] == expected

    def test_whoever_may_only_publish_does_not_see_drafts(self, person, policy):
        draft = services.draft_save(name="mine", now=NOW)
        client = person("policies.publish_policyversion")
        assert send(client, "post", f"policy-drafts/{draft.pk}/publish/", {})[0] == 404


class TestPolicyTests:
    def test_a_test_is_saved_run_and_deleted(self, admin_client, policy):
        body = {"name": "ops cannot delete", "given": GIVEN, "expected": "deny", "rule": "no deletes"}
        status, saved = send(admin_client, "post", "policy-tests/", body)
        assert status == 201
        status, [result] = send(admin_client, "get", "policy-tests/results/")
        assert (status, result["is_met"], result["got"], result["rule"]) == (200, True, "deny", "no deletes")
        assert send(admin_client, "delete", f"policy-tests/{saved['id']}/")[0] == 204

    def test_a_case_that_cannot_be_asked_is_refused_with_its_member(self, admin_client, policy):
        body = {"name": "x", "given": {"identity": IDENTITY}, "expected": "deny"}
        status, answer = send(admin_client, "post", "policy-tests/", body)
        assert (status, answer["fields"]["given"][0]["detail"]) == (400, "connection: write a text.")

    def test_a_test_that_policy_does_not_meet_is_refused_with_what_it_got(self, admin_client, policy):
        body = {"name": "x", "given": GIVEN, "expected": "allow"}
        status, answer = send(admin_client, "post", "policy-tests/", body)
        assert status == 400
        assert '"x" expects allow and gets deny by "no deletes"' in json.dumps(answer).replace('\\"', '"')


class TestSimulator:
    def test_a_call_that_nobody_makes_gets_its_verdict_and_every_reason(self, admin_client, policy):
        rule = services.guardrail_save(
            name="large", effect="hold", condition="args.amount > 100", is_observed=True, now=NOW
        )
        body = {**GIVEN, "name": "get_order", "arguments": {"amount": 101}, "address": "192.0.2.1"}
        status, told = send(admin_client, "post", "policy/simulate", body)
        assert status == 200
        assert (told["verdict"]["effect"], told["verdict"]["rule"]) == ("allow", "grant")
        assert told["observed"] == [{"rule": "large", "effect": "hold", "why": ""}]
        assert [grant["said"] for grant in told["grants"]] == ["allows"]
        assert [(found["id"], found["said"], found["effect"]) for found in told["rules"]] == [
            (str(rule.pk), "observed", "hold")
        ]
        assert told["other_rules"] == 1
        assert told["policy_version"] == PolicyVersion.objects.first().number

    def test_a_denial_says_what_the_caller_would_read(self, admin_client, policy):
        _, told = send(admin_client, "post", "policy/simulate", GIVEN)
        assert told["verdict"] == {"effect": "deny", "rule": "no deletes", "reason": "Ask.", "attributes": []}
        assert told["told"].startswith('NOT EXECUTED. "delete_order" is blocked by policy "no deletes": Ask.')

    def test_a_principal_is_asked_for_with_groups_of_its_provider(self, admin_client, policy):
        ada = Principal.objects.create(issuer=ISSUER, subject="ada")
        body = {"principal": str(ada.pk), "connection": "orders", "name": "get_order"}
        assert send(admin_client, "post", "policy/simulate", body)[1]["verdict"]["rule"] == "no-grant"
        told = send(admin_client, "post", "policy/simulate", {**body, "groups": ["ops"]})[1]
        assert told["verdict"]["effect"] == "allow"

    def test_time_and_history_are_part_of_the_question(self, admin_client, policy):
        services.guardrail_save(
            name="budget", effect="deny", condition="session.rate('get_*', 60) >= 2 && request.ip != ''", now=NOW
        )
        past = {"seconds_ago": 10, "connection": "orders", "name": "get_order"}
        body = {**GIVEN, "name": "get_order", "address": "192.0.2.1", "time": "2026-03-29T02:30:00+01:00"}
        for history, effect in (
            ([past], "allow"),
            ([past, past], "deny"),
            ([past, {**past, "seconds_ago": 61}], "allow"),
        ):
            told = send(admin_client, "post", "policy/simulate", {**body, "history": history})[1]
            assert told["verdict"]["effect"] == effect

    def test_a_draft_is_asked_without_being_in_force(self, admin_client, policy):
        document = {**PolicyVersion.objects.first().document, "guardrails": []}
        draft = services.draft_save(name="open", document=document, now=NOW)
        told = send(admin_client, "post", "policy/simulate", {**GIVEN, "draft": str(draft.pk)})[1]
        assert (told["verdict"]["effect"], told["policy_version"]) == ("allow", None)
        assert Guardrail.objects.exists()

    def test_a_tool_that_nobody_reviewed_is_denied(self, admin_client, policy):
        Tool.objects.create(connection=Connection.objects.get(), name="get_order", seen_digest="a")
        told = send(admin_client, "post", "policy/simulate", {**GIVEN, "name": "get_order"})[1]
        assert (told["verdict"]["effect"], told["verdict"]["rule"]) == ("deny", "tool-review")

    @pytest.mark.parametrize(
        ("body", "field", "said"),
        [
            ({}, "connection", "required"),
            ({"connection": "nowhere", "identity": IDENTITY}, "connection", "there is no connection of that name"),
            ({"connection": "orders"}, "non_field_errors", "Give principal or identity."),
            ({**GIVEN, "groups": ["x"]}, "groups", "the groups stand in it"),
            ({**GIVEN, "time": "2026-03-02 12:00"}, "time", "with its zone"),
            ({**GIVEN, "address": "here"}, "address", "valid IPv4 or IPv6"),
            ({**GIVEN, "arguments": []}, "arguments", "dictionary"),
            ({**GIVEN, "history": [{"name": "x"}]}, "history.0.connection", "required"),
            ({**GIVEN, "is_admin": True}, "is_admin", "This cannot be set."),
        ],
    )
    def test_what_cannot_be_asked_is_refused_at_its_field(self, admin_client, policy, body, field, said):
        status, answer = send(admin_client, "post", "policy/simulate", body)
        assert status == 400, answer
        assert said in answer["fields"][field][0]["detail"]

    @pytest.mark.parametrize("missing", ["policies.view_accessgrant", "policies.view_guardrail"])
    def test_whoever_may_not_see_policy_may_not_ask_it(self, person, policy, missing):
        client = person(*({"policies.view_accessgrant", "policies.view_guardrail"} - {missing}))
        assert send(client, "post", "policy/simulate", GIVEN)[0] == 403

    @pytest.mark.parametrize(("scope", "expected"), [("read", 200), ("audit", 403)])
    def test_a_token_that_reads_may_ask(self, client, admin_user, policy, scope, expected):
        _, plain = api_token_create(user=admin_user, actor=admin_user, name="t", scopes=[scope], now=timezone.now())
        assert send(client, "post", "policy/simulate", GIVEN, HTTP_AUTHORIZATION=f"Bearer {plain}")[0] == expected
