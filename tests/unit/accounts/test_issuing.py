"""Tokens that the gateway gives out: what they say, how they verify, and whose they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from accounts import issuing, tokens
from accounts.keys import decode_segment, key_set
from accounts.tokens import Identity, Narrowing, Rejected
from tests.support.idp import Issuer, signed

PUBLIC = "https://wardgate.example.com"
NOW = 1_790_000_000
ORIGINAL = Identity(
    issuer="https://idp.example",
    subject="ci|job",
    groups=frozenset({"sre", "ops"}),
    expires_at=NOW + 3600,
    display_name="CI",
    email="ci@example.com",
    client_id="runner",
    token_digest=b"\0" * 32,
    provider_id="provider-1",
    token_id="original",
    audiences=frozenset({f"{PUBLIC}/oauth/token"}),
    issued_at=NOW - 10,
    session_id="session-1",
    kind="machine",
)
PROVIDERS = {"https://idp.example": Issuer("https://idp.example").provider()}


@dataclass
class Row:
    public_jwk: dict
    published_until: datetime


def order(**changes) -> issuing.Order:
    values = {
        "identity": ORIGINAL,
        "token_id": "row-1",
        "narrowing": Narrowing("orders", ("get_*",)),
        "actors": (),
        "issued_at": NOW,
        "expires_at": NOW + 300,
    }
    return issuing.Order(**(values | changes))


def row_of(signer: issuing.Signer, until: int = NOW + 9999) -> Row:
    return Row(signer.public_jwk(), datetime.fromtimestamp(until, UTC))


def verify(raw: str, *signers: issuing.Signer, now: float = NOW, slug: str = "orders"):
    moment = datetime.fromtimestamp(now, UTC)
    provider = issuing.signing_provider(map(row_of, signers), now=moment, public_url=PUBLIC)
    keys = key_set(provider.pinned_jwks, algorithms=provider.algorithms)
    return tokens.verify(
        raw.encode(), provider=provider, keys=keys, now=now, audience=issuing.resource_of(slug, public_url=PUBLIC)
    )


@pytest.fixture(scope="module")
def signer():
    return issuing.Signer.new()


def given_out(signer: issuing.Signer, **changes) -> str:
    return signer.sign(issuing.claims_of(order(**changes), public_url=PUBLIC))


def test_a_token_comes_back_as_the_original_principal_with_less(signer):
    raw = given_out(signer)
    identity = verify(raw, signer)
    assert isinstance(identity, Identity)
    original = issuing.as_original(identity, raw.encode(), PROVIDERS)
    assert original == replace(
        ORIGINAL,
        display_name="",
        email="",
        token_digest=identity.token_digest,
        twin_digest=identity.twin_digest,
        token_id="row-1",
        audiences=frozenset({f"{PUBLIC}/mcp/orders"}),
        issued_at=NOW,
        expires_at=NOW + 300,
        narrowing=Narrowing("orders", ("get_*",)),
    )


def test_unknown_groups_stay_unknown_and_none_stay_none(signer):
    for groups in (None, frozenset()):
        raw = given_out(signer, identity=replace(ORIGINAL, groups=groups))
        assert issuing.as_original(verify(raw, signer), raw.encode(), PROVIDERS).groups == groups


def test_the_chain_of_actors_travels_with_the_one_at_the_gateway_first(signer):
    raw = given_out(signer, actors=("https://idp.example|agent", "https://idp.example|planner"))
    claims = json.loads(decode_segment(raw.split(".")[1].encode()))
    assert claims["act"]["sub"] == "agent"
    assert claims["act"]["act"] == {"iss": "https://idp.example", "sub": "planner"}
    assert verify(raw, signer).actors == ("https://idp.example|agent", "https://idp.example|planner")


def test_a_token_is_good_at_its_own_connection_only(signer):
    refused = verify(given_out(signer), signer, slug="wiki")
    assert refused.code == "token_audience"


def test_a_token_ends_when_it_says(signer):
    raw = given_out(signer)
    assert isinstance(verify(raw, signer, now=NOW + 300 + issuing.LEEWAY_SECONDS - 1), Identity)
    assert verify(raw, signer, now=NOW + 300 + issuing.LEEWAY_SECONDS).code == "token_expired"


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": NOW + issuing.MAX_TOKEN_SECONDS + 1},
        {"expires_at": NOW},
        {"identity": replace(ORIGINAL, expires_at=NOW + 299)},
        {"identity": replace(ORIGINAL, issuer=PUBLIC)},
        {"narrowing": Narrowing("orders", ())},
    ],
)
def test_what_must_not_be_given_out_is_not_even_written(changes):
    with pytest.raises(ValueError, match=r"token"):
        issuing.claims_of(order(**changes), public_url=PUBLIC)


def test_a_key_that_is_no_longer_published_verifies_nothing(signer):
    raw, later = given_out(signer), issuing.Signer.new()
    assert isinstance(verify(raw, later, signer), Identity)
    assert verify(raw, later).code == "token_key_unknown"
    rows = [row_of(signer, until=NOW), row_of(later, until=NOW + 1)]
    assert issuing.published(rows, now=datetime.fromtimestamp(NOW, UTC)) == {"keys": [later.public_jwk()]}


def test_published_keys_hold_nothing_private_and_are_found_usable(signer):
    assert signer.public_jwk().keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    found = key_set({"keys": [signer.public_jwk()]}, algorithms={"ES256"})
    assert len(found) == 1
    assert found.refused == ()


def test_a_private_key_is_opened_again_and_never_shown(signer):
    again = issuing.Signer.opened(signer.kid, signer.private_pem())
    assert isinstance(verify(given_out(again), signer), Identity)
    assert repr(signer) == f"Signer(kid={signer.kid!r})"


def test_an_issuer_that_is_not_accepted_any_more_takes_its_exchanged_tokens_along(signer):
    raw = given_out(signer)
    identity = verify(raw, signer)
    assert issuing.as_original(identity, raw.encode(), {}).code == "token_issuer"
    itself = issuing.signing_provider([], now=datetime.fromtimestamp(NOW, UTC), public_url=PUBLIC)
    assert issuing.as_original(identity, raw.encode(), {"https://idp.example": itself}).code == "token_issuer"


@pytest.mark.parametrize("name", ["wg_iss", "wg_kind", "wg_connection", "wg_tools"])
@pytest.mark.parametrize("value", [None, 1, "", [], {}, [1], [""], ["*", 1]])
def test_a_token_that_does_not_say_what_it_is_for_is_refused(signer, name, value):
    claims = {**issuing.claims_of(order(), public_url=PUBLIC), name: value}
    raw = signer.sign(claims)
    assert isinstance(issuing.as_original(verify(raw, signer), raw.encode(), PROVIDERS), Rejected)


def test_an_honest_token_of_the_original_issuer_is_no_gateway_token(signer):
    issuer = Issuer(PUBLIC, audience=f"{PUBLIC}/mcp/orders", clock=lambda: NOW)
    forged = signed(
        {"alg": "ES256", "typ": "at+jwt", "kid": signer.kid}, issuer.claims(), issuer.signing["ES256"], "ES256"
    )
    assert verify(forged, signer).code == "token_signature"


def test_lifetimes_longer_than_minutes_are_refused_by_the_data_path_too(signer):
    claims = issuing.claims_of(order(), public_url=PUBLIC)
    claims["exp"] = int((datetime.fromtimestamp(NOW, UTC) + timedelta(hours=1)).timestamp())
    assert verify(signer.sign(claims), signer).code == "token_lifetime"
