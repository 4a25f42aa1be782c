from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.documents import canonical, diff
from policies.merging import merged

RULE = {"name": "no deletes", "effect": "deny", "names": ["delete_*"]}
OTHER = {"name": "refunds wait", "effect": "hold", "names": ["refund_*"]}

rules = st.lists(
    st.builds(
        lambda name, effect, names: {"name": name, "effect": effect, "names": [names]},
        st.sampled_from("abcd"),
        st.sampled_from(["deny", "hold", "allow"]),
        st.sampled_from(["get_*", "put_*"]),
    ),
    unique_by=lambda rule: rule["name"],
    max_size=4,
)
documents = rules.map(lambda found: canonical({"guardrails": found}))


def document(*rules):
    return canonical({"guardrails": list(rules)})


def test_changes_of_different_entries_are_both_kept():
    found = merged(document(RULE), document(RULE, OTHER), document({**RULE, "reason": "ask"}))
    assert found.document == document({**RULE, "reason": "ask"}, OTHER)
    assert found.conflicts == ()


def test_where_both_changed_one_entry_mine_stands_and_the_conflict_is_told():
    mine, theirs = {**RULE, "effect": "hold"}, {**RULE, "reason": "ask"}
    found = merged(document(RULE), document(mine), document(theirs))
    assert found.document == document(mine)
    assert [(change.key, change.before, change.after) for change in found.conflicts] == [("no deletes", theirs, mine)]


def test_what_one_removed_and_the_other_changed_is_a_conflict():
    theirs = {**RULE, "reason": "ask"}
    assert [change.kind for change in merged(document(RULE), document(), document(theirs)).conflicts] == ["removed"]
    assert [change.kind for change in merged(document(RULE), document(theirs), document()).conflicts] == ["added"]


@given(documents, documents)
def test_without_changes_of_others_the_draft_stays_as_it_is(base, mine):
    assert merged(base, mine, base).document == mine
    assert merged(base, base, mine).document == mine


@given(documents, documents, documents)
def test_every_change_of_mine_is_in_the_result(base, mine, theirs):
    found = merged(base, mine, theirs)
    left = {(change.section, change.key) for change in diff(found.document, mine)}
    assert left.isdisjoint((change.section, change.key) for change in diff(base, mine))
