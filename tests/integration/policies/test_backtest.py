"""Back-tests: policy that is not in force, run against recorded calls."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Group, IdentityProvider
from connections.models import Connection, Tool
from policies import services
from policies.models import BackTest, PolicyVersion
from policies.reading import document_now
from policies.services import back_tests
from sessions import recorded as reading
from tests.support.recorded_calls import ISSUER, START, Recorded, Who

pytestmark = pytest.mark.django_db

NOW = START + timedelta(days=1)
OPS, DEV = Who("ada", frozenset({"ops"})), Who("bob", frozenset({"dev"}))


@pytest.fixture
def orders():
    return Connection.objects.create(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp")


@pytest.fixture
def granted(orders):
    """Everybody of ops may call everything of orders."""
    provider = IdentityProvider.objects.create(name="Login", issuer=ISSUER)
    group = Group.objects.create(provider=provider, name="ops")
    services.grant_save(connection=orders, group=group, tools=["*"], prompts=["*"], resources=["*"], now=START)
    return group


def back_tested(*, guardrails=(), grants=None, since=START, until=None, now=NOW):
    """Run a back-test of policy as it is, with other guardrails, and return its row."""
    document = {**document_now(), "guardrails": [{"methods": ["tools/call"], **entry} for entry in guardrails]}
    if grants is not None:
        document["grants"] = grants
    test = services.back_test_start(document=document, since=since, until=until, now=now)
    assert services.back_test_run(back_test_id=test.pk, now=now)
    test.refresh_from_db()
    return test


def changes(test):
    return [(row["before"], row["after"], row["name"], row["subject"], row["count"]) for row in test.differences]


def test_a_draft_that_denies_is_shown_with_the_calls_that_it_would_have_denied(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "get_order")
        first = record.call(OPS, orders, "delete_order")
        record.call(OPS, orders, "delete_order")
    test = back_tested(guardrails=[{"name": "no deletes", "effect": "deny", "names": ["delete_*"]}])
    assert test.state == "done", test.failure
    assert (test.calls_total, test.calls_done, test.differences_total) == (3, 3, 2)
    assert changes(test) == [("allow", "deny", "delete_order", "ada", 2)]
    found = test.differences[0]
    assert (found["before_rule"], found["after_rule"]) == ("grant", "no deletes")
    assert found["examples"][0]["call"] == str(first)
    assert found["examples"][0]["session"] == str(record.session_of(OPS, orders).pk)
    assert test.summary["verdicts"] == {"allow allow": 1, "allow deny": 2}


def test_what_a_draft_would_allow_is_shown_too_and_groups_are_those_that_the_call_had(orders, granted):
    with Recorded() as record:
        record.call(DEV, orders, "get_order", verdict="deny", rule="default")
        record.call(Who("bob", frozenset({"dev", "ops"})), orders, "get_order", verdict="deny", rule="no reading")
    assert changes(back_tested()) == [("deny", "allow", "get_order", "bob", 1)]


def test_policy_in_force_changes_nothing_about_the_calls_that_it_decided(orders, granted):
    with Recorded() as record:
        for name in ("get_order", "list_orders"):
            record.call(OPS, orders, name)
        record.call(DEV, orders, "get_order", verdict="deny", rule="no-grant")
        record.call(OPS, orders, None, method="tools/list", params={})
    test = back_tested()
    assert (test.differences_total, test.not_replayable, test.summary["same"]) == (0, 0, 4)


@pytest.mark.parametrize(
    ("condition", "arguments", "hits", "expected"),
    [
        ("args.amount > 100", {"amount": 500}, None, "deny"),
        ("args.amount > 100", {"amount": 50}, None, ""),
        ("args.amount > 100", {"amount": 500, "to": "[MASKED:email]"}, {"email": 1}, "deny"),
        ('args.to.endsWith("@rival.example")', {"to": "[MASKED:email]"}, {"email": 1}, "cannot tell"),
        ("size(args) > 5", {"to": "[MASKED:email]"}, {"email": 1}, "cannot tell"),
        ('args.rows.exists(row, row.to == "x")', {"rows": [{"to": "a [MASKED:email] b"}]}, {"email": 1}, "cannot tell"),
        ('args.to == "x"', {"to": "<e-mail>"}, {"email": 1}, "cannot tell"),
        ('args.to == "x"', {"to": "y", "[MASKED:email]": 1}, {"email": 1}, "cannot tell"),
        ("args.missing == 1", {}, None, "deny"),
    ],
)
def test_an_argument_that_is_masked_in_the_record_is_not_guessed(orders, granted, condition, arguments, hits, expected):
    with Recorded() as record:
        record.call(OPS, orders, "pay", arguments, hits=hits)
    test = back_tested(guardrails=[{"name": "limit", "effect": "deny", "names": ["pay"], "condition": condition}])
    assert test.state == "done", test.failure
    if expected == "cannot tell":
        assert (test.not_replayable, test.summary["reasons"]) == (1, {"arguments_masked": 1})
    else:
        assert [row["after"] for row in test.differences] == ([expected] if expected else [])
        assert test.not_replayable == 0


def test_a_masked_argument_does_not_matter_where_the_verdict_is_the_same_either_way(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "pay", {"to": "[MASKED:email]"}, hits={"email": 1})
    rules = [
        {"name": "some", "effect": "hold", "names": ["pay"], "condition": 'args.to == "x"'},
        {"name": "all", "effect": "deny", "names": ["pay"]},
    ]
    assert changes(back_tested(guardrails=rules)) == [("allow", "deny", "pay", "ada", 1)]


def test_a_record_that_does_not_say_who_called_is_not_guessed(orders, granted):
    with Recorded(is_of_old_gateway=True) as record:
        record.call(OPS, orders, "get_order")
    test = back_tested()
    assert test.summary["reasons"] == {"caller_not_recorded": 1}
    own = [{"connection": "orders", "principal": {"issuer": ISSUER, "subject": "ada"}, "tools": ["*"]}]
    assert back_tested(grants=own).summary["same"] == 1


def test_the_time_and_the_address_of_the_call_decide_and_not_those_of_the_test(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "get_order")
        record.call(Who("ada", frozenset({"ops"}), address="198.51.100.9"), orders, "get_order")
        record.call(OPS, orders, "get_order", seconds=12 * 3600)
    rules = [
        {"name": "night", "effect": "deny", "condition": 'hour(request.time, "UTC") >= 20'},
        {"name": "abroad", "effect": "deny", "condition": '!in_cidr(request.ip, "192.0.2.0/24")'},
    ]
    test = back_tested(guardrails=rules)
    assert {row["after_rule"]: row["count"] for row in test.differences} == {"night": 1, "abroad": 1}


def test_the_history_is_built_up_from_the_record_and_from_what_the_draft_would_have_let_through(orders, granted):
    with Recorded() as record:
        for _ in range(5):
            record.call(OPS, orders, "export")
        record.call(Who("eve", frozenset({"ops"})), orders, "export")
    rule = {"name": "budget", "effect": "deny", "names": ["export"], "condition": 'session.count("export") >= 2'}
    assert changes(back_tested(guardrails=[rule])) == [("allow", "deny", "export", "ada", 3)]
    later = START + timedelta(seconds=3.5)
    assert changes(back_tested(guardrails=[rule], since=later)) == [("allow", "deny", "export", "ada", 2)]


def test_labels_and_sizes_of_earlier_calls_count(orders, granted):
    Tool.objects.create(connection=orders, name="read_mail", taints=["untrusted"])
    with Recorded() as record:
        record.call(OPS, orders, "send")
        record.call(OPS, orders, "read_mail", answer_bytes=5_000)
        record.call(OPS, orders, "send")
    taint = {"name": "egress", "effect": "hold", "names": ["send"], "condition": '"untrusted" in session.labels'}
    assert changes(back_tested(guardrails=[taint])) == [("allow", "hold", "send", "ada", 1)]
    size = {"name": "bytes", "effect": "deny", "names": ["send"], "condition": "session.bytes > 4000"}
    assert changes(back_tested(guardrails=[size])) == [("allow", "deny", "send", "ada", 1)]


def test_calls_that_policy_did_not_decide_are_no_difference(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "new_tool", verdict="deny", rule="tool-review")
    test = back_tested()
    assert (test.summary["outside"], test.differences_total) == (1, 0)


def test_what_an_observed_rule_would_do_is_counted(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "delete_order")
    test = back_tested(guardrails=[{"name": "try", "effect": "deny", "is_observed": True}])
    assert (test.differences_total, test.summary["observed"]) == (0, {"deny try": 1})


def test_a_long_request_is_read_all_the_same(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "pay", {"amount": 500, "note": "x" * 3 * reading.INLINE_BYTES})
    test = back_tested(guardrails=[{"name": "limit", "effect": "deny", "condition": "args.amount > 100"}])
    assert changes(test) == [("allow", "deny", "pay", "ada", 1)]


def test_an_event_that_cannot_be_read_is_counted_and_fails_nothing(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "get_order")
        record.event("gateway:call:intent", "{", record.session_of(OPS, orders), uuid.uuid4())
    test = back_tested()
    assert (test.state, test.summary["reasons"]) == ("done", {"event_unreadable": 1})


def test_completions_and_subscriptions_are_decided_by_what_they_are_about(orders, granted):
    with Recorded() as record:
        params = {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": "b"}}
        record.call(OPS, orders, "greet", method="completion/complete", params=params)
        record.call(OPS, orders, "doc://1", method="resources/subscribe", params={"uri": "doc://1"})
    assert back_tested().summary["same"] == 2


def test_a_worker_that_was_lost_is_followed_by_one_that_goes_on_where_it_stopped(orders, granted, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_EVENTS", 10)
    monkeypatch.setattr(back_tests, "WRITE_SECONDS", 0)
    with Recorded() as record:
        for number in range(100):
            record.call(OPS, orders, f"tool_{number % 4}")
    document = {**document_now(), "guardrails": [{"name": "no", "effect": "deny", "names": ["tool_1"]}]}
    test = services.back_test_start(document=document, since=START, now=NOW)
    compare, seen = back_tests._Run._compare, []

    def dies(run, call, judged):
        seen.append(call.call_id)
        if len(seen) == 60:
            raise KeyboardInterrupt
        compare(run, call, judged)

    monkeypatch.setattr(back_tests._Run, "_compare", dies)
    with pytest.raises(KeyboardInterrupt):
        services.back_test_run(back_test_id=test.pk, now=NOW)
    test.refresh_from_db()
    assert test.state == "running"
    assert 0 < test.calls_done < 60
    assert not services.back_test_run(back_test_id=test.pk, now=test.beat_at)
    later = test.beat_at + timedelta(seconds=back_tests.LEASE_SECONDS + 1)
    assert services.back_tests_left(now=later) == [test.pk]
    assert services.back_test_run(back_test_id=test.pk, now=later)
    test.refresh_from_db()
    assert (test.state, test.calls_done, test.differences_total) == ("done", 100, 25)
    assert changes(test) == [("allow", "deny", "tool_1", "ada", 25)]
    assert len(set(seen)) == 100
    assert not services.back_test_run(back_test_id=test.pk, now=later)


def test_a_back_test_that_is_cancelled_stops_and_keeps_what_it_found(orders, granted, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_EVENTS", 10)
    monkeypatch.setattr(back_tests, "WRITE_SECONDS", 0)
    with Recorded() as record:
        for _ in range(50):
            record.call(OPS, orders)
    test = services.back_test_start(document={}, since=START, now=NOW)
    progress = back_tests._Run._progress

    def cancelled(run, position):
        progress(run, position)
        if BackTest.objects.get().state == "running" and BackTest.objects.get().calls_done >= 10:
            services.back_test_cancel(back_test_id=test.pk, now=NOW)

    monkeypatch.setattr(back_tests._Run, "_progress", cancelled)
    assert services.back_test_run(back_test_id=test.pk, now=NOW)
    test.refresh_from_db()
    assert test.state == "cancelled"
    assert 10 <= test.calls_done < 50
    with pytest.raises(services.BackTestEnded):
        services.back_test_cancel(back_test_id=test.pk, now=NOW)


def test_policy_that_cannot_be_asked_fails_with_a_sentence(orders, granted):
    document = {"guardrails": [{"name": "x", "effect": "deny", "condition": "args.q =="}]}
    test = services.back_test_start(document=document, since=START, now=NOW)
    services.back_test_run(back_test_id=test.pk, now=NOW)
    test.refresh_from_db()
    assert test.state == "failed"
    assert "guardrails, x: condition" in test.failure


def test_a_draft_and_a_version_are_tested_as_they_were_when_it_was_asked_for(orders, granted):
    with Recorded() as record:
        record.call(OPS, orders, "get_order")
    draft = services.draft_save(name="closed", document={}, now=NOW)
    test = services.back_test_start(draft=draft, since=START, now=NOW)
    services.draft_save(draft_id=draft.pk, name="closed", document=document_now(), now=NOW)
    services.back_test_run(back_test_id=test.pk, now=NOW)
    test.refresh_from_db()
    assert (test.title, changes(test)) == ("closed", [("allow", "deny", "get_order", "ada", 1)])
    number = PolicyVersion.objects.first().number
    test = services.back_test_start(version_number=number, since=START, now=NOW)
    assert test.title == f"Version {number}"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"since": NOW}, "since"),
        ({"since": NOW - timedelta(days=400)}, "since"),
        ({"since": START, "version_number": 99}, "version_number"),
        ({"since": START, "document": {"rules": []}}, "document"),
        ({"since": START, "document": {}, "version_number": 1}, "draft"),
    ],
)
def test_what_cannot_be_tested_is_refused_at_its_field(values, field):
    with pytest.raises(ValidationError) as refusal:
        services.back_test_start(**values, now=NOW)
    assert field in refusal.value.message_dict


def test_groups_of_differences_are_bounded_and_what_is_beyond_is_counted(orders, granted, monkeypatch):
    monkeypatch.setattr("policies.tally.MAX_GROUPS", 3)
    with Recorded() as record:
        for number in range(5):
            record.call(OPS, orders, f"tool_{number}")
    test = back_tested(grants=[])
    assert (len(test.differences), test.differences_total, test.summary["untold_differences"]) == (3, 5, 2)


def test_many_calls_are_read_in_batches_and_not_one_by_one(orders, granted, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(reading, "BATCH_EVENTS", 500)
    with Recorded() as record:
        for number in range(2_000):
            record.call(OPS, orders, f"tool_{number % 50}", {"amount": number})
    rules = [{"name": "limit", "effect": "deny", "condition": "args.amount >= 1500"}]
    with django_assert_max_num_queries(200):
        test = back_tested(guardrails=rules)
    assert (test.calls_done, test.differences_total, len(test.differences)) == (2_000, 500, 50)
