"""What Teams shows: text is text, there is one button, and a card is never larger than Teams takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.vault import Secret
from policies.notices import teams
from policies.notices.message import Event, Notice, NotSent
from tests.support.chats import LOCAL, service
from tests.support.hostile_texts import HOSTILE

URL = "https://gw.example/inbox/APR-7F3KQ2/"


def notice(**values: Any) -> Notice:
    given: dict[str, Any] = {
        "event": Event.ASKED, "code": "APR-7F3KQ2", "kind": "call", "title": "Approval needed", "url": URL,
        "what": "delete_order", "requester": "agent-7", "connection": "Orders", "arguments": '{"id":7}', **values,
    }  # fmt: skip
    return Notice(**given)


def card(of: Notice) -> dict[str, Any]:
    message = json.loads(teams.body(of))
    assert message["type"] == "message"
    [attachment] = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    content: dict[str, Any] = attachment["content"]
    return content


def texts(content: dict[str, Any]) -> list[str]:
    return ["".join(run["text"] for run in block["inlines"]) for block in content["body"]]


def test_a_card_has_the_facts_and_one_button_that_opens_the_inbox():
    content = card(notice())
    assert (content["type"], content["version"]) == ("AdaptiveCard", "1.5")
    assert content["actions"] == [{"type": "Action.OpenUrl", "title": "Open in Wardgate", "url": URL}]
    assert {"Approval needed", "What: delete_order", "Asked by: agent-7", 'Arguments (masked): {"id":7}'} <= set(
        texts(content)
    )


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_strangers_wrote_is_only_ever_plain_runs_of_text(kind):
    hostile = HOSTILE[kind]
    of = notice(what=hostile, requester=hostile, client=hostile, reason=hostile, title=hostile, arguments=hostile)
    body = teams.body(of)
    assert len(body) <= teams.MAX_BYTES
    assert body.isascii()
    content = card(of)
    # RichTextBlock is the element of which no Markdown is read; there is no other one, and nothing to click in it.
    assert {block["type"] for block in content["body"]} == {"RichTextBlock"}
    runs = [run for block in content["body"] for run in block["inlines"]]
    assert {run["type"] for run in runs} == {"TextRun"}
    assert not any("selectAction" in run for run in runs)
    assert all(text.isprintable() for text in texts(content))
    assert [action["url"] for action in content["actions"]] == [URL]


def test_a_card_that_would_be_too_large_leaves_the_arguments_to_the_inbox():
    of = notice(**dict.fromkeys(("what", "requester", "client", "reason", "rule"), "\U0001d56c" * 300),
                arguments="\U0001d56c" * 2_000)  # fmt: skip
    assert len(teams.body(of)) <= teams.MAX_BYTES
    assert "Arguments (masked): too long to be shown here" in texts(card(of))


def test_a_workflow_gets_the_card_at_its_secret_url():
    with service(lambda _: (202, {})) as workflow:
        secret = Secret(f"{workflow.url}/workflows/abc?sig=s3cr3t".encode())
        assert teams.send(notice(), "", secret, LOCAL).reference == ""
        [asked] = workflow.asked
        assert asked.path == "/workflows/abc?sig=s3cr3t"
        assert asked.headers["content-type"] == "application/json"
        assert asked.json["attachments"]


def test_what_the_workflow_does_not_take_is_said_without_its_url():
    with service() as workflow:
        workflow.answer_next(429, {"Retry-After": "17"})
        workflow.answer_next(400)
        secret = Secret(f"{workflow.url}/workflows/abc?sig=s3cr3t".encode())
        with pytest.raises(NotSent, match="429") as later:
            teams.send(notice(), "", secret, LOCAL)
        with pytest.raises(NotSent, match="400") as never:
            teams.send(notice(), "", secret, LOCAL)
    assert (later.value.retry_after, later.value.is_final) == (17, False)
    assert never.value.is_final
    assert "s3cr3t" not in f"{later.value}{never.value}"


def test_a_workflow_inside_is_reached_only_when_its_network_is_named():
    with service() as workflow:
        with pytest.raises(NotSent):
            teams.send(notice(), "", Secret(workflow.url.encode()), [])
        assert workflow.asked == []


@pytest.mark.parametrize(
    ("target", "secret", "networks", "field"),
    [
        ("", "https://x.example/workflows/a", [], None),
        ("", None, [], None),
        ("", "http://x.example/workflows/a", [], "secret"),
        ("", "http://10.1.2.3/workflows/a", ["10.0.0.0/8"], None),
        ("", "", [], "secret"),
        ("", "ftp://x.example", [], "secret"),
        ("C123", "https://x.example", [], "target"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_their_field(target, secret, networks, field):
    found = teams.refusal(target, secret, networks)
    assert (found and found[0]) == field
