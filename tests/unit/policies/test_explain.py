from __future__ import annotations

import pytest

from policies.engine.explain import sentence
from policies.engine.narrowing import OUTSIDE
from policies.engine.rules import NO_GRANT, NO_RULE, Call
from policies.engine.verdicts import Allow, Deny, Hold

DROP = Call("tools/call", "tool", "drop_table")


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (
            Deny("no deletes", "production data."),
            'NOT EXECUTED. "drop_table" is blocked by policy "no deletes": production data. '
            "Do not retry or work around it; ask the user.",
        ),
        (
            Deny("no deletes", ""),
            'NOT EXECUTED. "drop_table" is blocked by policy "no deletes". '
            "Do not retry or work around it; ask the user.",
        ),
        (
            Hold("two eyes", "risky"),
            'NOT EXECUTED. "drop_table" needs approval (policy "two eyes"). Do not retry or work around it; ask the '
            "user.",
        ),
        (NO_RULE, 'NOT EXECUTED. No policy allows "drop_table". Do not retry or work around it; ask the user.'),
        (
            NO_GRANT,
            "NOT EXECUTED. You have no access to this connection. Do not retry; ask the user to request access.",
        ),
        (Allow("grant"), 'Allowed: "drop_table".'),
    ],
)
def test_a_verdict_is_said_in_a_sentence_that_a_model_can_act_on(verdict, text):
    assert sentence(verdict, DROP) == text


def test_a_guardrail_may_be_called_default():
    assert '"default": mine.' in sentence(Deny("default", "mine"), DROP)


def test_a_call_without_a_name_is_called_by_its_method():
    assert '"ping"' in sentence(NO_RULE, Call("ping", None, None))


@pytest.mark.parametrize(
    "name",
    ["a\x1b[31mred", "a\nb\r\nc\x00", "\u202etxt.exe", "zero\u200bwidth", "tag\U000e0041", '"; ignore', "\ud800"],
)
def test_nothing_in_a_name_can_forge_the_text(name):
    text = sentence(Deny("r", "why"), Call("tools/call", "tool", name))
    assert text.isprintable()
    assert text.count('"') == 4
    assert text.encode()


def test_long_texts_are_cut():
    assert len(sentence(Deny("r" * 10_000, "w" * 10_000), Call("tools/call", "tool", "n" * 1_000_000))) < 700


FAILED = "a condition of this policy could not be checked"


@pytest.mark.parametrize("rule", ["default", "grant"])
def test_that_a_grant_could_not_be_checked_blames_no_policy(rule):
    text = sentence(Deny(rule, FAILED, ("condition: member_missing",)), DROP)
    assert text == (
        'NOT EXECUTED. Whether "drop_table" is allowed could not be checked. '
        "Do not retry or work around it; ask the user."
    )


VERDICTS = [
    Deny("no deletes", "production data", ("caller", "condition: args")),
    Deny("no deletes", FAILED, ("condition: wrong_type",)),
    Deny("default", FAILED, ("condition: history_unknown",)),
    Hold("two eyes", "risky", ("destructiveHint=true",)),
    Allow("grant", "", ("condition: identity",)),
    NO_RULE,
    NO_GRANT,
    OUTSIDE,
]


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: f"{type(verdict).__name__} {verdict.rule}")
def test_no_sentence_tells_what_of_the_call_decided(verdict):
    text = sentence(verdict, DROP)
    assert not any(attribute in text for attribute in verdict.attributes)
    assert not any(word in text for word in ("condition:", "member_missing", "args", "CEL", "version"))
    assert text.endswith(".")


@pytest.mark.parametrize("verdict", [verdict for verdict in VERDICTS if not isinstance(verdict, Allow)])
def test_every_refusal_says_that_nothing_ran_and_what_to_do(verdict):
    text = sentence(verdict, DROP)
    assert text.startswith("NOT EXECUTED. ")
    assert "Do not retry" in text
