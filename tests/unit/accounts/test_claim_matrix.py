"""Every pair of claim states beside each other, and any combination, against the oracle that knows no code."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from accounts.tokens import Rejected, verify
from tests.support import idp
from tests.unit.accounts.claim_oracle import ABSENT, ISSUER, NOW, RESOURCE, STATES, expected, right

SIGNER = idp.Issuer(ISSUER, audience=RESOURCE, clock=lambda: NOW)
KEYS = SIGNER.keys()
PROVIDER = replace(
    SIGNER.provider(),
    tenants=frozenset({"t-1"}),
    authorized_parties=frozenset({"c-1"}),
    required_claims={"owner": frozenset({"acme"})},
)


def found(claims: dict[str, Any]) -> str:
    named = {name: idp.ABSENT if value is ABSENT else value for name, value in claims.items()}
    raw = SIGNER.token(algorithm="ES256", **named).encode()
    verdict = verify(raw, provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE)
    return verdict.code if isinstance(verdict, Rejected) else "accepted"


def pairwise() -> dict[str, dict[str, Any]]:
    cases = {}
    for first, second in combinations(STATES, 2):
        for a, b in product(STATES[first], STATES[second]):
            cases[f"{first} {a}, {second} {b}"] = right() | {first: STATES[first][a], second: STATES[second][b]}
    return cases


def test_every_pair_of_claim_states_gives_what_the_oracle_says() -> None:
    cases = pairwise()
    assert len(cases) >= 250
    wrong = {
        name: (found(claims), expected(claims)) for name, claims in cases.items() if found(claims) != expected(claims)
    }
    assert wrong == {}


def test_the_oracle_accepts_and_uses_every_code_that_claims_can_lead_to() -> None:
    assert {expected(claims) for claims in pairwise().values()} == {
        "accepted",
        "token_claim_missing",
        "token_claim_type",
        "token_issuer",
        "token_expired",
        "token_not_yet_valid",
        "token_lifetime",
        "token_audience",
        "token_bound",
        "token_tenant",
        "token_party",
        "token_claim_required",
    }


@given(st.fixed_dictionaries({name: st.sampled_from(sorted(states)) for name, states in STATES.items()}))
def test_any_combination_of_claim_states_gives_what_the_oracle_says(chosen: dict[str, str]) -> None:
    claims = {name: STATES[name][which] for name, which in chosen.items()}
    assert found(claims) == expected(claims)
