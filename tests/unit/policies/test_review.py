from __future__ import annotations

from connections.definitions import Pinned
from policies.engine.review import NOT_REVIEWED, UNKNOWN_TOOL, refusal
from policies.engine.rules import Call

CATALOGUE = {"get_order": Pinned("a", "a", True), "delete_order": Pinned("a", "b", False)}


def tool(name):
    return Call("tools/call", "tool", name)


def test_what_was_reviewed_may_be_called():
    assert refusal(tool("get_order"), CATALOGUE) is None


def test_what_changed_since_waits():
    assert refusal(tool("delete_order"), CATALOGUE) is NOT_REVIEWED


def test_what_was_never_listed_is_not_there():
    assert refusal(tool("Get_Order"), CATALOGUE) is UNKNOWN_TOOL


def test_without_a_catalogue_policy_alone_decides():
    assert refusal(tool("anything"), {}) is None


def test_prompts_are_not_in_the_catalogue():
    assert refusal(Call("prompts/get", "prompt", "anything"), CATALOGUE) is None
