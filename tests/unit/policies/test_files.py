"""Where in a policy file something is wrong."""

from __future__ import annotations

import pytest

from policies import documents
from policies.documents import DocumentRefused
from policies.files import spot_of

TEXT = """\
# Ours.
grants:
- connection: orders
  group: {provider: Login, name: ops}
  tools: ["get_*"]
guardrails:
- name: no deletes
  effect: deny
  names: [delete_*]
- name: limit
  effect: hold
  condition: args.amount >> 5
  reason: 'Ask "finance".'
"""


@pytest.mark.parametrize(
    ("error", "spot"),
    [
        (DocumentRefused("line 3, column 7", "this is not YAML"), "3:7"),
        (DocumentRefused("line 4", "anchors"), "4:1"),
        (DocumentRefused("document", "it is too long"), "1:1"),
        (DocumentRefused("guardrails", "write a list"), "7:1"),
        (DocumentRefused("guardrails, entry 2", "write an object"), "10:3"),
        (DocumentRefused("guardrails, entry 2", "effect: write a text"), "11:11"),
        (DocumentRefused("guardrails, entry 9", "write an object"), "7:1"),
        (DocumentRefused("guardrails, limit", "x", section="guardrails", key="limit"), "10:3"),
        (
            DocumentRefused(
                "guardrails, limit", "condition: At character 14: wrong.", section="guardrails", key="limit"
            ),
            "12:27",
        ),
        (DocumentRefused("guardrails, limit", "reason: Too long.", section="guardrails", key="limit"), "13:11"),
    ],
)
def test_a_refusal_is_told_with_its_line_and_column(error, spot):
    assert str(spot_of(TEXT, error)) == spot


def test_a_grant_without_a_name_is_found_by_what_it_says():
    entry = documents.entry_of("grants", documents.load(TEXT)["grants"][0])
    error = DocumentRefused("grants, a grant", "tools: no.", section="grants", key=documents.key_of("grants", entry))
    assert str(spot_of(TEXT, error)) == "5:10"


@pytest.mark.parametrize(
    ("text", "spot", "said"),
    [
        ("rules: []\n", "1:1", "no such section"),
        ("guardrails:\n  - name: x\n    effekt: deny\n    effect: deny\n", "3:5", "'effekt' is not known"),
        ("guardrails:\n  - effect: deny\n", "2:5", "'name' is missing"),
        ("guardrails:\n  - name: x\n    effect: deny\n    reason: yes\n", "4:13", "put it into quotes"),
        ("guardrails:\n  - name: x\n    effect: deny\n    names: get_*\n", "4:12", "write a list"),
        ("guardrails:\n  - name: 7\n    effect: deny\n", "2:11", "put it into quotes"),
        ("grants:\n- a: &x 1\n  b: *x\n", "2:1", "anchors"),
        ("guardrails: [\n", "2:1", "expected"),
        ("guardrails:\n- {name: a, name: b}\n", "2:13", "twice"),
        ("guardrails:\n- {name: a, effect: deny}\n- {name: a, effect: hold}\n", "3:3", "already"),
        ("- a\n", "1:1", "write an object"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, spot, said):
    with pytest.raises(DocumentRefused, match=said) as refusal:
        documents.read(text)
    assert str(spot_of(text, refusal.value)) == spot
