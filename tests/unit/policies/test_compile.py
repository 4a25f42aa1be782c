from __future__ import annotations

import pytest

from policies.engine.compile import GrantRow, GuardrailRow, PatternRow, compile_connection
from policies.engine.exceptions import PatternRefused
from policies.engine.verdicts import Effect


def compiled(**rows):
    return compile_connection("c1", **({"grants": [], "guardrails": [], "patterns": []} | rows))


def test_only_the_rows_of_the_connection_and_of_every_connection_apply():
    policy = compiled(
        grants=[
            GrantRow("g1", "c1", principal=("i", "ann"), tools=["*"]),
            GrantRow("g2", "c2", principal=("i", "ann"), tools=["*"]),
        ],
        guardrails=[
            GuardrailRow("1", "here", "deny", "c1"),
            GuardrailRow("2", "there", "deny", "c2"),
            GuardrailRow("3", "everywhere", "hold"),
        ],
        patterns=[
            PatternRow("a", "aa", connection_id="c1"),
            PatternRow("b", "bb", connection_id="c2"),
            PatternRow("c", "cc"),
        ],
        literals=[("key", b"sesame-open")],
    )
    assert [grant.id for grant in policy.grants] == ["g1"]
    assert [(rule.name, rule.effect) for rule in policy.rules] == [("here", Effect.DENY), ("everywhere", Effect.HOLD)]
    masked = policy.masker.mask(b'["aa","bb","cc","sesame-open"]')
    assert masked.value == b'["[MASKED:a]","bb","[MASKED:c]","[MASKED:credential]"]'


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ({"grants": [GrantRow("g1", "c1", principal=("i", "s"), tools=[""])]}, "grant g1, tools"),
        ({"grants": [GrantRow("g1", "c1", principal=("i", "s"), resources=["\n"])]}, "grant g1, resources"),
        ({"grants": [GrantRow("g1", "c1")]}, "grant g1"),
        ({"grants": [GrantRow("g1", "c1", principal=("i", "s"), group=("i", "g"))]}, "grant g1"),
        ({"guardrails": [GuardrailRow("1", "r", "permit")]}, 'guardrail "r"'),
        ({"guardrails": [GuardrailRow("1", "r", "deny", names=[])]}, 'guardrail "r"'),
        ({"guardrails": [GuardrailRow("1", "r", "deny", methods=[])]}, 'guardrail "r"'),
        ({"guardrails": [GuardrailRow("1", "r", "deny", names=[""])]}, 'guardrail "r", names'),
        ({"patterns": [PatternRow("p", "(")]}, 'masking pattern "p"'),
        ({"patterns": [PatternRow("p", "a", check="mod97")]}, 'masking pattern "p"'),
    ],
)
def test_a_row_that_does_not_compile_fails_the_whole_connection_by_name(rows, place):
    with pytest.raises(PatternRefused) as refused:
        compiled(**rows)
    assert refused.value.place == place


def test_a_broken_row_of_another_connection_does_no_harm():
    assert compiled(
        guardrails=[GuardrailRow("1", "r", "permit", "c2")], patterns=[PatternRow("p", "(", connection_id="c2")]
    )


def test_nothing_of_a_pattern_or_a_credential_is_in_the_repr():
    row = PatternRow("p", "sesame-pattern")
    policy = compiled(patterns=[row], literals=[("key", b"sesame-open")])
    assert "sesame" not in repr(policy) + repr(row) + repr(policy.masker)
