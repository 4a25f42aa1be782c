"""The report on a token: its verdict is that of verification, and its rows say why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import token_report, tokens
from accounts.token_checks import CHECKS
from accounts.token_report import explain, payload
from accounts.token_values import Identity, Rejected
from tests.support.idp import ABSENT, Issuer, signed

NOW = 1_800_000_000
NOTHING_ASKED = "Nothing is asked for here."
RESOURCE = "https://gateway.example/mcp/orders"
ISSUER = Issuer("https://idp.example", audience=RESOURCE, clock=lambda: NOW)
PROVIDER = ISSUER.provider()
KEYS = ISSUER.keys()

VALUES = st.sampled_from(
    [
        ABSENT,
        None,
        7,
        True,
        -1,
        NOW,
        NOW + 300,
        NOW - 4000,
        NOW + 10**6,
        10**4000,
        "",
        "x",
        "app",
        "alice",
        "a\nb",
        RESOURCE,
        *(["sre"], ["x", 7], [], {"sub": "robot"}, {"sub": 7}, {}),
        *("Bearer", "ID", "tenant-1", "client-1", "acme"),
    ]
)
NAMES = [
    "iss",
    "sub",
    "exp",
    "iat",
    "nbf",
    "aud",
    "jti",
    "sid",
    "act",
    "cnf",
    "typ",
    "token_use",
    "nonce",
    "azp",
    "tid",
]
CLAIMS = st.dictionaries(st.sampled_from([*NAMES, "groups", "roles", "oid", "owner", "_claim_names", "gty"]), VALUES)
PROVIDERS = st.fixed_dictionaries(
    {
        "requires_nbf": st.booleans(),
        "subject_claim": st.sampled_from(["sub", "oid", "act.sub"]),
        "roles_claim": st.sampled_from(["", "roles", "act.roles"]),
        "tenants": st.sampled_from([frozenset(), frozenset({"tenant-1"})]),
        "authorized_parties": st.sampled_from([frozenset(), frozenset({"client-1", "test-client"})]),
        "required_claims": st.sampled_from([{}, {"owner": frozenset({"acme"})}, {"act.sub": frozenset({"robot"})}]),
        "missing_groups_are_unknown": st.booleans(),
        "uses_directory": st.booleans(),
        "algorithms": st.sampled_from([frozenset({"RS256"}), frozenset({"RS256", "ES256"})]),
        "token_types": st.sampled_from([frozenset(), frozenset({"at+jwt"}), frozenset({"jwt"})]),
    }
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "kid": st.sampled_from(["RS256-1", "ES256-1", "unknown"]),
        "typ": st.sampled_from(["JWT", "at+jwt", "id+jwt"]),
    },
)


def agree(raw: bytes, provider: tokens.Provider) -> None:
    """The verdict equals that of verification, and the first row that failed is the reason."""
    how: Any = {"provider": provider, "keys": KEYS, "now": NOW, "audience": RESOURCE}
    verdict = tokens.verify(raw, **how)
    report = explain(raw, **how)
    assert report.verdict == verdict
    failed = [row for row in report.rows if row.result == "failed"]
    if isinstance(verdict, Rejected):
        assert (failed[0].code, failed[0].sentence) == (verdict.code, verdict.detail)
    else:
        assert not failed
        assert {row.sentence for row in report.rows[: len(CHECKS) + 1] if row.result != "ok"} <= {NOTHING_ASKED}
    shown = json.dumps(payload(report), ensure_ascii=True)
    assert raw.rpartition(b".")[2].decode("latin-1") not in shown or len(raw) < 100
    assert all(len(row.shown) <= token_report.LONGEST_SHOWN + 1 for row in report.rows)


@given(CLAIMS, PROVIDERS, HEADERS, st.sampled_from(["RS256", "ES256"]))
def test_the_verdict_of_the_report_is_always_that_of_verification(
    claims: dict[str, Any], settings: dict[str, Any], header: dict[str, Any], algorithm: str
) -> None:
    raw = ISSUER.token(algorithm=algorithm, header=header, **claims).encode()
    agree(raw, replace(PROVIDER, **settings))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_reported_as_verification_judges_them(raw: bytes) -> None:
    agree(raw, PROVIDER)


def test_a_forged_signature_is_reported_and_the_claims_are_judged_all_the_same() -> None:
    raw = (ISSUER.token(exp=NOW - 100)[:-4] + "AAAA").encode()
    agree(raw, PROVIDER)
    report = explain(raw, provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE)
    assert {row.code for row in report.rows if row.result == "failed"} >= {"token_signature", "token_expired"}


def test_the_report_has_words_for_every_check() -> None:
    assert token_report.told_rules() == {check.rule for check in CHECKS}


def test_every_check_comes_after_those_that_it_builds_on() -> None:
    rules = [check.rule for check in CHECKS]
    assert len(set(rules)) == len(rules)
    for place, check in enumerate(CHECKS):
        assert set(check.after) <= set(rules[:place])


def test_what_depends_on_a_failed_check_is_not_checked() -> None:
    report = explain(ISSUER.token(exp="tomorrow").encode(), provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE)
    by_rule = dict(zip([check.rule for check in CHECKS], report.rows[1:], strict=False))
    assert by_rule["exp"].result == "failed"
    assert (by_rule["not_expired"].result, by_rule["lifetime"].result) == ("not_checked", "not_checked")
    assert by_rule["audience"].result == "ok"


def test_without_keys_nothing_is_accepted_and_the_report_says_so() -> None:
    report = explain(ISSUER.token().encode(), provider=PROVIDER, keys=None, now=NOW, audience=RESOURCE)
    assert report.verdict == token_report.NO_KEYS
    assert [row.code for row in report.rows if row.result == "failed"] == ["keys_unavailable"]
    assert next(row for row in report.rows if row.claim == "signature").result == "not_checked"


def test_a_long_lived_token_is_refused_with_that_reason() -> None:
    raw = ISSUER.token(exp=NOW + 86_400).encode()
    report = explain(raw, provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE)
    assert report.verdict == Rejected("token_lifetime", "The token is valid for longer than this issuer may grant.")
    row = next(row for row in report.rows if row.result == "failed")
    assert (row.claim, row.shown, row.rule) == ("exp - iat", "86400 s", "More than nothing and at most 3600 s.")


def test_key_material_in_the_header_and_unread_claims_are_named_as_such() -> None:
    raw = ISSUER.token(header={"jku": "https://attacker.example/"}, favourite_colour="blue").encode()
    report = explain(raw, provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE)
    assert isinstance(report.verdict, Identity)
    unread = {row.claim: row for row in report.rows if row.sentence != NOTHING_ASKED and row.result == "not_checked"}
    assert "jku" in unread
    assert unread["other claims"].shown == "favourite_colour"
    assert "attacker" not in json.dumps(payload(report))


@pytest.mark.parametrize(
    ("claims", "settings", "note"),
    [
        ({"hasgroups": True}, {}, "Groups are unknown: rules for groups deny."),
        ({"groups": ABSENT}, {"missing_groups_are_unknown": True}, "Groups are unknown: rules for groups deny."),
        (
            {"_claim_names": {"groups": "src1"}},
            {"uses_directory": True},
            "Groups are unknown in the token: those of the directory count, if the principal is there.",
        ),
        ({"groups": []}, {}, "They are known."),
    ],
)
def test_the_report_says_whether_groups_are_known(claims: dict[str, Any], settings: dict[str, Any], note: str) -> None:
    raw = ISSUER.token(**claims).encode()
    report = explain(raw, provider=replace(PROVIDER, **settings), keys=KEYS, now=NOW, audience=RESOURCE)
    assert next(row for row in report.rows if row.claim == "groups").sentence == note


def test_hostile_values_are_cut_and_cleaned() -> None:
    raw = ISSUER.token(sub="x" * 250, aud=["y" * 2000, RESOURCE], groups=["g" * 200] * 40).encode()
    agree(raw, PROVIDER)
    raw = signed(
        {"alg": "RS256", "kid": "RS256-1"}, ISSUER.claims(sub="a\u2028b\x1b[31m"), ISSUER.signing["RS256"], "RS256"
    )
    report = explain(raw.encode(), provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE)
    assert not any("\u2028" in row.shown or "\x1b" in row.shown for row in report.rows)
