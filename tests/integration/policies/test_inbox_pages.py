"""The pages of the inbox: what each shows to whom, and what a form of it does."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Principal, RoleGrant, User
from accounts.services import principal_ensure
from connections.models import Connection
from connections.services import connection_save
from policies import inbox, inbox_figures, services
from policies.models import ApprovalDecision, ApprovalRequest, ApprovalView
from policies.services.inbox_filters import MOST_FILTERS, inbox_filter_save
from policies.templatetags.inbox import code_points, span

pytestmark = pytest.mark.django_db
ISSUER = "https://idp.test.example"


@pytest.fixture
def alice() -> Principal:
    return principal_ensure(issuer=ISSUER, subject="alice", kind="human", display_name="Alice", now=timezone.now())


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=timezone.now())


@pytest.fixture
def held(alice: Principal, orders: Connection) -> Any:
    def make(**values: Any) -> ApprovalRequest:
        call = {
            "issuer": ISSUER, "subject": "alice", "client_id": "", "client_name": "claude-code", "client_version": "2",
            "user_agent": "", "address": "192.0.2.7", "connection_id": orders.pk, "session_id": None,
            "call_id": uuid4(), "method": "tools/call", "name": "refund", "arguments": {"id": 1}, "masked_count": 0,
            "arguments_sha256": bytes(32), "binding": secrets.token_bytes(32), "body": b"{}",
            "rule_name": "refunds wait", **values,
        }  # fmt: skip
        return services.request_open(held=services.HeldCall(**call), now=timezone.now())

    return make


@pytest.fixture(autouse=True)
def _room(settings: Any) -> None:
    settings.WARDGATE_APPROVALS_PER_PRINCIPAL = settings.WARDGATE_APPROVALS_PER_CONNECTION = 500


def person(name: str, role: str = "approver", **values: Any) -> User:
    user = User.objects.create(username=name, is_staff=True, **values)
    RoleGrant.objects.create(user=user, role=role)
    return User.objects.get(pk=user.pk)


@pytest.fixture
def grace() -> User:
    return person("grace")


@pytest.fixture
def browser(grace: User) -> Client:
    made = Client()
    made.force_login(grace, backend="accounts.backends.LocalBackend")
    return made


def rule(stages: list[dict[str, Any]], **values: Any) -> None:
    made = services.approval_rule_save(name="rule", stages=stages, **values, now=timezone.now())
    services.guardrail_save(name="refunds wait", effect="hold", approval_rule=made, now=timezone.now())


def told(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def act(browser: Client, request: ApprovalRequest, **given: Any) -> str:
    request.refresh_from_db()
    values = {"seen_at": request.changed_at.isoformat(), **given}
    return told(browser.post(f"/inbox/{request.code}/act/", values))


def codes(browser: Client, query: str = "") -> list[str]:
    page = browser.get(f"/inbox/?{query}", headers={"X-Wardgate-Part": "list"})
    return [line.request.code for line in page.context["rows"]]


class TestTabs:
    """Which requests are where."""

    def test_each_tab_has_its_own_and_says_how_many(self, browser: Client, held: Any, grace: User) -> None:
        rule([{"name": "others", "users": [person("heidi").pk]}])
        others = held()
        services.guardrail_save(name="open", effect="hold", now=timezone.now())
        mine = held(rule_name="open")
        done = held(rule_name="open")
        act(browser, done, action="deny", reason="no")
        page = browser.get("/inbox/")
        assert page.context["counts"] == {"mine": 1, "groups": 0, "all": 2}
        assert codes(browser) == [mine.code]
        assert codes(browser, "tab=all") == [others.code, mine.code]
        assert codes(browser, "tab=history") == [done.code]
        assert codes(browser, "tab=own") == []
        assert "(1) Inbox" in page.content.decode()

    def test_what_a_group_of_mine_is_asked_is_in_its_tab(self, browser: Client, held: Any, grace: User) -> None:
        rule([{"name": "sre", "needed": 2, "users": [grace.pk, person("heidi").pk]}])
        request = held()
        assert codes(browser, "tab=groups") == [request.code]
        assert "your approval counts" in act(browser, request, action="approve")
        assert codes(browser) == []
        assert codes(browser, "tab=groups") == [request.code]
        page = browser.get(f"/inbox/{request.code}/").content.decode()
        assert "1 of 2, waiting for sre" in page
        assert "1 of 2</span>" in page
        assert "approved by grace" in page

    @pytest.mark.parametrize(
        ("query", "is_found"),
        [
            ("risk=high", False),
            ("risk=medium", True),
            ("tool=refund", True),
            ("tool=ref*", True),
            ("tool=ref", False),
            ("connection=orders", True),
            ("connection=other", False),
            ("rule=refunds+wait", True),
            ("rule=%00", False),
            ("requester=ALI", True),
            ("requester=bob", False),
            ("risk=medium&tool=refund&requester=bob", False),
        ],
    )
    def test_a_filter_stands_in_the_address(self, browser: Client, held: Any, query: str, is_found: bool) -> None:
        request = held()
        assert codes(browser, f"tab=all&{query}") == ([request.code] if is_found else [])

    def test_a_filter_is_kept_under_a_name_and_forgotten(self, browser: Client, held: Any, grace: User) -> None:
        held()
        answer = browser.post(
            "/inbox/filters/", {"name": "Refunds\u202e ", "tab": "all", "tool": "refund"}, follow=True
        )
        assert answer.redirect_chain[-1][0] == "/inbox/?tab=all&tool=refund"
        kept = grace.inbox_filters.get()
        assert (kept.name, kept.query) == ("Refunds", "tab=all&tool=refund")
        assert "Forget “Refunds”" in answer.content.decode()
        browser.post("/inbox/filters/", {"name": "Refunds", "action": "forget"})
        assert not grace.inbox_filters.exists()

    def test_filters_of_others_are_nobodys(self, browser: Client, grace: User) -> None:
        heidi = person("heidi")
        inbox_filter_save(user=heidi, name="hers", query="tab=all", now=timezone.now())
        assert "hers" not in browser.get("/inbox/").content.decode()
        browser.post("/inbox/filters/", {"name": "hers", "action": "forget"})
        assert heidi.inbox_filters.exists()
        for number in range(MOST_FILTERS + 1):
            answer = browser.post("/inbox/filters/", {"name": f"f{number}", "tool": "x"})
        assert "Forget one first" in told(answer)

    @pytest.mark.parametrize("tab", ["mine", "all", "history", "own"])
    def test_every_request_is_on_one_page_and_no_more(
        self, browser: Client, held: Any, grace: User, alice: Principal, tab: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox, "PAGE", 4)
        made = {held().code for _ in range(11)}
        # Those of one moment are told apart by their ids.
        ApprovalRequest.objects.update(opened_at=timezone.now(), changed_at=timezone.now())
        if tab == "history":
            ApprovalRequest.objects.update(state="cancelled")
        if tab == "own":
            User.objects.filter(pk=grace.pk).update(principal=alice)
        found: list[str] = []
        query = f"tab={tab}"
        for _ in range(5):
            page = browser.get(f"/inbox/?{query}")
            found += [line.request.code for line in page.context["rows"]]
            query = page.context["following"]
            if not query:
                break
        assert len(found) == 11
        assert set(found) == made

    @pytest.mark.parametrize("after", ["x", "_", "2026-01-01_x", "2026-99-99T00:00:00+00:00_" + "0" * 32, "\x00"])
    def test_a_place_that_is_none_is_the_first_page(self, browser: Client, held: Any, after: str) -> None:
        request = held()
        assert codes(browser, f"tab=all&after={after}") == [request.code]

    def test_more_than_can_be_counted_is_said_as_such(
        self, browser: Client, held: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox, "MOST_COUNTED", 2)
        for _ in range(4):
            held()
        page = browser.get("/inbox/?tab=all")
        assert page.context["counts"]["all"] == 3
        assert "2+" in page.content.decode()


class TestOne:
    """One request, and the decision about it."""

    def test_one_s_own_request_is_shown_with_the_reason(
        self, browser: Client, held: Any, grace: User, alice: Any
    ) -> None:
        User.objects.filter(pk=grace.pk).update(principal=alice)
        request = held()
        page = browser.get(f"/inbox/{request.code}/").content.decode()
        assert "You cannot decide this" in page
        assert "asked for by you" in page
        assert 'value="approve"' not in page
        assert "asked for by you" in act(browser, request, action="approve")

    def test_what_is_decided_keeps_exactly_what_was_seen_by_whom_and_who_else_looked(
        self, browser: Client, held: Any, grace: User
    ) -> None:
        request = held(arguments={"to": "x\u202ey", "n": 1.0})
        page = browser.get(f"/inbox/{request.code}/").content.decode()
        act(browser, request, action="approve")
        decision = ApprovalDecision.objects.get()
        view = json.loads(decision.view)
        assert bytes(decision.view_sha256) == hashlib.sha256(decision.view.encode()).digest()
        assert view["arguments"] == {"to": "x\u202ey", "n": 1.0}
        assert view["unseen"] == 1
        assert view["page"] == "request"
        assert view["binding"] == bytes(request.binding).hex()
        assert view["risk"] == "medium"
        for value in (view["requester"], view["client"], view["address"], view["waits_for"], "U+202E"):
            assert value in page
        assert decision.authentication.startswith("test, proved")
        assert [(seen.user, seen.request) for seen in ApprovalView.objects.all()] == [(grace, request)]

    @pytest.mark.parametrize("seen_at", ["", "x", "2026-01-01T00:00:00+00:00", None])
    def test_what_was_not_seen_as_it_is_is_not_decided(self, browser: Client, held: Any, seen_at: str | None) -> None:
        request = held()
        given = {"action": "approve", **({} if seen_at is None else {"seen_at": seen_at})}
        answer = browser.post(f"/inbox/{request.code}/act/", given)
        assert "has changed since you looked" in told(answer)
        request.refresh_from_db()
        assert request.state == "held"

    @pytest.mark.parametrize(
        ("given", "uses", "minutes"),
        [
            ({"allow": "once", "uses": "5", "window_minutes": "20"}, 1, 15),
            ({"allow": "uses", "uses": "3", "window_minutes": "20"}, 3, 15),
            ({"allow": "window", "uses": "3", "window_minutes": "20"}, 5, 20),
        ],
    )
    def test_what_the_words_say_is_what_is_allowed(
        self, browser: Client, held: Any, given: dict[str, str], uses: int, minutes: int
    ) -> None:
        rule([{"name": "anybody"}], max_uses=5, max_window_seconds=3600)
        request = held()
        page = browser.get(f"/inbox/{request.code}/").content.decode()
        assert "This very call runs one time" in page
        assert "at most 5 times" in page
        act(browser, request, action="approve", **given)
        request.refresh_from_db()
        assert request.uses_allowed == uses
        assert request.usable_until - request.decided_at == timedelta(minutes=minutes)

    def test_more_than_the_rule_allows_is_refused(self, browser: Client, held: Any) -> None:
        request = held()
        assert "at most 1 uses" in act(browser, request, action="approve", allow="uses", uses="2")

    def test_whoever_comes_second_hears_who_was_first_and_it_is_no_error(self, browser: Client, held: Any) -> None:
        request = held()
        seen = request.changed_at.isoformat()
        heidi = services.Deciding(user=person("heidi"))
        services.request_decide(request_id=request.pk, deciding=heidi, approve=False, reason="no", now=timezone.now())
        answer = browser.post(f"/inbox/{request.code}/act/", {"action": "approve", "seen_at": seen})
        [message] = get_messages(answer.wsgi_request)
        assert message.level_tag == "warning"
        assert "rejected already by heidi" in str(message)
        assert "seconds ago" in browser.get(f"/inbox/{request.code}/").context["problem"]

    def test_a_question_is_asked_and_shown(self, browser: Client, held: Any) -> None:
        request = held()
        assert "your question is there" in act(browser, request, action="ask", text="Which <b>order</b>?\u202e")
        page = browser.get(f"/inbox/{request.code}/").content.decode()
        assert "Which &lt;b&gt;order&lt;/b&gt;?" in page

    def test_what_became_of_an_approval_is_shown(self, browser: Client, held: Any) -> None:
        request = held()
        act(browser, request, action="approve")
        assert "waiting for the agent to call again" in browser.get(f"/inbox/{request.code}/").content.decode()
        claimed = services.use_claim(
            request_id=request.pk, binding=bytes(request.binding), call_id=uuid4(), instance_id=uuid4(),
            now=timezone.now(),
        )  # fmt: skip
        assert claimed is not None
        assert "claimed, not begun" in browser.get(f"/inbox/{request.code}/").content.decode()

    def test_arguments_of_several_lines_are_shown_line_by_line_as_well(self, browser: Client, held: Any) -> None:
        request = held(arguments={"query": "DELETE\nFROM orders\u202e", "note": "one line"})
        found = browser.get(f"/inbox/{request.code}/")
        assert found.context["texts"] == [("query", "DELETE\nFROM orders\u202e")]
        assert "query, line by line" in found.content.decode()
        assert "\u202e" not in found.content.decode()

    def test_stages_that_cannot_be_read_show_a_page_and_let_nobody_decide(self, browser: Client, held: Any) -> None:
        request = held()
        ApprovalRequest.objects.update(stages={"a": 1})
        assert codes(browser, "tab=all") == [request.code]
        assert "You cannot decide this" in browser.get(f"/inbox/{request.code}/").content.decode()

    def test_it_is_handed_over_to_whoever_may_decide_however_they_got_the_permission(
        self, browser: Client, held: Any, grace: User
    ) -> None:
        request = held()
        User.objects.bulk_create(User(username=f"viewer-{number}", is_staff=True) for number in range(40))
        by_group = User.objects.create(username="by-group", role_names=["approver"])
        by_role, root = person("heidi"), User.objects.create_superuser("root")
        person("auditor", "auditor")
        User.objects.create(username="gone", role_names=["owner"], is_active=False)
        with CaptureQueriesContext(connection) as captured:
            page = browser.get(f"/inbox/{request.code}/", headers={"X-Wardgate-Part": "detail"})
        assert page.context["others"] == [by_group, by_role, root]
        assert len(captured) < 60
        assert "waits for heidi as well" in act(browser, request, action="hand_over", to=str(by_role.pk))


class TestTogether:
    """Several requests with one comment."""

    def test_those_of_one_rule_and_tool_are_shown_in_full_and_decided_each_by_itself(
        self, browser: Client, held: Any
    ) -> None:
        made = [held(arguments={"id": number, "text": f"t{number}" * 300}) for number in range(3)]
        page = browser.get("/inbox/together/", {"code": [request.code for request in made]}).content.decode()
        assert all(f"t{number}" * 300 in page for number in range(3))
        assert ApprovalView.objects.count() == 3
        heidi = services.Deciding(user=person("heidi"))
        seen = {f"seen_{request.code}": request.changed_at.isoformat() for request in made}
        services.request_decide(request_id=made[1].pk, deciding=heidi, approve=True, now=timezone.now())
        given = {"code": [request.code for request in made], "action": "deny", "reason": "not today", **seen}
        results = browser.post("/inbox/together/", given).context["results"]
        assert [(code, done) for code, _, done in results] == list(
            zip([request.code for request in made], [True, False, True], strict=True)
        )
        assert "approved already by heidi" in results[1][1]
        states = list(ApprovalRequest.objects.order_by("opened_at").values_list("state", flat=True))
        assert states == ["rejected", "approved", "rejected"]
        views = [json.loads(one.view) for one in ApprovalDecision.objects.filter(verdict="deny").order_by("at")]
        assert [(view["page"], view["arguments"]["id"]) for view in views] == [("together", 0), ("together", 2)]

    def test_another_tool_rule_or_connection_does_not_go_with_it(self, browser: Client, held: Any) -> None:
        first = held()
        for other in (held(name="delete"), held(rule_name="another"), held(method="prompts/get")):
            page = browser.get("/inbox/together/", {"code": [first.code, other.code]})
            assert "same rule and the same tool" in page.context["problem"]
            browser.post("/inbox/together/", {"code": [first.code, other.code], "action": "approve"})
        assert not ApprovalDecision.objects.exists()

    def test_high_risk_is_never_decided_together(self, browser: Client, held: Any) -> None:
        rule([{"name": "anybody"}], risk="high")
        made = [held() for _ in range(2)]
        page = browser.get("/inbox/").content.decode()
        assert 'type="checkbox"' not in page
        given = {"code": [request.code for request in made], "action": "approve"}
        given |= {f"seen_{request.code}": request.changed_at.isoformat() for request in made}
        assert "one at a time" in browser.post("/inbox/together/", given).context["problem"]
        assert not ApprovalDecision.objects.exists()

    def test_what_was_not_shown_is_not_decided(self, browser: Client, held: Any) -> None:
        made = [held() for _ in range(2)]
        given = {"code": [request.code for request in made], "action": "approve"}
        given[f"seen_{made[0].code}"] = made[0].changed_at.isoformat()
        results = browser.post("/inbox/together/", given).context["results"]
        assert [done for _, _, done in results] == [True, False]

    @pytest.mark.parametrize("given", [[], ["APR-NONE22"], ["x"] * 50])
    def test_nothing_is_nothing(self, browser: Client, given: list[str]) -> None:
        assert "Choose requests first" in browser.get("/inbox/together/", {"code": given}).context["problem"]

    def test_at_most_so_many(self, browser: Client, held: Any) -> None:
        made = [held().code for _ in range(inbox.MOST_TOGETHER + 1)]
        assert "At most 20" in browser.get("/inbox/together/", {"code": made}).context["problem"]

    def test_whoever_may_not_decide_one_decides_none(self, browser: Client, held: Any, grace: User) -> None:
        made = held()
        RoleGrant.objects.filter(user=grace).update(role="auditor")
        page = browser.get("/inbox/together/", {"code": made.code}).content.decode()
        assert "You may decide none of them" in page
        given = {"code": made.code, "action": "approve", f"seen_{made.code}": made.changed_at.isoformat()}
        [(_, sentence, is_done)] = browser.post("/inbox/together/", given).context["results"]
        assert not is_done
        assert "may not decide" in sentence


class TestFigures:
    """How soon people decide, and which rules make noise."""

    def test_they_are_of_each_rule_and_of_all(self, browser: Client, held: Any) -> None:
        now = timezone.now()
        for number, state in enumerate(["used", "used", "used", "rejected", "expired", "held"]):
            decided = now if state in {"used", "rejected"} else None
            ApprovalRequest.objects.filter(pk=held().pk).update(
                state=state, decided_at=decided, opened_at=now - timedelta(seconds=10 * (number + 1))
            )
        found = inbox_figures.figures(now=now)
        [one] = found["rules"]
        assert (one["asked"], one["approved"], one["rejected"], one["expired"], one["waiting"]) == (6, 3, 1, 1, 1)
        assert (one["noise"], one["expiry"]) == (75, 20)
        assert (one["p50"], one["p95"]) == (20_000_000, 40_000_000)
        assert {**one, "rule": None} == found["total"]
        page = browser.get("/inbox/figures/").content.decode()
        assert "refunds wait" in page
        assert "20.0 s" in page

    def test_without_requests_there_are_none(self, browser: Client) -> None:
        assert "Nobody has asked" in browser.get("/inbox/figures/").content.decode()

    def test_they_are_not_for_whoever_sees_only_their_own(self, browser: Client, grace: User) -> None:
        RoleGrant.objects.filter(user=grace).update(role="viewer")
        assert browser.get("/inbox/figures/").status_code == 403


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (3_600, "1 h 0 min"),
                          (86_399, "23 h 59 min"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_a_span_has_its_two_largest_units(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_code_points_leave_nothing_that_looks_like_something_else() -> None:
    assert code_points("p\u0430y\u202e") == "p[U+0430]y[U+202E]"


def test_the_time_of_a_page_is_that_of_the_request(held: Any, browser: Client) -> None:
    request = held()
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert codes(browser, "tab=all") == []
    page = browser.get(f"/inbox/{request.code}/")
    assert page.context["problem"] == "This request has expired."
    assert isinstance(page.context["row"].request.expires_at, datetime)
