"""Who may decide what, asked of the database for many requests at once: the same answer as the rule gives for each."""

from __future__ import annotations

import random
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import Principal, RoleGrant, User
from accounts.services import principal_ensure
from connections.models import Connection
from connections.services import connection_save
from policies import eligibility, inbox, services
from policies.models import ApprovalDecision, ApprovalRequest
from policies.services import Deciding

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"
CASES = 300
HOUR = timedelta(hours=1)


@pytest.fixture
def people() -> list[User]:
    found = []
    for number, name in enumerate(["grace", "heidi", "ivan", "judy"]):
        user = User.objects.create(username=name, is_staff=True)
        if number < 3:
            user.principal = principal_ensure(issuer=ISSUER, subject=name, kind="human", now=NOW)
            user.set_password("correct horse battery")
            user.save()
        RoleGrant.objects.create(user=user, role="approver")
        found.append(User.objects.get(pk=user.pk))
    return found


@pytest.fixture
def places(people: list[User]) -> list[Connection]:
    made = [
        connection_save(slug=f"c{number}", name=f"C{number}", upstream_url=f"https://c{number}.example/mcp", now=NOW)
        for number in range(2)
    ]
    made[0].owners.add(people[0])
    made[1].owners.add(people[1], people[3])
    return made


@pytest.fixture
def principals(people: list[User]) -> list[Principal]:
    robot = principal_ensure(issuer=ISSUER, subject="robot", kind="machine", now=NOW)
    robot.owner = people[0].principal
    robot.save()
    stranger = principal_ensure(issuer=ISSUER, subject="stranger", kind="human", now=NOW)
    return [robot, stranger, *(user.principal for user in people if user.principal is not None)]


def some_stage(dice: random.Random, people: list[User]) -> Any:
    if dice.random() < 0.05:
        return dice.choice([{}, "x", {"name": "", "needed": 0}, {"name": "x", "groups": 7}, None])
    stage: dict[str, Any] = {"name": "s", "needed": 1}
    if dice.random() < 0.5:
        stage["groups"] = dice.sample(range(1, 8), dice.randint(0, 3))
    if dice.random() < 0.4:
        stage["users"] = [user.pk for user in dice.sample(people, dice.randint(0, 2))]
    if dice.random() < 0.3:
        stage["owners"] = dice.random() < 0.8
    return stage


def some_request(dice: random.Random, people: list[User], places: list[Connection], who: list[Principal]) -> None:
    stages = [some_stage(dice, people) for _ in range(dice.randint(1, 3))]
    escalation = dice.choice(
        [{}, {"groups": [dice.randint(1, 7)]}, {"users": [dice.choice(people).pk]}, {"groups": []}]
    )
    request = ApprovalRequest.objects.create(
        code=f"APR-{secrets.token_hex(4)}", principal=dice.choice(who), connection=dice.choice(places), name="refund",
        binding=secrets.token_bytes(32), stages=dice.choice([stages, stages, stages, [], {"a": 1}])
        if dice.random() < 0.1 else stages, stage=dice.randrange(len(stages) + 1), terms={"escalate_to": escalation},
        escalated_at=NOW if dice.random() < 0.3 else None, opened_at=NOW, expires_at=NOW + HOUR,
    )  # fmt: skip
    for _ in range(dice.choice([0, 0, 1, 2])):
        user, other = dice.sample(people, 2)
        verdict = dice.choice(["approve", "hand_over", "deny"])
        stage = dice.randrange(2)
        if request.decisions.filter(user=user, stage=stage, verdict="approve").exists():
            continue
        ApprovalDecision.objects.create(
            request=request, user=user, verdict=verdict, stage=stage,
            to_user=other if verdict == "hand_over" else None,
            behalf_of=other if verdict == "approve" and dice.random() < 0.3 else None,
        )  # fmt: skip


def test_the_database_finds_what_the_rule_allows(
    people: list[User], places: list[Connection], principals: list[Principal]
) -> None:
    dice = random.Random(7)
    for _ in range(CASES):
        some_request(dice, people, places, principals)
    services.delegation_save(
        delegator=people[1], delegate=people[0], starts_at=NOW - HOUR, ends_at=NOW + HOUR, now=NOW - HOUR
    )
    rows = ApprovalRequest.objects.all()
    asked = found = 0
    for user in people:
        for groups in [frozenset(), frozenset({2, 5}), frozenset(range(1, 8))]:
            deciding = Deciding(user=user, groups=groups)
            desk = services.desk_of(deciding, now=NOW)
            expected = {row.pk for row in rows if services.why_not(row, deciding, now=NOW) is None}
            given = set(eligibility.decidable(rows, desk).values_list("pk", flat=True))
            assert given - expected <= {row.pk for row in rows if not is_readable(row)}
            assert expected - given <= {row.pk for row in rows if not is_readable(row)}
            asked, found = asked + len(rows), found + len(expected)
    # Neither side may win by saying always the same.
    assert asked * 0.1 < found < asked * 0.9


def is_readable(row: ApprovalRequest) -> bool:
    try:
        inbox.approving.read_stages(row.stages)
    except inbox.approving.StagesRefused:
        return False
    return True


def test_what_names_a_group_of_mine_is_found_also_when_i_may_not_decide_it(
    people: list[User], places: list[Connection], principals: list[Principal]
) -> None:
    def made(**values: Any) -> ApprovalRequest:
        return ApprovalRequest.objects.create(
            code=f"APR-{secrets.token_hex(4)}", principal=principals[1], connection=places[0], name="refund",
            binding=secrets.token_bytes(32), opened_at=NOW, expires_at=NOW + HOUR, **values,
        )  # fmt: skip

    mine = made(stages=[{"name": "sre", "groups": [3]}])
    approved = made(stages=[{"name": "sre", "needed": 2, "groups": [3]}])
    ApprovalDecision.objects.create(request=approved, user=people[2], verdict="approve")
    made(stages=[{"name": "anybody"}])
    made(stages=[{"name": "others", "groups": [4]}])
    desk = services.desk_of(Deciding(user=people[2], groups=frozenset({3})), now=NOW)
    rows = ApprovalRequest.objects.all()
    assert set(eligibility.named(rows, desk)) == {mine, approved}
    assert mine in set(eligibility.decidable(rows, desk))
    assert approved not in set(eligibility.decidable(rows, desk))


def test_what_has_escalated_waits_for_those_it_escalates_to_and_for_nobody_else(
    people: list[User], places: list[Connection], principals: list[Principal]
) -> None:
    request = ApprovalRequest.objects.create(
        code="APR-222222", principal=principals[1], connection=places[0], name="refund", terms={
            "escalate_to": {"groups": [6]}}, binding=secrets.token_bytes(32), opened_at=NOW, expires_at=NOW + HOUR,
        stages=[{"name": "others", "groups": [4]}], escalated_at=NOW,
    )  # fmt: skip
    for groups, is_theirs in [({6}, True), ({7}, False), (set(), False)]:
        desk = services.desk_of(Deciding(user=people[3], groups=frozenset(groups)), now=NOW)
        page = inbox.page(user=people[3], desk=desk, tab="mine", filters=inbox.Filters(), now=NOW)
        assert [row.request.pk for row in page.rows] == ([request.pk] if is_theirs else [])
