"""Who may decide, ask, review and stand in for whom: every person who must not is tried, and none passes.

Four eyes hold between humans, not between accounts: SECURITY, H3 and H4. Groups, locks and permissions are those of the
moment of the decision.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import (
    ConsoleSession,
    Group,
    IdentityProvider,
    Principal,
    RoleGrant,
    ScimMember,
    ScimUser,
    User,
)
from accounts.services import lock_place, principal_ensure
from connections.models import Connection
from connections.services import connection_save
from policies import services
from policies.approval_errors import (
    DecidedAlready,
    NotAnApprover,
    NothingToReview,
    NotPending,
    OwnRequest,
    ReasonNeeded,
    TooManyMessages,
)
from policies.models import AccessGrant, ApprovalDelegation, ApprovalMessage, ApprovalRequest
from policies.reports import approvals
from policies.services import Deciding
from policies.tasks import watch_reviews
from sessions.reports import Period

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"
DAY = timedelta(days=1)


@pytest.fixture
def provider() -> IdentityProvider:
    return IdentityProvider.objects.create(
        name="T", issuer=ISSUER, audiences=["x"], pinned_jwks={"keys": []}, uses_directory=True
    )


@pytest.fixture
def team(provider: IdentityProvider) -> Group:
    return Group.objects.create(provider=provider, name="approvers")


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example/mcp", now=NOW)


def principal(name: str, kind: str = "human", **values: Any) -> Principal:
    row = principal_ensure(issuer=ISSUER, subject=name, kind=kind, now=NOW)
    Principal.objects.filter(pk=row.pk).update(**values)
    return Principal.objects.get(pk=row.pk)


def person(name: str, role: str | None = RoleGrant.Role.APPROVER, **values: Any) -> User:
    user = User(username=name, is_staff=True, **values)
    # As everybody who comes from an identity provider: the account is none of those with a password.
    user.set_unusable_password()
    user.save()
    if role is not None:
        RoleGrant.objects.create(user=user, role=role)
    return User.objects.get(pk=user.pk)


def hold(
    orders: Connection, subject: str = "alice", *, stages: Any = None, now: datetime = NOW, **terms: Any
) -> ApprovalRequest:
    if stages is not None or terms:
        rule = services.approval_rule_save(name="rule", stages=stages or [{"name": "team"}], **terms, now=NOW)
        services.guardrail_save(name="refunds wait", effect="hold", approval_rule=rule, now=NOW)
    if not Principal.objects.filter(subject=subject).exists():
        principal(subject)
    call = services.HeldCall(
        issuer=ISSUER, subject=subject, client_id="", client_name="", client_version="", user_agent="", address="",
        connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund",
        arguments={"id": 1}, masked_count=0, arguments_sha256=bytes(32), binding=secrets.token_bytes(32), body=b"{}",
        rule_name="refunds wait",
    )  # fmt: skip
    return services.request_open(held=call, now=now)


def decide(
    row: ApprovalRequest, user: User, *, groups: frozenset[int] = frozenset(), now: datetime = NOW, approve: bool = True
) -> ApprovalRequest:
    deciding = Deciding(user=User.objects.get(pk=user.pk), groups=groups)
    return services.request_decide(request_id=row.pk, deciding=deciding, approve=approve, reason="seen", now=now)


def away(delegator: User, delegate: User, *, since: datetime = NOW, days: int = 2) -> ApprovalDelegation:
    return services.delegation_save(
        delegator=delegator, delegate=delegate, starts_at=since, ends_at=since + timedelta(days=days), now=since
    )


def stop(**target: Any) -> None:
    kind = next(iter(target))
    lock_place(kind=kind, **target, reason="left", source="console", now=NOW)


def assert_held(row: ApprovalRequest) -> None:
    row.refresh_from_db()
    assert row.state == "held"
    assert not row.decisions.filter(verdict__in=["approve", "deny", "break_glass"]).exists()


SELF = {
    "the principal": "alice",
    "the owner of the machine": "boss",
    "an administrator who asked": "alice",
    "an administrator who owns the machine": "boss",
    "a machine of the human who asked": "helper of alice",
    "another machine of the same owner": "second robot",
}


@pytest.mark.parametrize("way", ["decide", "break glass", "as a delegate", "handed over"])
@pytest.mark.parametrize("who", SELF)
def test_nobody_decides_what_they_or_their_machines_asked_for(
    provider: IdentityProvider, orders: Connection, who: str, way: str
) -> None:
    boss = principal("boss")
    asks_human = who in {"the principal", "an administrator who asked", "a machine of the human who asked"}
    alice = principal("alice") if asks_human else principal("robot", "machine", owner=boss)
    own = {
        "alice": alice, "boss": boss,
        "helper of alice": principal("helper", "machine", owner=alice) if asks_human else None,
        "second robot": principal("robot 2", "machine", owner=boss),
    }[SELF[who]]  # fmt: skip
    user = person("self", RoleGrant.Role.OWNER, principal=own, is_superuser=who.startswith("an administrator"))
    row, grace = hold(orders, alice.subject), person("grace")
    match way:
        case "decide":
            with pytest.raises(OwnRequest):
                decide(row, user)
        case "break glass":
            with pytest.raises(OwnRequest):
                services.request_break_glass(request_id=row.pk, deciding=Deciding(user=user), reason="now", now=NOW)
        case "as a delegate":
            away(grace, user)
            with pytest.raises(OwnRequest):
                decide(row, user)
        case "handed over":
            with pytest.raises(OwnRequest):
                services.request_hand_over(request_id=row.pk, deciding=Deciding(user=grace), to=user, now=NOW)
    assert_held(row)


def test_groups_are_those_of_the_decision_and_not_those_of_the_request(
    provider: IdentityProvider, team: Group, orders: Connection
) -> None:
    row, user = hold(orders, stages=[{"name": "team", "groups": [team.pk]}]), person("late")
    with pytest.raises(NotAnApprover):
        decide(row, user)
    assert_held(row)
    # Who has joined since may decide (H3: evaluated at decision time), and who has left may not.
    assert decide(row, user, groups=frozenset({team.pk})).state == "approved"
    with pytest.raises(NotAnApprover):
        decide(hold(orders), user, groups=frozenset())


STOPPED = ["disabled", "role taken", "principal locked", "group locked", "provider locked", "provider off"]


def make_stopped(how: str, user: User, team: Group, provider: IdentityProvider) -> None:
    match how:
        case "disabled":
            User.objects.filter(pk=user.pk).update(is_active=False)
        case "role taken":
            RoleGrant.objects.filter(user=user).delete()
        case "principal locked":
            stop(principal=user.principal)
        case "group locked":
            stop(group=team)
        case "provider locked":
            stop(provider=provider)
        case "provider off":
            IdentityProvider.objects.filter(pk=provider.pk).update(is_active=False)


@pytest.mark.parametrize("how", STOPPED)
def test_who_has_been_stopped_since_decides_nothing(
    provider: IdentityProvider, team: Group, orders: Connection, how: str
) -> None:
    user = person("grace", principal=principal("grace"))
    row = hold(orders, stages=[{"name": "team", "users": [user.pk]}])
    make_stopped(how, user, team, provider)
    with pytest.raises(NotAnApprover):
        decide(row, user, groups=frozenset({team.pk}))
    assert_held(row)


def test_a_login_that_was_ended_decides_nothing_with_the_next_request(orders: Connection) -> None:
    row, grace = hold(orders), person("grace")
    ApprovalRequest.objects.filter(pk=row.pk).update(expires_at=timezone.now() + DAY)
    client = Client()
    client.force_login(grace)
    assert client.get(f"/inbox/{row.code}/").status_code == 200
    ConsoleSession.objects.filter(user=grace).update(ended_at=timezone.now())
    answer = client.post(f"/inbox/{row.code}/act/", {"action": "approve"})
    assert answer.headers["Location"].startswith("/admin/login/")
    assert client.post(f"/api/v1/approvals/{row.pk}/decide/", {"approve": True}).status_code in {401, 403}
    assert_held(row)


def test_nobody_decides_a_request_whose_time_is_over(orders: Connection) -> None:
    row = hold(orders)
    with pytest.raises(NotPending):
        decide(row, person("grace"), now=row.expires_at)
    assert_held(row)


def test_a_delegate_decides_for_somebody_and_the_record_says_for_whom(orders: Connection) -> None:
    grace, heidi = person("grace"), person("heidi")
    row = hold(orders, stages=[{"name": "team", "users": [grace.pk]}])
    with pytest.raises(NotAnApprover):
        decide(row, heidi)
    away(grace, heidi)
    assert decide(row, heidi).state == "approved"
    decision = row.decisions.get()
    assert (decision.user, decision.behalf_of) == (heidi, grace)


def test_a_delegate_has_the_groups_that_the_directory_says_and_no_others(
    provider: IdentityProvider, team: Group, orders: Connection
) -> None:
    named = principal("grace")
    grace, heidi = person("grace", principal=named), person("heidi")
    row = hold(orders, stages=[{"name": "team", "groups": [team.pk]}])
    away(grace, heidi)
    with pytest.raises(NotAnApprover):
        decide(row, heidi)
    known = ScimUser.objects.create(provider=provider, user_name="grace", principal=named, is_active=True)
    ScimMember.objects.create(user=known, group=team)
    assert decide(row, heidi).state == "approved"


DELEGATION = [
    "not yet", "over", "ended", "delegator asked", "delegator owns the machine", "chain", "delegate has no role",
    "delegate locked", "delegate disabled", "delegator not named", "delegator has decided", "delegate has decided",
    "a delegate is no member of the staff", *(f"delegator {how}" for how in STOPPED if how != "group locked"),
]  # fmt: skip


@pytest.mark.parametrize("how", DELEGATION)
def test_a_delegation_that_does_not_hold_lets_nobody_decide(
    provider: IdentityProvider, team: Group, orders: Connection, how: str
) -> None:
    alice, boss = principal("alice"), principal("boss")
    robot = principal("robot", "machine", owner=boss)
    whose = {"delegator asked": alice, "delegator owns the machine": boss}.get(how, principal("grace"))
    grace, heidi, ivan = person("grace", principal=whose), person("heidi", principal=principal("heidi")), person("ivan")
    subject = "robot" if how == "delegator owns the machine" else "alice"
    needed = 2 if how.endswith("has decided") else 1
    names = [grace.pk] if how != "delegator not named" else [ivan.pk]
    both = [*names, heidi.pk] if how.endswith("has decided") else names
    row = hold(orders, subject, stages=[{"name": "team", "users": both, "needed": needed}])
    row_of_delegation = away(grace, heidi)
    now, decider = NOW, heidi
    expected: type[Exception] = NotAnApprover
    match how:
        case "not yet":
            now = NOW - timedelta(seconds=1)
        case "over":
            now = NOW + timedelta(days=2)
            ApprovalRequest.objects.filter(pk=row.pk).update(expires_at=NOW + timedelta(days=9))
        case "ended":
            services.delegation_end(delegation_id=row_of_delegation.pk, by=grace, now=NOW)
        case "chain":
            away(heidi, ivan)
            decider = ivan
        case "delegate has no role":
            RoleGrant.objects.filter(user=heidi).delete()
        case "delegate locked":
            stop(principal=heidi.principal)
        case "delegate disabled":
            User.objects.filter(pk=heidi.pk).update(is_active=False)
        case "delegator has decided":
            decide(row, grace)
            ApprovalDelegation.objects.exclude(pk=row_of_delegation.pk).delete()
            row.decisions.get()
            # The delegate may decide for herself, being named, and counts as herself.
            assert decide(row, heidi).state == "approved"
            assert [d.behalf_of for d in row.decisions.all()] == [None, None]
            return
        case "delegate has decided":
            decide(row, heidi)
            expected = DecidedAlready
        case "a delegate is no member of the staff":
            RoleGrant.objects.filter(user=heidi).delete()
            User.objects.filter(pk=heidi.pk).update(is_staff=False)
        case _ if how.removeprefix("delegator ") in STOPPED:
            make_stopped(how.removeprefix("delegator "), grace, team, provider)
    assert robot.owner == boss
    before = row.decisions.count()
    with pytest.raises(expected):
        decide(row, decider, now=now)
    row.refresh_from_db()
    assert (row.state, row.decisions.count()) == ("held", before)


def test_a_delegate_and_the_person_they_stand_for_are_one_of_two(orders: Connection) -> None:
    grace, heidi, ivan = person("grace"), person("heidi"), person("ivan")
    row = hold(orders, stages=[{"name": "team", "users": [grace.pk, ivan.pk], "needed": 2}])
    away(grace, heidi)
    assert decide(row, heidi).state == "held"
    for somebody in (heidi, grace):
        with pytest.raises(DecidedAlready):
            decide(row, somebody)
    assert decide(row, ivan).state == "approved"


def test_what_a_delegate_approved_is_void_when_the_person_they_stood_for_is_disabled(orders: Connection) -> None:
    grace, heidi = person("grace"), person("heidi")
    row = hold(orders, stages=[{"name": "team", "users": [grace.pk]}])
    away(grace, heidi)
    decide(row, heidi)
    User.objects.filter(pk=grace.pk).update(is_active=False)
    given = {"binding": bytes(row.binding), "call_id": uuid4(), "instance_id": uuid4()}
    assert services.use_claim(request_id=row.pk, **given, now=NOW) is None


@pytest.mark.parametrize("how", ["oneself", "no approver", "over", "backwards", "too long", "twice", "too many"])
def test_a_delegation_that_makes_no_sense_is_refused_with_its_field(how: str) -> None:
    grace, heidi = person("grace"), person("heidi")
    values: dict[str, Any] = {"delegate": heidi, "starts_at": NOW, "ends_at": NOW + DAY}
    match how:
        case "oneself":
            values["delegate"] = grace
        case "no approver":
            values["delegate"] = person("v", "viewer")
        case "over":
            values |= {"starts_at": NOW - 2 * DAY, "ends_at": NOW - DAY}
        case "backwards":
            values |= {"starts_at": NOW + 2 * DAY}
        case "too long":
            values |= {"ends_at": NOW + 91 * DAY}
        case "twice":
            away(grace, heidi)
        case "too many":
            for number in range(5):
                away(grace, person(f"p{number}"))
    with pytest.raises(ValidationError):
        services.delegation_save(delegator=grace, **values, now=NOW)


def test_who_decides_nothing_has_nothing_to_delegate() -> None:
    with pytest.raises(NotAnApprover):
        away(person("v", "viewer"), person("grace"))


def test_an_escalation_lets_its_people_decide_and_is_a_row_of_the_record(orders: Connection) -> None:
    grace, boss, other = person("grace"), person("boss"), person("other")
    row = hold(
        orders, stages=[{"name": "team", "users": [grace.pk]}], escalate_seconds=60, escalate_to={"users": [boss.pk]}
    )
    assert services.requests_escalate(now=NOW + timedelta(seconds=59)) == []
    with pytest.raises(NotAnApprover):
        decide(row, boss, now=NOW + timedelta(seconds=61))
    assert services.requests_escalate(now=NOW + timedelta(seconds=61)) == [row.pk]
    assert services.requests_escalate(now=NOW + timedelta(seconds=62)) == []
    note = row.decisions.get()
    assert (note.verdict, note.user, note.reason) == ("escalate", None, "nobody decided within 60 seconds")
    with pytest.raises(NotAnApprover):
        decide(row, other, now=NOW + timedelta(seconds=63))
    assert decide(row, boss, now=NOW + timedelta(seconds=63)).state == "approved"


def broken(orders: Connection, breaker: User, subject: str = "alice", *, now: datetime = NOW) -> ApprovalRequest:
    row = hold(orders, subject, now=now)
    return services.request_break_glass(request_id=row.pk, deciding=Deciding(user=breaker), reason="down", now=now)


def review(row: ApprovalRequest, user: User, *, comment: str = "looked") -> ApprovalRequest:
    return services.request_review(
        request_id=row.pk, deciding=Deciding(user=User.objects.get(pk=user.pk)), is_justified=True, comment=comment,
        now=NOW,
    )  # fmt: skip


REVIEWERS = [
    "the breaker", "a second account of the breaker", "the requester", "the owner", "a viewer", "disabled", "locked",
]  # fmt: skip


@pytest.mark.parametrize("who", REVIEWERS)
def test_who_is_no_second_person_reviews_nothing(provider: IdentityProvider, orders: Connection, who: str) -> None:
    boss, me = principal("boss"), principal("olga")
    principal("robot", "machine", owner=boss)
    robot = Principal.objects.get(subject="robot")
    olga = person("olga", RoleGrant.Role.OWNER, principal=me)
    row = broken(orders, olga, "robot")
    match who:
        case "the breaker":
            user = olga
        case "a second account of the breaker":
            user = person("olga 2", principal=principal("olga's robot", "machine", owner=me))
        case "the requester":
            user = person("r", principal=robot)
        case "the owner":
            user = person("b", principal=boss)
        case "a viewer":
            user = person("v", "viewer")
        case "disabled":
            user = person("d", is_active=False)
        case _:
            user = person("l", principal=principal("locked"))
            stop(principal=user.principal)
    with pytest.raises((NotAnApprover, OwnRequest)):
        review(row, user)
    if who != "locked":
        assert services.reviews_due(user=user) == []
    assert not row.decisions.filter(verdict="review").exists()


def test_a_second_person_reviews_once_with_a_comment(orders: Connection) -> None:
    olga, grace = person("olga", RoleGrant.Role.OWNER), person("grace")
    usual = hold(orders)
    with pytest.raises(NothingToReview):
        review(usual, grace)
    row = broken(orders, olga)
    assert [decision.request for decision in services.reviews_due(user=grace)] == [row]
    with pytest.raises(ReasonNeeded):
        review(row, grace, comment=" \u200b")
    review(row, grace)
    note = row.decisions.get(verdict="review")
    assert (note.user, note.finding, note.reason) == (grace, "justified", "looked")
    with pytest.raises(NothingToReview):
        review(row, person("heidi"))
    assert services.reviews_due(user=grace) == []


def test_a_review_is_overdue_after_a_day(orders: Connection) -> None:
    row = broken(orders, person("olga", RoleGrant.Role.OWNER))
    assert not services.reviews_overdue(now=NOW + DAY - timedelta(seconds=1)).exists()
    assert [decision.request for decision in services.reviews_overdue(now=NOW + DAY)] == [row]
    review(row, person("grace"))
    assert not services.reviews_overdue(now=NOW + DAY).exists()


def test_an_overdue_review_is_said_in_the_log_on_the_first_page_and_in_the_report(
    orders: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    olga, grace = person("olga", RoleGrant.Role.OWNER), person("grace")
    long_ago = timezone.now() - 2 * DAY
    row = broken(orders, olga, now=long_ago)
    watch_reviews()
    assert [record.codes for record in caplog.records if hasattr(record, "codes")] == [[row.code]]
    assert "1, 1 overdue" in api(grace).get("/admin/").content.decode()
    period = Period(long_ago, long_ago + DAY)
    assert approvals(period)["emergencies"] == {"all": 1, "unreviewed": 1}
    review(row, grace)
    assert approvals(period)["emergencies"] == {"all": 1, "unreviewed": 0, "justified": 1}
    caplog.clear()
    watch_reviews()
    assert not caplog.records


def test_what_was_said_cannot_be_changed_and_there_is_an_end_to_it(orders: Connection) -> None:
    row, grace = hold(orders), person("grace")
    for number in range(50):
        services.question_ask(request_id=row.pk, deciding=Deciding(user=grace), text=f"{number}" * 2000, now=NOW)
    assert max(len(text) for text in row.messages.values_list("text", flat=True)) == 1000
    with pytest.raises(TooManyMessages):
        services.question_ask(request_id=row.pk, deciding=Deciding(user=grace), text="more", now=NOW)
    for statement in ("UPDATE policies_approvalmessage SET text = 'x'", "DELETE FROM policies_approvalmessage"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert ApprovalMessage.objects.count() == 50


def test_an_expired_access_is_over_whatever_runs(orders: Connection) -> None:
    alice = principal("alice")
    services.approval_rule_save(
        name="access", stages=[{"name": "team"}], max_window_seconds=900, access_to=[orders], now=NOW
    )
    row = services.access_request(
        principal=alice, connection=orders, tools=["get_*"], seconds=600, justification="on call",
        by=person("a", None, principal=alice), now=NOW,
    )  # fmt: skip
    decide(row, person("grace"))
    grant = AccessGrant.objects.get()
    assert (grant.valid_from, grant.valid_until) == (NOW, NOW + timedelta(seconds=600))
    services.requests_expire(now=NOW + timedelta(seconds=600))
    row.refresh_from_db()
    assert (row.state, row.end_reason) == ("used", "the time of the access is over")


# The same over REST.


def api(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/api/v1/{path}", body, content_type="application/json")


def test_a_review_over_rest_is_of_a_second_person(orders: Connection) -> None:
    olga, grace = person("olga", RoleGrant.Role.OWNER), person("grace")
    row = broken(orders, olga)
    path = f"approvals/{row.pk}/review/"
    assert post(api(person("v", "viewer")), path, is_justified=True, comment="x").status_code in {403, 404}
    refused = post(api(olga), path, is_justified=True, comment="x")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_an_approver")
    shown = post(api(grace), path, is_justified=False, comment="could have waited").json()
    assert [(d["verdict"], d["finding"]) for d in shown["decisions"]] == [
        ("break_glass", ""),
        ("review", "not_justified"),
    ]


def test_questions_and_answers_over_rest(orders: Connection) -> None:
    row = hold(orders)
    ApprovalRequest.objects.filter(pk=row.pk).update(expires_at=timezone.now() + DAY)
    path = f"approvals/{row.pk}/say/"
    alice = person("a", "viewer", principal=Principal.objects.get(subject="alice"))
    assert post(api(person("grace")), path, text="which?").status_code == 200
    shown = post(api(alice), path, text="4711").json()
    assert [(m["kind"], m["text"]) for m in shown["messages"]] == [("question", "which?"), ("answer", "4711")]
    assert post(api(person("v", "viewer")), path, text="me too").status_code == 404
    assert post(api(person("u", "auditor")), path, text="me too").status_code == 403


def test_delegations_over_rest_are_ones_own() -> None:
    grace, heidi = person("grace"), person("heidi")
    until = (timezone.now() + DAY).isoformat()
    made = post(api(grace), "approval-delegations/", delegate=heidi.pk, ends_at=until)
    assert made.status_code == 201, made.json()
    assert (
        post(api(person("v", "viewer")), "approval-delegations/", delegate=heidi.pk, ends_at=until).status_code == 403
    )
    path = f"approval-delegations/{made.json()['id']}/end/"
    assert post(api(person("mallory")), path).status_code == 404
    assert post(api(heidi), path).json()["ended_by"] == heidi.pk
