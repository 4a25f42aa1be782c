from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.rehearsal import CaseRefused, read_case

NOW = 1_000_000.0
GIVEN = {"identity": {"issuer": "https://login.example", "subject": "ada"}, "connection": "orders", "name": "get_order"}
PAST = {"seconds_ago": 60, "connection": "orders", "name": "get_order"}


def case(**members):
    return read_case({**GIVEN, **members}, now=NOW)


def test_a_case_has_what_was_written():
    found = case(arguments={"id": 7}, time="2026-03-29T02:30:00+01:00", address="192.0.2.7", client={"name": "agent"})
    assert (found.call.method, found.call.kind, found.call.name) == ("tools/call", "tool", "get_order")
    assert found.facts.arguments == {"id": 7}
    assert (found.facts.address, found.facts.client_name) == ("192.0.2.7", "agent")
    assert found.facts.now == 1_774_747_800


def test_without_a_time_it_is_now():
    assert case().facts.now == NOW


def test_earlier_calls_are_in_their_order():
    history = case(history=[{**PAST, "labels": ["untrusted"], "bytes": 9}, {**PAST, "seconds_ago": 90}]).facts.history
    assert [past.at for past in history.calls] == [NOW - 90, NOW - 60]
    assert (history.labels, history.count("orders/get_*"), history.rate("get_order", 70, NOW)) == (["untrusted"], 2, 1)


def test_different_values_of_an_argument_are_counted():
    values = [{**PAST, "values": {"id": text}} for text in ("1", "2", "2")]
    assert case(history=values).facts.history.distinct("id") == 2


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"identity": "ada"}, "identity"),
        ({"identity": {"issuer": "x"}}, "subject"),
        ({"identity": {**GIVEN["identity"], "roles": []}}, "identity"),
        ({"identity": {**GIVEN["identity"], "groups": "ops"}}, "groups"),
        ({"connection": ""}, "connection"),
        ({"name": 7}, "name"),
        ({"arguments": []}, "arguments"),
        ({"time": "2026-03-29T02:30:00"}, "time"),
        ({"time": "yesterday"}, "time"),
        ({"client": {"size": 1}}, "client"),
        ({"nonsense": 1}, "given"),
        ({"history": {}}, "history"),
        ({"history": [PAST] * 1_001}, "history"),
        ({"history": [PAST, "x"]}, "history, call 2"),
        ({"history": [{**PAST, "when": 1}]}, "history, call 1"),
        ({"history": [{**PAST, "seconds_ago": -1}]}, "history, call 1"),
        ({"history": [{**PAST, "seconds_ago": True}]}, "history, call 1"),
        ({"history": [{**PAST, "bytes": 0.5}]}, "history, call 1"),
        ({"history": [{**PAST, "values": {"id": 1}}]}, "history, call 1"),
        ({"history": [{**PAST, "labels": "x"}]}, "history, call 1"),
        ({"history": [{"seconds_ago": 1, "connection": "orders"}]}, "history, call 1"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_its_member(members, member):
    with pytest.raises(CaseRefused) as refused:
        case(**members)
    assert refused.value.member == member


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["identity", "connection", "name", "history", "time", "client"]), anything))
def test_anything_is_a_case_or_is_refused(members):
    try:
        case(**members)
    except CaseRefused as error:
        assert error.hint
