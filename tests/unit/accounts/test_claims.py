"""Claims read strictly: a usable value or a refusal, never a guess."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import claims as read
from accounts.claims import ClaimRefused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def refusal(call: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(ClaimRefused) as refused:
        call(*args, **named)
    assert refused.value.detail.endswith(".")
    return refused.value.code


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "claims", "expected"),
        [
            ("a", {"a": 1}, 1),
            ("a.b", {"a": {"b": 1}}, 1),
            ("a.b", {"a.b": 1, "a": {"b": 2}}, 1),
            ("a.b.c", {"a.b": {"c": 1}, "a": {"b": {"c": 2}}}, 1),
            ("a.b.c", {"a": {"b.c": 1, "b": {"c": 2}}}, 1),
            ("kubernetes.io.namespace", {"kubernetes.io": {"namespace": "shop"}}, "shop"),
            (
                "https://sts.amazonaws.com/.aws_account",
                {"https://sts.amazonaws.com/": {"aws_account": "123456789012"}},
                "123456789012",
            ),
        ],
    )
    def test_the_longest_name_at_each_level_is_followed(self, path: str, claims: dict[str, Any], expected: Any) -> None:
        assert read.value_at(claims, path) == expected

    @pytest.mark.parametrize(
        ("path", "claims"),
        [("a", {}), ("a.b", {"a": {}}), ("a.b.c", {"a.b": {}, "a": {"b": {"c": 1}}}), ("", {"a": 1})],
    )
    def test_what_is_not_there_is_absent_and_no_other_way_is_tried(self, path: str, claims: dict[str, Any]) -> None:
        assert read.is_absent(read.value_at(claims, path))

    @pytest.mark.parametrize("value", [None, 7, "text", [], ["b"]])
    def test_a_way_through_what_is_not_an_object_is_refused(self, value: object) -> None:
        assert refusal(read.value_at, {"a": value}, "a.b") == "token_claim_type"

    @given(st.dictionaries(st.text(max_size=4), JSON, max_size=5), st.text(max_size=10))
    def test_any_path_through_any_claims_is_found_absent_or_refused(self, claims: dict[str, Any], path: str) -> None:
        try:
            value = read.value_at(claims, path)
        except ClaimRefused:
            return
        if path in claims:
            assert value == claims[path]


class TestActors:
    def test_the_actor_at_the_gateway_comes_first(self) -> None:
        chain = {"act": {"sub": "agent", "iss": "https://a.example", "act": {"sub": "robot", "client_id": "x"}}}
        assert read.actors(chain) == ("https://a.example|agent", "robot")

    def test_without_delegation_there_are_none(self) -> None:
        assert read.actors({"sub": "alice"}) == ()

    @pytest.mark.parametrize(
        "act",
        [
            None,
            "agent",
            ["agent"],
            {},
            {"sub": None},
            {"sub": ""},
            {"sub": 7},
            {"sub": "a\nb"},
            {"sub": "x" * 256},
            {"iss": "https://a.example"},
            {"sub": "agent", "iss": ""},
            {"sub": "agent", "iss": None},
            {"sub": "agent", "iss": "https://a.example|agent"},
            {"sub": "agent", "iss": "x" * 501},
            {"sub": "agent", "act": None},
            {"sub": "agent", "act": {"sub": "robot", "act": "x"}},
        ],
    )
    def test_a_malformed_chain_is_refused(self, act: object) -> None:
        assert refusal(read.actors, {"act": act}) == "token_claim_type"

    def test_a_chain_of_eight_is_read_and_one_of_nine_is_refused(self) -> None:
        def chain(length: int) -> dict[str, Any]:
            return {"act": {"sub": f"a{length}", **(chain(length - 1) if length > 1 else {})}}

        assert len(read.actors(chain(8))) == 8
        assert refusal(read.actors, chain(9)) == "token_claim_type"

    @given(JSON)
    def test_any_value_is_a_chain_of_texts_or_refused(self, act: Any) -> None:
        try:
            found = read.actors({"act": act})
        except ClaimRefused:
            return
        assert 0 < len(found) <= read.MAX_ACTORS


class TestKind:
    @pytest.mark.parametrize(
        ("claims", "clients", "configured", "expected"),
        [
            ({"sub": "s"}, ("c",), "unknown", "unknown"),
            ({"sub": "s"}, ("c",), "human", "human"),
            ({"sub": "s"}, (), "agent", "agent"),
            # Microsoft Entra ID says it.
            ({"sub": "s", "idtyp": "app"}, ("c",), "unknown", "machine"),
            ({"sub": "s", "idtyp": "app"}, ("c",), "human", "machine"),
            ({"sub": "s", "idtyp": "user"}, ("c",), "machine", "human"),
            # Auth0 names the grant, and makes the subject of the client.
            ({"sub": "c@clients", "gty": "client-credentials"}, ("c",), "unknown", "machine"),
            ({"sub": "x", "gty": ["client-credentials"]}, ("c",), "human", "machine"),
            ({"sub": "c@clients"}, ("c",), "unknown", "machine"),
            ({"sub": "s", "gty": "password"}, ("c",), "human", "human"),
            # Okta, RFC 9068 section 2.2: the client is the subject.
            ({"sub": "c"}, ("c",), "human", "machine"),
            ({"sub": "c"}, ("d", "c"), "unknown", "machine"),
            # The token cannot tell an agent from another program.
            ({"sub": "c"}, ("c",), "agent", "agent"),
            ({"sub": "s", "idtyp": ["app"]}, ("c",), "unknown", "unknown"),
            ({"sub": "s", "gty": 7}, ("c",), "unknown", "unknown"),
        ],
    )
    def test_follows_what_the_token_tells_and_then_the_provider(
        self, claims: dict[str, Any], clients: tuple[str, ...], configured: str, expected: str
    ) -> None:
        assert read.kind(claims, clients, configured) == expected


class TestRequired:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("acme", True),
            (["acme"], True),
            (["other", "acme"], True),
            ("Acme", False),
            ("acme ", False),
            ("acmecorp", False),
            ([], False),
            (None, False),
            (True, False),
            (7, False),
            ({"acme": True}, False),
            ([["acme"]], False),
        ],
    )
    def test_only_the_exact_text_counts_alone_or_in_a_list(self, value: object, expected: bool) -> None:
        assert read.holds_one_of({"owner": value}, "owner", {"acme"}) is expected

    def test_what_is_absent_holds_nothing(self) -> None:
        assert not read.holds_one_of({}, "owner", {"acme"})


def test_every_client_claim_is_read_and_none_is_guessed() -> None:
    assert read.clients({"azp": "a", "cid": "c"}) == ("a", "c")
    assert refusal(read.clients, {"azp": "a", "cid": 7}) == "token_claim_type"


@pytest.mark.parametrize("value", ["a\u0000b", "a\u2028b", "\ud800"])
def test_texts_that_could_break_a_line_are_cleaned_for_display(value: str) -> None:
    shown = read.display(value, 255)
    assert not any(character in shown for character in "\x00\u2028\ud800")


class TestPlain:
    """What conditions of policy may look at: plain values at the listed paths, and nothing else."""

    def test_plain_values_are_kept_under_their_paths(self) -> None:
        claims = {"dept": "ops", "org": {"level": 3}, "roles": ["a", "b"], "vip": True, "email": "a@example.com"}
        paths = ("dept", "org.level", "roles", "vip", "missing", "org.missing.deeper")
        assert read.plain(claims, paths) == {"dept": "ops", "org.level": 3, "roles": ["a", "b"], "vip": True}

    @pytest.mark.parametrize("value", [None, {}, {"a": 1}, [{}], [["a"]], "x" * 1025, "a\x00b", "", ["x"] * 1001])
    def test_what_is_not_plain_is_left_out(self, value: object) -> None:
        assert read.plain({"dept": value}, ("dept",)) == {}

    @given(st.dictionaries(st.text(max_size=6), JSON, max_size=4), st.lists(st.text(max_size=6), max_size=4))
    def test_any_claims_can_be_asked_for(self, claims: dict[str, Any], paths: list[str]) -> None:
        assert set(read.plain(claims, paths)) <= set(paths)
