"""What Slack says that somebody did, read strictly: another form is nothing, and never a decision."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.notices import slack_payload as payload
from policies.notices.slack_blocks import APPROVE, DENY, OPEN
from policies.notices.slack_payload import Click, Denial, Link, LinkAsked, Nothing, PayloadRefused
from tests.support.chats import clicked, deny_sent, link_asked, link_sent


def body(value: Any) -> bytes:
    return urlencode({"payload": json.dumps(value)}).encode()


def read(value: Any) -> Any:
    return payload.read(body(value))


def test_a_click_is_who_where_and_which_button():
    done = read(clicked(APPROVE, "key-1", user="U0GRACE", channel="C0000001", ts="17.1"))
    assert isinstance(done, Click)
    assert (done.action, done.key, done.channel, done.ts) == (APPROVE, "key-1", "C0000001", "17.1")
    assert (done.actor.team, done.actor.user, done.actor.user_team) == ("T0000TEAM", "U0GRACE", "T0000TEAM")
    assert done.trigger


def test_somebody_of_another_workspace_in_a_shared_channel_is_of_that_workspace():
    done = read(clicked(DENY, "key-1", user_team="T0000ELSE"))
    assert (done.actor.team, done.actor.user_team) == ("T0000TEAM", "T0000ELSE")


def test_a_dialog_that_was_sent_brings_its_key_and_the_text():
    done = read(deny_sent("key-1", "not today"))
    assert isinstance(done, Denial)
    assert (done.key, done.reason) == ("key-1", "not today")
    assert read(link_sent("ABCD-EFGH")).code == "ABCD-EFGH"
    assert isinstance(read(link_sent("x")), Link)
    assert isinstance(read(link_asked()), LinkAsked)


@pytest.mark.parametrize(
    "value",
    [
        clicked(OPEN, "k"),
        clicked("something_else", "k"),
        {"type": "message_action"},
        {"type": "view_closed"},
        {"type": None},
        {},
        {**link_asked(), "callback_id": "another"},
    ],
)
def test_what_is_about_nothing_here_is_nothing(value):
    assert read(value) == Nothing()


def broken(path: list[Any], value: Any) -> dict[str, Any]:
    made = deepcopy(clicked(APPROVE, "key-1"))
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


@pytest.mark.parametrize("value", [None, "", 7, True, {}, [], "x" * 10_000, "\u202e", "a\nb"])
@pytest.mark.parametrize(
    "path",
    [
        ["team"], ["team", "id"], ["user"], ["user", "id"], ["user", "team_id"], ["container"],
        ["container", "channel_id"], ["container", "message_ts"], ["trigger_id"], ["actions"],
        ["actions", 0, "value"],
    ],
)  # fmt: skip
def test_a_click_without_what_a_click_has_is_refused(path, value):
    # A user without a team is one of the app's own workspace: Slack leaves it out in some of its forms.
    if path == ["user", "team_id"] and value is None:
        assert read(broken(path, value)).actor.user_team == "T0000TEAM"
        return
    with pytest.raises(PayloadRefused):
        read(broken(path, value))


def test_two_buttons_at_once_are_refused():
    made = clicked(APPROVE, "key-1")
    made["actions"] *= 2
    with pytest.raises(PayloadRefused):
        read(made)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"payload",
        b"payload=",
        b"payload={}&payload={}",
        b"payload={}&command=x",
        b"other={}",
        b"payload=[]",
        b"payload=" + b"[" * 100_000,
        b'payload="text"',
        b"payload=%ff",
        b"\xff",
        b'{"payload":{}}',
    ],
)
def test_a_body_that_is_no_interaction_is_refused(raw):
    with pytest.raises(PayloadRefused):
        payload.read(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "team", "user", "id", "actions", "view", "state"]), inner, max_size=4
            )
        ),
    )
)
def test_whatever_is_sent_is_read_or_refused(value):  # fmt: skip
    try:
        payload.read(body(value))
    except PayloadRefused:
        return
