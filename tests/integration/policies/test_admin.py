"""The pages of policy in the console: what they show, what they refuse, and that nothing is lost on the way."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts.models import Group, IdentityProvider, Principal
from connections.models import Connection, Tool
from policies import documents, services
from policies.models import AccessGrant, Guardrail, PolicyDraft, PolicyTest, PolicyVersion

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"
GIVEN = {
    "identity": {"issuer": ISSUER, "subject": "ada", "groups": ["ops"]},
    "connection": "orders",
    "name": "delete_order",
}


@pytest.fixture
def group():
    provider = IdentityProvider.objects.create(name="Login", issuer=ISSUER)
    return Group.objects.create(provider=provider, name="ops")


@pytest.fixture
def policy(group):
    connection = Connection.objects.create(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp")
    services.grant_save(connection=connection, group=group, tools=["*"], now=NOW)
    by = services.Publisher(comment="Nobody <b>deletes</b>")
    return services.guardrail_save(name="no <b>deletes", effect="deny", names=["delete_*"], by=by, now=NOW)


@pytest.fixture
def draft(policy, admin_user):
    return services.draft_save(name="softer", author=admin_user, now=NOW)


@pytest.fixture
def person(client, django_user_model):
    def made(*permissions):
        user = django_user_model.objects.create_user("somebody", is_staff=True)
        for name in permissions:
            app, _, codename = name.partition(".")
            user.user_permissions.add(Permission.objects.get(codename=codename, content_type__app_label=app))
        client.force_login(user)
        return client

    return made


def url(name, *args):
    return reverse(f"admin:policies_{name}", args=args)


def text_of(answer):
    """What a person reads of a page."""
    content = re.sub(r"<(script|style|select)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", content).replace("&#x27;", "'").replace("&quot;", '"').split())


def edit(client, draft, text, **values):
    page = client.get(url("policydraft_change", draft.pk))
    seen = page.context["adminform"].form.initial["seen"]
    given = {"name": draft.name, "comment": draft.comment, "text": text, "seen": seen, **values}
    return client.post(url("policydraft_change", draft.pk), given)


class TestVersions:
    def test_the_list_says_who_changed_what_when_and_why_without_reading_documents(
        self, admin_client, policy, django_assert_max_num_queries
    ):
        with django_assert_max_num_queries(7) as queries:
            page = admin_client.get(url("policyversion_changelist"))
        assert "Nobody &lt;b&gt;deletes" in page.content.decode()
        assert not [query["sql"] for query in queries if '"policies_policyversion"."document"' in query["sql"]]

    def test_a_version_shows_what_it_changed_and_is_compared_with_any_other(self, admin_client, policy):
        services.guardrail_save(name="refunds", effect="hold", names=["refund_*"], now=NOW)
        newest, second, first = PolicyVersion.objects.all()
        page = admin_client.get(url("policyversion_change", newest.pk))
        assert "What it changed" in text_of(page)
        assert [change.key for change in page.context["changes"]] == ["refunds"]
        assert "<b>deletes" not in page.content.decode()
        page = admin_client.get(url("policyversion_change", newest.pk), {"against": first.pk})
        assert {change.key for change in page.context["changes"]} == {"refunds", "no <b>deletes"}
        assert f"Difference from version {first.pk}" in text_of(page)
        page = admin_client.get(url("policyversion_change", second.pk), {"against": "nonsense"})
        assert [change.key for change in page.context["changes"]] == ["no <b>deletes"]

    def test_a_roll_back_shows_first_what_would_change(self, admin_client, policy):
        first = PolicyVersion.objects.last()
        page = admin_client.get(url("policyversion_roll_back", first.pk))
        assert [(change.key, change.kind) for change in page.context["checked"].changes] == [
            ("no <b>deletes", "removed")
        ]
        assert Guardrail.objects.exists()

    def test_a_roll_back_is_a_version_with_its_author_and_comment(self, admin_client, admin_user, policy):
        first = PolicyVersion.objects.last()
        answer = admin_client.post(url("policyversion_roll_back", first.pk), {"comment": "Too strict"})
        assert answer.status_code == 302
        newest = PolicyVersion.objects.first()
        assert (newest.source, newest.author, newest.comment) == ("rollback", admin_user, "Too strict")
        assert newest.document == first.document

    def test_without_a_proof_nothing_is_rolled_back_and_the_comment_stays(self, admin_client, policy, settings):
        settings.WARDGATE_CONSOLE_PROOF_SECONDS = -1
        page = admin_client.post(url("policyversion_roll_back", PolicyVersion.objects.last().pk), {"comment": "Why"})
        assert "recent proof that it is you" in text_of(page)
        assert 'value="Why"' in page.content.decode()
        assert Guardrail.objects.exists()

    def test_what_cannot_come_back_says_why_and_offers_no_button(self, admin_client, policy):
        first = PolicyVersion.objects.last()
        services.document_apply(document={}, by=services.Publisher(), now=NOW)
        Connection.objects.all().delete()
        page = text_of(admin_client.get(url("policyversion_roll_back", first.pk)))
        assert "there is no connection 'orders'" in page
        assert "policy again" not in page

    def test_whoever_may_not_publish_rolls_nothing_back(self, person, policy):
        client = person("policies.view_policyversion", "policies.change_guardrail", "policies.change_policydraft")
        path = url("policyversion_roll_back", PolicyVersion.objects.last().pk)
        assert (client.get(path).status_code, client.post(path).status_code) == (403, 403)
        assert Guardrail.objects.exists()


class TestDrafts:
    def test_a_draft_begins_as_policy_is(self, admin_client, admin_user, policy):
        answer = admin_client.post(url("policydraft_add"), {"name": "softer", "comment": "why"})
        draft = PolicyDraft.objects.get()
        assert answer.url == url("policydraft_change", draft.pk)
        assert (draft.author, draft.document) == (admin_user, PolicyVersion.objects.first().document)
        page = admin_client.get(answer.url).content.decode()
        assert "name: no &lt;b&gt;deletes" in page

    def test_a_saved_draft_leads_to_its_review(self, admin_client, draft):
        text = documents.write(draft.document).replace("effect: deny", "effect: hold")
        answer = edit(admin_client, draft, text.replace("\n", "\r\n"))
        assert answer.url == url("policydraft_review", draft.pk)
        page = admin_client.get(answer.url)
        assert [change.key for change in page.context["checked"].changes] == ["no <b>deletes"]
        assert "effect deny hold" in text_of(page)
        assert Guardrail.objects.get().effect == "deny"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("guardrails:\n- name: one\n  effect: [deny\n", "Line 4, column 1: expected"),
            ("guardrails:\n- name: one\n", "Line 2 (guardrails, entry 1): 'effect' is missing. There it says: - name"),
            ("rules: []", "Line 1 (rules): there is no such section"),
            ("guardrails:\n- name: a\n  name: b\n", "Line 3, column 3: the member 'name' stands twice"),
            ("a: &x 1\nb: *x\n", "anchors and aliases are not allowed"),
        ],
    )
    def test_a_text_that_is_no_document_is_refused_with_its_place_and_stays_in_the_form(
        self, admin_client, draft, text, said
    ):
        page = edit(admin_client, draft, text)
        [error] = page.context["adminform"].form.errors["text"]
        assert said in error
        assert page.context["adminform"].form["text"].value() == text
        draft.refresh_from_db()
        assert draft.document["guardrails"]

    def test_a_draft_that_somebody_saved_meanwhile_is_not_written_over(self, admin_client, draft):
        page = edit(admin_client, draft, "guardrails: []\n", seen="0" * 64)
        assert "Somebody has saved this draft" in str(page.context["adminform"].form.errors)
        assert page.context["adminform"].form["text"].value() == "guardrails: []\n"

    def test_the_review_says_where_a_document_cannot_be_applied(self, admin_client, draft):
        text = "guardrails:\n- name: one\n  effect: deny\n- name: two\n  effect: deny\n  condition: args.q ==\n"
        edit(admin_client, draft, text)
        page = admin_client.get(url("policydraft_review", draft.pk))
        assert "It cannot be published yet" in text_of(page)
        assert "guardrails, two : condition:" in text_of(page)
        assert [number for number, _, is_it in page.context["excerpt"] if is_it] == [4]
        answer = admin_client.post(url("policydraft_review", draft.pk), {"publish": "yes", "comment": ""})
        assert "guardrails, two" in str(answer.context["form"].errors)

    def test_a_failing_test_is_explained_and_stops_the_publication(self, admin_client, draft):
        services.policy_test_save(name="ops cannot delete", given=GIVEN, expected="deny", now=NOW)
        services.draft_rebase(draft_id=draft.pk, now=NOW)
        draft.refresh_from_db()
        document = {**draft.document, "guardrails": []}
        services.draft_save(draft_id=draft.pk, name="softer", document=document, now=NOW)
        path = url("policydraft_review", draft.pk)
        page = admin_client.get(path)
        assert "The policy test fails" in text_of(page)
        assert "Expected: denied. Got: allowed by “grant”." in text_of(page)
        page = admin_client.post(path, {"publish": "yes", "comment": "Open"})
        assert "1 policy test(s) would fail" in text_of(page)
        assert Guardrail.objects.exists()

    def test_a_draft_is_published_with_its_comment(self, admin_client, admin_user, draft):
        services.draft_save(draft_id=draft.pk, name="open", document={**draft.document, "guardrails": []}, now=NOW)
        answer = admin_client.post(url("policydraft_review", draft.pk), {"publish": "yes", "comment": "Open"})
        assert answer.status_code == 302
        newest = PolicyVersion.objects.first()
        assert (newest.author, newest.source, newest.comment) == (admin_user, "console", "Open")
        assert not Guardrail.objects.exists()
        draft.refresh_from_db()
        assert draft.published_number == newest.number
        assert "it stays as it was" in text_of(admin_client.get(url("policydraft_change", draft.pk)))
        assert admin_client.post(url("policydraft_change", draft.pk), {"name": "x"}).status_code == 403

    def test_without_a_proof_nothing_is_published_and_the_comment_stays(self, admin_client, draft, settings):
        services.draft_save(draft_id=draft.pk, name="open", document={**draft.document, "guardrails": []}, now=NOW)
        settings.WARDGATE_CONSOLE_PROOF_SECONDS = -1
        page = admin_client.post(url("policydraft_review", draft.pk), {"publish": "yes", "comment": "Open it"})
        assert "recent proof that it is you" in text_of(page)
        assert 'value="Open it"' in page.content.decode()
        assert Guardrail.objects.exists()

    def test_an_outdated_draft_says_what_it_would_undo_and_takes_it_over(self, admin_client, draft):
        services.draft_save(
            draft_id=draft.pk, name="open", document={**draft.document, "masking_patterns": []}, now=NOW
        )
        services.guardrail_save(name="newer", effect="hold", names=["refund_*"], now=NOW)
        path = url("policydraft_review", draft.pk)
        page = admin_client.get(path)
        assert "Policy has changed since this draft was made" in text_of(page)
        assert [change.key for change in page.context["since"]] == ["newer"]
        assert "outdated" in text_of(admin_client.get(url("policydraft_changelist")))
        page = admin_client.post(path, {"publish": "yes", "comment": ""})
        assert "Policy has changed since this draft was made" in str(page.context["form"].errors)
        page = admin_client.post(path, {"rebase": "yes"})
        assert page.context["checked"].changes == []
        draft.refresh_from_db()
        assert "newer" in {rule["name"] for rule in draft.document["guardrails"]}

    def test_where_both_changed_an_entry_the_person_is_told(self, admin_client, draft):
        [rule] = draft.document["guardrails"]
        document = {**draft.document, "guardrails": [{**rule, "effect": "hold"}]}
        services.draft_save(draft_id=draft.pk, name="open", document=document, now=NOW)
        services.guardrail_save(name=rule["name"], effect="deny", names=["delete_*"], reason="Ask.", now=NOW)
        page = admin_client.post(url("policydraft_review", draft.pk), {"rebase": "yes"})
        assert "Both changed: what the draft has stands" in text_of(page)
        assert "effect deny hold" in text_of(page)

    def test_a_draft_is_discarded(self, admin_client, draft):
        assert admin_client.post(url("policydraft_delete", draft.pk), {"post": "yes"}).status_code == 302
        assert not PolicyDraft.objects.exists()

    def test_whoever_may_only_write_drafts_publishes_none(self, person, draft):
        client = person("policies.view_policydraft", "policies.change_policydraft")
        path = url("policydraft_review", draft.pk)
        assert "Somebody with the permission to publish" in text_of(client.get(path))
        assert client.post(path, {"publish": "yes"}).status_code == 403

    def test_whoever_may_only_look_changes_nothing(self, person, draft):
        client = person("policies.view_policydraft")
        services.guardrail_save(name="newer", effect="hold", now=NOW)
        path = url("policydraft_review", draft.pk)
        assert client.get(path).status_code == 200
        assert client.post(path, {"rebase": "yes"}).status_code == 403
        assert "guardrails:" in client.get(url("policydraft_change", draft.pk)).content.decode()


class TestPolicyTests:
    def test_a_test_is_saved_as_a_version_and_shows_what_it_gets(self, admin_client, policy):
        values = {"name": "ops cannot delete", "given": json.dumps(GIVEN), "expected": "deny", "is_active": "on"}
        assert admin_client.post(url("policytest_add"), values).status_code == 302
        test = PolicyTest.objects.get()
        assert PolicyVersion.objects.first().document["tests"][0]["given"] == GIVEN
        page = text_of(admin_client.get(url("policytest_change", test.pk)))
        assert "Passes ops cannot delete Expected: denied. Got: denied by “no &lt;b&gt;deletes”." in page
        page = admin_client.get(url("policytest_results"))
        assert "The policy test passes" in text_of(page)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ('{"name": "x",\n  nonsense}', "Line 2, column 3: expecting property name"),
            ("[]", "Write an object"),
            ('{"connection": "orders"}', "identity: write an object with issuer and subject."),
            (json.dumps({**GIVEN, "time": "noon"}), "time: write a time with its zone"),
        ],
    )
    def test_a_case_that_cannot_be_asked_is_refused_at_its_field(self, admin_client, policy, given, said):
        page = admin_client.post(url("policytest_add"), {"name": "x", "given": given, "expected": "deny"})
        assert said in page.context["adminform"].form.errors["given"][0]
        assert page.context["adminform"].form["given"].value() == given

    def test_a_test_that_policy_does_not_meet_is_refused_with_what_it_gets(self, admin_client, policy):
        values = {"name": "x", "given": json.dumps(GIVEN), "expected": "allow", "is_active": "on"}
        page = admin_client.post(url("policytest_add"), values)
        assert "expects allow and gets deny" in str(page.context["adminform"].form.non_field_errors())

    def test_a_test_that_fails_meanwhile_is_explained(self, admin_client, policy):
        services.policy_test_save(name="ops may read", given={**GIVEN, "name": "get_order"}, expected="allow", now=NOW)
        Connection.objects.update(is_active=False)
        page = text_of(admin_client.get(url("policytest_results")))
        assert "The policy test fails now" in page
        assert "The case cannot be asked: connection: there is no connection of that name." in page


class TestSimulator:
    def ask(self, client, group, **values):
        given = {"groups": [group.pk], "connection": "orders", "method": "tools/call", "name": "delete_order", **values}
        return client.post(url("policystate_simulate"), given)

    def test_the_page_asks_and_says_nothing_is_sent(self, admin_client, policy):
        page = text_of(admin_client.get(url("policystate_simulate"), {"connection": "orders", "name": "get_order"}))
        assert "What would this call get?" in page

    def test_without_a_connection_it_says_what_to_do_first(self, admin_client):
        assert "There is no connection yet" in text_of(admin_client.get(url("policystate_simulate")))

    def test_a_verdict_names_its_rule_and_what_every_other_one_said(self, admin_client, policy, group):
        services.guardrail_save(name="watched", effect="hold", condition="args.n > 1", is_observed=True, now=NOW)
        page = self.ask(admin_client, group, arguments='{"n": 2}', address="192.0.2.1")
        content = page.content.decode()
        assert f'href="{url("guardrail_change", policy.pk)}"' in content
        text = text_of(page)
        assert "Denied by no &lt;b&gt;deletes" in text
        assert "NOT EXECUTED." in text
        assert "Group ops: * . In force, and names what is called." in text
        assert "watched . Applies, and is only observed." in text
        assert f"in force, version {PolicyVersion.objects.first().number}" in text

    def test_a_principal_is_asked_for_with_its_groups(self, admin_client, policy, group):
        ada = Principal.objects.create(issuer=ISSUER, subject="ada")
        page = self.ask(admin_client, group, principal=ada.pk, name="get_order")
        assert "Allowed by a grant" in text_of(page)
        given = {"principal": ada.pk, "connection": "orders", "method": "tools/call", "name": "get_order"}
        assert "Denied by having no grant" in text_of(admin_client.post(url("policystate_simulate"), given))

    def test_a_tool_that_waits_for_review_is_told_with_what_policy_says(self, admin_client, policy, group):
        Tool.objects.create(connection=Connection.objects.get(), name="get_order", seen_digest="a")
        text = text_of(self.ask(admin_client, group, name="get_order"))
        assert "Denied by tool review" in text
        assert "Policy by itself says: allowed by “grant”." in text

    @pytest.mark.parametrize(
        ("values", "field", "said"),
        [
            ({"groups": []}, "principal", "Choose a principal, or at least one group."),
            ({"arguments": '{"n": }'}, "arguments", "Line 1, column 7: expecting value."),
            ({"arguments": "[1]"}, "arguments", "Write an object"),
            ({"history": '[{"name": "x"}]'}, "history", "history, call 1: connection is missing."),
            ({"time": "noon"}, "time", "write a time with its zone"),
            ({"address": "here"}, "address", "Enter a valid IPv4 or IPv6 address."),
            ({"connection": "nowhere"}, "connection", "Select a valid choice"),
        ],
    )
    def test_what_cannot_be_asked_is_refused_at_its_field_and_nothing_is_lost(
        self, admin_client, policy, group, values, field, said
    ):
        page = self.ask(admin_client, group, **values)
        form = page.context["form"]
        assert said in form.errors[field][0]
        assert form["name"].value() == "delete_order"
        assert page.context["found"] is None

    def test_groups_of_another_provider_are_refused(self, admin_client, policy, group):
        other = Group.objects.create(
            provider=IdentityProvider.objects.create(name="Other", issuer="https://other.example"), name="ops"
        )
        page = self.ask(admin_client, group, groups=[group.pk, other.pk])
        assert "Choose groups of one provider" in page.context["form"].errors["groups"][0]

    def test_a_draft_is_asked(self, admin_client, draft, group):
        services.draft_save(draft_id=draft.pk, name="open", document={**draft.document, "guardrails": []}, now=NOW)
        text = text_of(self.ask(admin_client, group, draft=draft.pk))
        assert "Allowed by a grant" in text
        assert "draft “open”" in text
        assert "Keep it as a policy test" not in text

    def test_what_was_asked_is_kept_as_a_policy_test(self, admin_client, policy, group):
        page = self.ask(admin_client, group)
        kept = page.context["keep"].initial
        answer = admin_client.post(url("policystate_simulate"), {**kept, "keep": "yes", "test_name": "ops cannot"})
        assert "Kept as the policy test “ops cannot”." in text_of(answer)
        test = PolicyTest.objects.get()
        assert (test.expected, test.given["name"], test.given["identity"]["groups"]) == (
            "deny",
            "delete_order",
            ["ops"],
        )
        page = admin_client.post(url("policystate_simulate"), {**kept, "keep": "yes", "test_name": "ops cannot"})
        assert "There is a policy test of that name already." in text_of(page)

    @pytest.mark.parametrize("missing", ["policies.view_accessgrant", "policies.view_guardrail"])
    def test_whoever_may_not_see_policy_may_not_ask_it(self, person, policy, missing):
        client = person(*({"policies.view_accessgrant", "policies.view_guardrail"} - {missing}))
        assert client.get(url("policystate_simulate")).status_code == 403

    def test_whoever_may_not_write_tests_keeps_none(self, person, policy, group):
        client = person("policies.view_accessgrant", "policies.view_guardrail")
        assert self.ask(client, group).context["keep"] is None
        values = {"keep": "yes", "test_name": "x", "given": json.dumps(GIVEN), "expected": "deny"}
        assert client.post(url("policystate_simulate"), values).status_code == 403


class TestForms:
    def grant(self, client, group, **values):
        connection = Connection.objects.get_or_create(slug="orders", name="Orders", upstream_url="https://o.example")[0]
        given = {"group": group.pk, "connection": connection.pk, "tools": "get_*", "is_active": "on", **values}
        return client.post(url("accessgrant_add"), given)

    def test_windows_are_written_as_lines_and_read_back_as_written(self, admin_client, group):
        lines = "mon-fri 8:00-18:00 Europe/Berlin\n\nSat,Sun 22:00 - 06:00 UTC\nfri-mon 00:00-24:00 UTC"
        assert self.grant(admin_client, group, windows=lines).status_code == 302
        grant = AccessGrant.objects.get()
        assert grant.windows[:2] == [
            {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"},
            {"days": ["sat", "sun"], "from": "22:00", "to": "06:00", "zone": "UTC"},
        ]
        assert grant.windows[2]["days"] == ["mon", "fri", "sat", "sun"]
        page = admin_client.get(url("accessgrant_change", grant.pk)).content.decode()
        assert "mon-fri 08:00-18:00 Europe/Berlin\nsat,sun 22:00-06:00 UTC\nmon,fri-sun 00:00-24:00 UTC" in page

    @pytest.mark.parametrize(
        ("field", "text", "said"),
        [
            ("windows", "mon-fri 08:00-18:00 Europe/Berlin\nweekends", "Line 2: write mon-fri 08:00-18:00"),
            ("windows", "mon-xyz 08:00-18:00 UTC", "Line 1: write mon-fri"),
            ("windows", "mon 08:00-18:00 UTC\ntue 08:00-18:00 Europe/Berlln", "Window 2: the zone is not in the IANA"),
            ("windows", "mon 08:00-08:00 UTC", "Window 1: from and to must differ"),
            ("windows", "mon 08:00-25:00 UTC", "Window 1: times are written as 22:00"),
            ("networks", "10.0.0.0/8\n10.0.0.1/8", "Network 2 is not in CIDR form"),
            ("labels", "production", "Name either a connection or labels of connections."),
            ("condition", "identity.kind ==", "At character"),
            ("condition", "args.amount > 1", "a grant looks at"),
            ("tools", "", "Name at least one tool, prompt or resource; * is every one."),
        ],
    )
    def test_a_bad_value_is_refused_at_its_field_with_its_place(self, admin_client, group, field, text, said):
        page = self.grant(admin_client, group, **{field: text})
        form = page.context["adminform"].form
        assert said.lower() in " ".join(message for messages in form.errors.values() for message in messages).lower()
        assert form[field].value() == text
        assert not AccessGrant.objects.exists()

    @pytest.mark.parametrize(
        ("field", "text", "said"),
        [
            ("annotations", '{"destructiveHint": tru}', "Line 1, column 21: expecting value."),
            ("annotations", "[]", "Write an object"),
            ("annotations", '{"isBad": true}', "The annotations are readOnlyHint"),
            ("condition", "args.q.matches('(?=a)')", "At character"),
            ("condition", "nobody.q == 1", "At character 1"),
            ("names", "", "This field is required."),
        ],
    )
    def test_a_guardrail_says_what_it_cannot_be(self, admin_client, field, text, said):
        values = {"name": "x", "effect": "deny", "methods": "*", "names": "*", "is_active": "on", field: text}
        form = admin_client.post(url("guardrail_add"), values).context["adminform"].form
        assert said in form.errors[field][0]
        assert form[field].value() == text

    def test_a_guardrail_is_saved_and_its_page_changes_nothing(self, admin_client):
        values = {
            "name": "large",
            "effect": "hold",
            "methods": "tools/call",
            "names": "*",
            "annotations": '{"destructiveHint": true}',
            "condition": "has(args.amount) && args.amount > 100",
            "is_observed": "on",
            "is_active": "on",
        }
        assert admin_client.post(url("guardrail_add"), values).status_code == 302
        rule = Guardrail.objects.get()
        assert (rule.annotations, rule.is_observed) == ({"destructiveHint": True}, True)
        form = admin_client.get(url("guardrail_change", rule.pk)).context["adminform"].form
        shown = {bound.html_name: bound.value() for bound in form}
        assert json.loads(shown["annotations"]) == {"destructiveHint": True}
