"""What people do in Slack: the decisions of the inbox, and nothing that is forged, replayed or of somebody else."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import Lock, Principal, User
from accounts.services import lock_place
from policies import services
from policies.models import (
    ApprovalDecision,
    ApprovalRequest,
    ApprovalView,
    SlackCode,
    SlackIdentity,
    SlackMessage,
)
from policies.notices.slack_blocks import APPROVE, DENY, OPEN
from policies.notices.slack_signature import signature
from policies.services.slack_links import (
    CODE_SECONDS,
    CodeRefused,
    slack_code_make,
    slack_link,
    slack_link_end,
    slack_request_take,
)
from tests.integration.policies.notifying import decide, person, principal, rule
from tests.support.chats import TEAM, clicked, deny_sent, link_asked, link_sent

from .slack import CHANNEL, SIGNING, Workspace, linked

pytestmark = pytest.mark.django_db


def click(row: SlackMessage, action: str = APPROVE, **who: Any) -> dict[str, Any]:
    return clicked(action, str(row.pk), **{"channel": row.slack_channel, "ts": row.ts, **who})


def state(approval: ApprovalRequest) -> str:
    return str(ApprovalRequest.objects.get(pk=approval.pk).state)


@pytest.fixture
def grace() -> User:
    return person("grace")


class TestDeciding:
    def test_a_click_approves_once_and_keeps_exactly_what_slack_showed(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        identity = linked(grace)
        approval, row = workspace.asked()
        assert workspace.sends(click(row)).status_code == 200
        assert state(approval) == "approved"
        assert "approved, once" in workspace.ephemeral()
        decision = ApprovalDecision.objects.get(request=approval)
        assert (decision.user, decision.channel, decision.verdict) == (grace, "slack", "approve")
        assert (decision.uses, decision.window_seconds) == (1, 0)
        assert f"{TEAM}/U0GRACE" in decision.authentication
        assert f"{identity.linked_at:%Y-%m-%dT%H:%M:%SZ}" in decision.authentication
        posted = workspace.service.to("chat.postMessage")[-1].json
        view = json.loads(decision.view)
        assert view["slack"]["message"] == {"text": posted["text"], "blocks": posted["blocks"]}
        assert (view["slack"]["channel"], view["slack"]["ts"]) == (CHANNEL, row.ts)
        assert view["binding"] == bytes(approval.binding).hex()
        assert bytes(decision.view_sha256 or b"") == hashlib.sha256(decision.view.encode()).digest()
        assert ApprovalView.objects.filter(request=approval, user=grace).exists()
        workspace.told()
        assert "Approved" in workspace.service.to("chat.update")[-1].json["text"]

    def test_denying_asks_for_a_reason_first(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        workspace.sends(click(row, DENY))
        [opened] = workspace.service.to("views.open")
        assert opened.json["view"]["private_metadata"] == str(row.pk)
        assert state(approval) == "held"
        empty = workspace.sends(deny_sent(str(row.pk), "  \u200b "))
        assert empty.json()["response_action"] == "errors"
        assert state(approval) == "held"
        answer = workspace.sends(deny_sent(str(row.pk), "not\u202e today <!channel>"))
        assert answer.json()["view"]["title"]["text"] == "Denied"
        assert state(approval) == "rejected"
        decision = ApprovalDecision.objects.get(request=approval)
        assert (decision.verdict, decision.reason, decision.channel) == ("deny", "not today <!channel>", "slack")
        assert "slack" in json.loads(decision.view)

    def test_a_stale_click_says_who_decided(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        decide(approval, person("heidi"), now=timezone.now())
        assert workspace.sends(click(row)).status_code == 200
        assert "already by heidi" in workspace.ephemeral()
        workspace.sends(click(row, DENY))
        assert "already by heidi" in workspace.ephemeral()
        late = workspace.sends(deny_sent(str(row.pk), "no"))
        assert "already by heidi" in late.json()["view"]["blocks"][0]["text"]["text"]
        assert ApprovalDecision.objects.filter(request=approval).count() == 1

    def test_a_request_that_has_moved_is_shown_anew_and_not_decided(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        services.request_hand_over(
            request_id=approval.pk, deciding=services.Deciding(person("heidi")), to=grace, now=timezone.now()
        )
        workspace.sends(click(row))
        assert state(approval) == "held"
        assert "has changed" in workspace.ephemeral()
        update = workspace.service.to("chat.update")[-1].json
        assert update["ts"] == row.ts
        # What the message showed before is good for nothing any more; what it shows now is.
        workspace.sends(click(row))
        assert state(approval) == "held"
        anew = SlackMessage.objects.get(request=approval, ts=row.ts)
        workspace.sends(click(anew))
        assert state(approval) == "approved"

    def test_two_have_to_approve_and_each_counts_once(self, workspace: Workspace, grace: User) -> None:
        rule(stages=[{"name": "two", "needed": 2}])
        workspace.channel()
        linked(grace)
        linked(person("heidi"), "U0HEIDI")
        approval, row = workspace.asked()
        workspace.sends(click(row))
        assert "waits for others" in workspace.ephemeral()
        anew = SlackMessage.objects.get(request=approval, ts=row.ts)
        workspace.sends(click(anew))
        assert "approved this already" in workspace.ephemeral()
        assert state(approval) == "held"
        workspace.sends(click(anew, user="U0HEIDI"))
        assert state(approval) == "approved"
        users = set(ApprovalDecision.objects.filter(request=approval).values_list("user__username", flat=True))
        assert users == {"grace", "heidi"}

    def test_the_button_that_opens_the_inbox_does_nothing_here(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        assert workspace.sends(click(row, OPEN)).status_code == 200
        assert state(approval) == "held"

    def test_a_decision_stands_though_slack_cannot_be_told(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        workspace.service.answer_next(500)
        assert workspace.sends(click(row)).status_code == 200
        assert state(approval) == "approved"


class TestWhoMayNot:
    """H5: every one of these decides nothing."""

    def refused(self, workspace: Workspace, approval: ApprovalRequest, row: SlackMessage, **who: Any) -> None:
        for payload in (click(row, APPROVE, **who), click(row, DENY, **who)):
            assert workspace.sends(payload).status_code == 200
        user = {name: who[name] for name in ("user", "team", "user_team") if name in who}
        assert workspace.sends(deny_sent(str(row.pk), "no", **user)).status_code == 200
        assert state(approval) == "held"
        assert not ApprovalDecision.objects.filter(request=approval).exists()

    def test_somebody_who_is_not_linked_is_asked_to_link(self, workspace: Workspace, grace: User) -> None:
        # The same name, even the same address in Slack, says nothing.
        workspace.channel()
        approval, row = workspace.asked()
        self.refused(workspace, approval, row, user="U0GRACE")
        opened = workspace.service.to("views.open")[-1].json["view"]
        assert opened["callback_id"] == "wardgate_link_dialog"

    def test_somebody_who_is_linked_in_another_workspace(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace, team="T0000ELSE")
        approval, row = workspace.asked()
        self.refused(workspace, approval, row)
        # In a shared channel the workspace is ours and the user is not; the same user id there is somebody else.
        SlackIdentity.objects.update(team=TEAM)
        self.refused(workspace, approval, row, user_team="T0000ELSE")

    def test_a_click_that_comes_from_another_workspace(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace, team="T0000ELSE")
        approval, row = workspace.asked()
        self.refused(workspace, approval, row, team="T0000ELSE")

    def test_a_click_from_another_channel_or_message(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        for elsewhere in ({"channel": "C0000002"}, {"ts": "1700000000.999999"}):
            workspace.sends(click(row, APPROVE, **elsewhere))
            assert "Nothing can be decided from this message" in workspace.service.asked[-1].json["text"]
        assert state(approval) == "held"

    def test_a_button_that_nobody_made(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        for key in (str(approval.pk), approval.code, "0" * 32, "k"):
            workspace.sends(clicked(APPROVE, key, channel=CHANNEL, ts=row.ts))
        assert state(approval) == "held"

    def test_a_message_whose_sending_failed(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        SlackMessage.objects.update(ts="")
        self.refused(workspace, approval, row)

    @pytest.mark.parametrize("why", ["not active", "no role", "a viewer", "locked", "unlinked", "link is over"])
    def test_somebody_who_may_no_longer(self, workspace: Workspace, grace: User, why: str) -> None:
        grace.principal = principal("grace")
        grace.save()
        workspace.channel()
        identity = linked(grace)
        approval, row = workspace.asked()
        now = timezone.now()
        match why:
            case "not active":
                User.objects.filter(pk=grace.pk).update(is_active=False)
            case "no role":
                grace.roles.all().delete()
            case "a viewer":
                grace.roles.update(role="viewer")
            case "locked":
                lock_place(
                    kind=Lock.Kind.PRINCIPAL, principal=grace.principal, source="console", reason="left", now=now
                )
            case "unlinked":
                assert slack_link_end(identity_id=identity.pk, user=grace, now=now)
            case "link is over":
                SlackIdentity.objects.update(expires_at=now - timedelta(seconds=1))
        self.refused(workspace, approval, row)

    @pytest.mark.parametrize("how", ["themselves", "a machine of theirs"])
    def test_whoever_asked(self, workspace: Workspace, grace: User, how: str) -> None:
        grace.principal = principal("grace")
        grace.save()
        if how == "a machine of theirs":
            Principal.objects.filter(pk=principal("robot", "machine").pk).update(owner=grace.principal)
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked(subject="grace" if how == "themselves" else "robot")
        self.refused(workspace, approval, row)
        assert "asked for by you" in workspace.ephemeral()

    def test_somebody_outside_of_the_groups_of_the_stage(self, workspace: Workspace, grace: User) -> None:
        rule(stages=[{"name": "others", "needed": 1, "users": [person("heidi").pk]}])
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        self.refused(workspace, approval, row)
        assert "you are not among them" in workspace.ephemeral()

    def test_what_is_of_high_risk_now(self, workspace: Workspace, grace: User) -> None:
        rule(risk="high")
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        self.refused(workspace, approval, row)
        assert "high risk" in workspace.ephemeral()

    def test_a_message_that_does_not_show_everything_approves_nothing(self, workspace: Workspace, grace: User) -> None:
        workspace.channel(includes_arguments=False)
        linked(grace)
        approval, row = workspace.asked()
        workspace.sends(click(row, APPROVE))
        assert state(approval) == "held"
        assert "does not show everything" in workspace.ephemeral()

    def test_another_app_whose_secret_is_known_decides_nothing_here(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        workspace.channel(name="another app", target="C0000009", signing_secret="f" * 32)
        workspace.sends(click(row), secret="f" * 32)
        workspace.sends(deny_sent(str(row.pk), "no"), secret="f" * 32)
        assert state(approval) == "held"


class TestTheSignature:
    def body(self, row: SlackMessage) -> bytes:
        return urlencode({"payload": json.dumps(click(row))}).encode()

    @pytest.mark.parametrize("how", ["none", "forged", "old", "future", "another secret", "another body", "no time"])
    def test_what_slack_did_not_sign_now_is_refused(self, workspace: Workspace, grace: User, how: str) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        body = self.body(row)
        seconds = {"old": -301, "future": 301}.get(how, 0)
        stamp = str(int(time.time()) + seconds)
        secret = b"another" if how == "another secret" else SIGNING.encode()
        given = signature(secret, stamp, body + b"x" if how == "another body" else body)
        given = {"none": "", "forged": "v0=" + "0" * 64}.get(how, given)
        answer = workspace.posts(body, "" if how == "no time" else stamp, given)
        assert answer.status_code == 401
        assert state(approval) == "held"
        assert workspace.service.to("chat.postEphemeral") == []

    def test_the_same_request_is_taken_once(self, workspace: Workspace, grace: User) -> None:
        rule(stages=[{"name": "two", "needed": 2}])
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        body, stamp = self.body(row), str(int(time.time()))
        given = signature(SIGNING.encode(), stamp, body)
        assert [workspace.posts(body, stamp, given).status_code for _ in range(3)] == [200, 401, 401]
        assert ApprovalDecision.objects.filter(request=approval).count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_of_many_copies_at_once_one_is_taken(self) -> None:
        def take(_: int) -> bool:
            try:
                return slack_request_take(signature="v0=" + "a" * 64, now=timezone.now())
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(40))) == 1

    def test_without_a_signing_secret_or_with_a_channel_that_is_off_nothing_gets_in(
        self, workspace: Workspace, grace: User
    ) -> None:
        channel = workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        type(channel).objects.update(is_active=False)
        assert workspace.sends(click(row)).status_code == 401
        type(channel).objects.update(is_active=True, ciphertext=b"", key_id="")
        assert workspace.sends(click(row), secret="").status_code == 401
        assert state(approval) == "held"

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
    def test_another_kind_of_body_is_refused(self, workspace: Workspace, kind: str) -> None:
        workspace.channel()
        answer = workspace.browser.post("/slack/interactions/", b"{}", content_type=kind)
        assert answer.status_code == 400

    def test_a_body_that_is_too_large_is_not_read(self, workspace: Workspace) -> None:
        workspace.channel()
        body, stamp = b"payload=" + b"x" * 300_000, str(int(time.time()))
        assert workspace.posts(body, stamp, signature(SIGNING.encode(), stamp, body)).status_code == 400

    @pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "options"])
    def test_only_post_is_taken(self, workspace: Workspace, method: str) -> None:
        assert getattr(workspace.browser, method)("/slack/interactions/").status_code == 405

    def test_a_login_at_the_console_lets_nobody_in_here(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        linked(grace)
        approval, row = workspace.asked()
        workspace.browser.force_login(grace)
        assert workspace.posts(self.body(row), str(int(time.time())), "").status_code == 401
        assert state(approval) == "held"

    def test_what_is_signed_and_no_interaction_is_refused(self, workspace: Workspace) -> None:
        workspace.channel()
        assert workspace.sends(["not", "an", "interaction"]).status_code == 400


class TestLinking:
    def test_a_code_of_the_console_entered_in_slack_links(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        code = slack_code_make(user=grace, now=timezone.now())
        workspace.sends(link_asked())
        assert workspace.service.to("views.open")[-1].json["view"]["callback_id"] == "wardgate_link_dialog"
        answer = workspace.sends(link_sent(f" {code.lower()} "))
        assert "You are grace in Wardgate" in answer.json()["view"]["blocks"][0]["text"]["text"]
        identity = SlackIdentity.objects.get()
        assert (identity.user, identity.team, identity.slack_user) == (grace, TEAM, "U0GRACE")
        assert timedelta(days=89) < identity.expires_at - timezone.now() < timedelta(days=91)

    def test_a_code_is_good_once_and_for_ten_minutes(self, grace: User) -> None:
        now = timezone.now()
        given = {"team": TEAM, "slack_user": "U0GRACE", "slack_name": ""}
        first = slack_code_make(user=grace, now=now)
        second = slack_code_make(user=grace, now=now)
        with pytest.raises(CodeRefused):
            slack_link(code=first, **given, now=now)
        with pytest.raises(CodeRefused):
            slack_link(code=second, **given, now=now + timedelta(seconds=CODE_SECONDS))
        slack_link(code=second, **given, now=now + timedelta(seconds=CODE_SECONDS - 1))
        with pytest.raises(CodeRefused):
            slack_link(code=second, **given, now=now)
        assert not SlackCode.objects.exists()

    def test_a_wrong_code_says_so_in_the_dialog(self, workspace: Workspace, grace: User) -> None:
        workspace.channel()
        slack_code_make(user=grace, now=timezone.now())
        answer = workspace.sends(link_sent("ABCD-EFGH-JKMN"))
        assert answer.json()["response_action"] == "errors"
        assert not SlackIdentity.objects.exists()

    def test_a_user_of_slack_is_one_person(self, grace: User) -> None:
        linked(grace)
        heidi = person("heidi")
        linked(heidi)
        [identity] = SlackIdentity.objects.filter(ended_at=None)
        assert identity.user == heidi

    def test_the_code_itself_is_not_kept(self, grace: User) -> None:
        code = slack_code_make(user=grace, now=timezone.now())
        assert bytes(SlackCode.objects.get().digest) not in {code.encode(), code.replace("-", "").encode()}

    def test_the_page_gives_codes_after_a_proof_and_ends_links(self, client: Any, grace: User) -> None:
        client.force_login(grace)
        identity = linked(grace)
        page = client.get("/admin/account/slack/")
        assert "U0GRACE" in page.content.decode()
        made = client.post("/admin/account/slack/code/")
        assert made.status_code == 200
        assert SlackCode.objects.get().user == grace
        ended = client.post(f"/admin/account/slack/{identity.pk}/end/")
        assert ended.status_code == 302
        assert not SlackIdentity.objects.filter(ended_at=None).exists()

    def test_a_code_needs_a_recent_proof(self, client: Any, grace: User) -> None:
        client.force_login(grace)
        grace.console_sessions.update(authenticated_at=timezone.now() - timedelta(hours=1))
        answer = client.post("/admin/account/slack/code/")
        assert answer.status_code == 302
        assert "proof" in answer.headers["Location"]
        assert not SlackCode.objects.exists()

    def test_nobody_ends_the_link_of_somebody_else(self, client: Any, grace: User) -> None:
        identity = linked(grace)
        client.force_login(person("heidi"))
        assert client.post(f"/admin/account/slack/{identity.pk}/end/").status_code == 404
        assert SlackIdentity.objects.filter(ended_at=None).exists()
