from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import warnings
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from accounts.tokens import TOKEN_BYTES, Identity, Rejected, key_set, peek, verify
from tests.support.idp import ABSENT, Issuer, encoded, signed, signing_key

NOW = 1_800_000_000
RESOURCE = "https://gateway.example/mcp/orders"
ISSUER = Issuer("https://idp.example", audience=RESOURCE, clock=lambda: NOW)
PROVIDER = ISSUER.provider()
KEYS = ISSUER.keys()
RSA = ISSUER.signing["RS256"]
KID = RSA.kid
HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": KID}
GOOD = ISSUER.token()


def judged(token: str | bytes, *, now: float = NOW, audience: str = RESOURCE, **provider: Any) -> Identity | Rejected:
    raw = token.encode() if isinstance(token, str) else token
    return verify(raw, provider=replace(PROVIDER, **provider), keys=KEYS, now=now, audience=audience)


def code(token: str | bytes, **how: Any) -> str:
    verdict = judged(token, **how)
    return verdict.code if isinstance(verdict, Rejected) else "accepted"


def honest(**changes: Any) -> dict[str, Any]:
    return ISSUER.claims(jti="token-1", **changes)


def with_header(**changes: Any) -> str:
    """A token whose signature is genuine and whose header is not what an honest issuer writes."""
    header = {name: value for name, value in (HEADER | changes).items() if value is not ABSENT}
    return signed(header, honest(), RSA, "RS256")


def with_raw(header: bytes | None = None, claims: bytes | None = None) -> str:
    return signed(json.dumps(HEADER).encode() if header is None else header, claims or dumped(), RSA, "RS256")


def dumped(**changes: Any) -> bytes:
    return json.dumps(honest(**changes)).encode()


def hmac_signed(algorithm: str, secret: bytes, **header: Any) -> str:
    message = encoded({"alg": algorithm, "kid": KID} | header) + b"." + encoded(honest())
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    return (message + b"." + encoded(hmac.new(secret, message, digest).digest())).decode()


def unsigned(algorithm: Any, signature: bytes = b"") -> str:
    return (encoded({"alg": algorithm, "kid": KID}) + b"." + encoded(honest()) + b"." + signature).decode()


def spliced(header: str | None = None, claims: str | None = None, signature: str | None = None) -> str:
    """The good token with segments replaced, which its signature does not cover."""
    parts = GOOD.split(".")
    return ".".join(part if new is None else new for part, new in zip(parts, (header, claims, signature), strict=True))


def flipped(token: str, index: int) -> str:
    """The token with the lowest bit of one byte of its signature changed."""
    head, _, tail = token.rpartition(".")
    value = bytearray(base64.urlsafe_b64decode(tail + "=" * (-len(tail) % 4)))
    value[index] ^= 1
    return head + "." + encoded(bytes(value)).decode()


ATTACKER = signing_key("RS256", "attacker")
ATTACKER_JWK = ATTACKER.as_dict(private=False)
PEM = RSA.as_pem(private=False)
DER_B64 = base64.b64encode(RSA.as_der(private=False)).decode()
JWK_TEXT = json.dumps(RSA.as_dict(private=False)).encode()


def by_attacker(**header: Any) -> str:
    return signed(HEADER | header, honest(), ATTACKER, "RS256")


ES = ISSUER.token(algorithm="ES256")
PLUS_OFFSET = int.from_bytes(base64.urlsafe_b64decode(GOOD.split(".")[2] + "=="))
MODULUS = int.from_bytes(base64.urlsafe_b64decode(str(RSA["n"]) + "=="))

FORGED: list[tuple[str, str, str]] = [
    # No signature, or one that anybody can make.
    ("alg none", unsigned("none"), "token_algorithm"),
    ("alg None", unsigned("None"), "token_algorithm"),
    ("alg NONE", unsigned("NONE"), "token_algorithm"),
    ("alg nOnE", unsigned("nOnE"), "token_algorithm"),
    ("alg none with a signature", unsigned("none", b"AAAA"), "token_algorithm"),
    ("alg empty", unsigned(""), "token_algorithm"),
    ("alg null", unsigned(None), "token_algorithm"),
    ("alg a list", unsigned(["RS256"]), "token_algorithm"),
    ("alg a number", unsigned(256), "token_algorithm"),
    ("alg missing", with_header(alg=ABSENT), "token_algorithm"),
    ("alg in lower case", with_header(alg="rs256"), "token_algorithm"),
    ("alg with a space", with_header(alg="RS256 "), "token_algorithm"),
    ("signature cut off", spliced(signature=""), "token_malformed"),
    ("HS256 with the public key as PEM", hmac_signed("HS256", PEM), "token_algorithm"),
    ("HS256 with the public key as DER", hmac_signed("HS256", base64.b64decode(DER_B64)), "token_algorithm"),
    ("HS256 with the key as JWK", hmac_signed("HS256", JWK_TEXT), "token_algorithm"),
    ("HS256 with an empty secret", hmac_signed("HS256", b""), "token_algorithm"),
    ("HS384 with the public key", hmac_signed("HS384", PEM), "token_algorithm"),
    ("HS512 with the public key", hmac_signed("HS512", PEM), "token_algorithm"),
    ("hs256 in lower case", hmac_signed("HS256", PEM, alg="hs256"), "token_algorithm"),
    # The token brings or names its own key.
    ("jwk header", by_attacker(jwk=ATTACKER_JWK), "token_signature"),
    (
        "jwk header, no kid",
        signed({"alg": "RS256", "jwk": ATTACKER_JWK}, honest(), ATTACKER, "RS256"),
        "token_signature",
    ),
    ("jwk header, kid of its own", by_attacker(kid="mine", jwk=ATTACKER_JWK), "token_key_unknown"),
    ("jku header", by_attacker(jku="https://attacker.example/jwks"), "token_signature"),
    ("jku header at the issuer's host", by_attacker(jku="https://idp.example@attacker.example/"), "token_signature"),
    ("x5u header", by_attacker(x5u="https://attacker.example/cert.pem"), "token_signature"),
    ("x5c header", by_attacker(x5c=[DER_B64]), "token_signature"),
    ("x5t header", by_attacker(x5t="AAAA"), "token_signature"),
    ("attacker's key under a known kid", by_attacker(), "token_signature"),
    # The key id.
    ("kid unknown", with_header(kid="unknown"), "token_key_unknown"),
    ("kid as a path", with_header(kid="../../../../dev/null"), "token_key_unknown"),
    ("kid as SQL", with_header(kid="' UNION SELECT 'x' --"), "token_key_unknown"),
    ("kid as a URL", with_header(kid="https://attacker.example/"), "token_key_unknown"),
    ("kid with NUL", with_header(kid=f"{KID}\x00"), "token_key_unknown"),
    ("kid in another case", with_header(kid=str(KID).lower()), "token_key_unknown"),
    ("kid of the EC key", with_header(kid=ISSUER.signing["ES256"].kid), "token_key_unknown"),
    ("kid empty", with_header(kid=""), "token_header"),
    ("kid null", with_header(kid=None), "token_header"),
    ("kid a number", with_header(kid=1), "token_header"),
    ("kid a list", with_header(kid=[KID]), "token_header"),
    ("kid of 257 characters", with_header(kid="k" * 257), "token_header"),
    # Extensions that change how a token is read.
    ("crit empty", with_header(crit=[]), "token_header"),
    ("crit unknown", with_header(crit=["x"], x=1), "token_header"),
    ("crit exp", with_header(crit=["exp"], exp=1), "token_header"),
    ("crit b64", with_header(crit=["b64"], b64=False), "token_header"),
    ("b64 false", with_header(b64=False), "token_header"),
    ("b64 true", with_header(b64=True), "token_header"),
    ("zip", with_header(zip="DEF"), "token_header"),
    ("enc", with_header(enc="A256GCM"), "token_header"),
    ("nested JWT", with_header(cty="JWT"), "token_header"),
    # The signature.
    ("first byte of the signature changed", flipped(GOOD, 0), "token_signature"),
    ("last byte of the signature changed", flipped(GOOD, -1), "token_signature"),
    ("signature a byte longer", GOOD.rpartition(".")[0] + "." + encoded(b"\0" * 257).decode(), "token_signature"),
    ("signature of one byte", spliced(signature="AA"), "token_signature"),
    ("signature of zeros", spliced(signature=encoded(b"\0" * 256).decode()), "token_signature"),
    (
        "signature plus the modulus",
        spliced(signature=encoded((PLUS_OFFSET + MODULUS).to_bytes(257)).decode()),
        "token_signature",
    ),
    ("signature of another token", spliced(signature=ISSUER.token(sub="bob").split(".")[2]), "token_signature"),
    ("claims exchanged", spliced(claims=ISSUER.token(sub="bob").split(".")[1]), "token_signature"),
    ("header exchanged", spliced(header=encoded(HEADER | {"x": 1}).decode()), "token_signature"),
    ("ES256 of zeros", ES.rpartition(".")[0] + "." + encoded(b"\0" * 64).decode(), "token_signature"),
    ("ES256 half as long", ES.rpartition(".")[0] + "." + encoded(b"\1" * 32).decode(), "token_signature"),
    (
        "ES256 as DER",
        ES.rpartition(".")[0] + "." + encoded(b"\x30\x06\x02\x01\x01\x02\x01\x01").decode(),
        "token_signature",
    ),
    ("RS256 signature under the EC key", with_header(alg="ES256", kid="ES256-1"), "token_signature"),
    ("PS256 where the issuer signs RS256", with_header(alg="PS256"), "token_algorithm"),
    ("RS512 where the issuer signs RS256", with_header(alg="RS512"), "token_algorithm"),
    # The form.
    ("empty", "", "token_missing"),
    ("one segment", "abc", "token_malformed"),
    ("two segments", GOOD.rpartition(".")[0], "token_malformed"),
    ("four segments", GOOD + ".AAAA", "token_malformed"),
    ("five segments, as an encrypted token has", GOOD + ".AAAA.AAAA", "token_malformed"),
    ("only dots", "..", "token_malformed"),
    ("padding after the header", spliced(header=GOOD.split(".")[0] + "="), "token_malformed"),
    ("padding after the signature", GOOD + "==", "token_malformed"),
    ("white space at the end", GOOD + "\n", "token_malformed"),
    ("white space in the middle", spliced(claims=" " + GOOD.split(".")[1]), "token_malformed"),
    ("the other base64 alphabet", spliced(signature="+/" + GOOD.split(".")[2][2:]), "token_malformed"),
    ("bits left over", spliced(signature=GOOD.split(".")[2][:-1] + "B"), "token_malformed"),
    ("not ASCII", spliced(signature="é" + GOOD.split(".")[2]), "token_malformed"),
    ("NUL inside", spliced(signature=GOOD.split(".")[2] + "\x00"), "token_malformed"),
    ("JSON serialisation", '{"payload":"e30.","signatures":[]}.', "token_malformed"),
    # JSON on which parsers disagree.
    ("alg twice", with_raw(header=b'{"alg":"none","alg":"RS256","kid":"RS256-1"}'), "token_malformed"),
    ("kid twice", with_raw(header=b'{"alg":"RS256","kid":"x","kid":"RS256-1"}'), "token_malformed"),
    ("sub twice", with_raw(claims=dumped()[:-1] + b',"sub":"bob"}'), "token_malformed"),
    ("aud twice", with_raw(claims=dumped()[:-1] + b',"aud":"x"}'), "token_malformed"),
    ("a duplicate deep inside", with_raw(claims=dumped()[:-1] + b',"x":[{"a":1,"a":2}]}'), "token_malformed"),
    ("sub twice, once escaped", with_raw(claims=dumped()[:-1] + b',"\\u0073ub":"bob"}'), "token_malformed"),
    ("byte order mark", with_raw(claims=b"\xef\xbb\xbf" + dumped()), "token_malformed"),
    ("UTF-16", with_raw(claims=dumped().decode().encode("utf-16")), "token_malformed"),
    ("invalid UTF-8", with_raw(claims=dumped()[:-1] + b',"x":"\xff"}'), "token_malformed"),
    ("NaN", with_raw(claims=dumped()[:-1] + b',"x":NaN}'), "token_malformed"),
    ("Infinity", with_raw(claims=dumped()[:-1] + b',"x":-Infinity}'), "token_malformed"),
    ("a number beyond floats", with_raw(claims=dumped()[:-1] + b',"x":1e400}'), "token_malformed"),
    ("trailing data", with_raw(claims=dumped() + b"{}"), "token_malformed"),
    ("trailing comma", with_raw(claims=dumped()[:-1] + b",}"), "token_malformed"),
    ("deep nesting", with_raw(claims=dumped()[:-1] + b',"x":' + b"[" * 9000 + b"}"), "token_malformed"),
    ("a number of 5000 digits", with_raw(claims=dumped()[:-1] + b',"x":' + b"9" * 5000 + b"}"), "token_malformed"),
    ("claims an array", with_raw(claims=b"[]"), "token_malformed"),
    ("claims a string", with_raw(claims=b'"x"'), "token_malformed"),
    ("claims a token", with_raw(claims=GOOD.encode()), "token_malformed"),
    ("header an array", with_raw(header=b"[]"), "token_malformed"),
    ("header null", with_raw(header=b"null"), "token_malformed"),
    ("header empty", with_raw(header=b""), "token_malformed"),
    # The type: an ID token, a refresh token and others are genuine and not for calls.
    ("typ of an ID token", ISSUER.token(typ="id+jwt"), "token_type"),
    ("typ of a logout token", ISSUER.token(typ="logout+jwt"), "token_type"),
    ("typ of a DPoP proof", ISSUER.token(typ="dpop+jwt"), "token_type"),
    ("typ of a security event", ISSUER.token(typ="secevent+jwt"), "token_type"),
    ("typ empty", ISSUER.token(typ=""), "token_type"),
    ("typ null", ISSUER.token(typ=None), "token_type"),
    ("typ a list", ISSUER.token(typ=["at+jwt"]), "token_type"),
    ("typ with its prefix twice", ISSUER.token(typ="application/application/at+jwt"), "token_type"),
    ("nonce, so an ID token", ISSUER.token(typ="JWT", nonce="n"), "token_type"),
    ("at_hash, so an ID token", ISSUER.token(typ="JWT", at_hash="h"), "token_type"),
    ("c_hash, so an ID token", ISSUER.token(typ=ABSENT, c_hash="h"), "token_type"),
    ("s_hash, so an ID token", ISSUER.token(typ=ABSENT, s_hash="h"), "token_type"),
    ("events, so a logout token", ISSUER.token(typ="JWT", events={}), "token_type"),
    ("Keycloak ID token", with_raw(claims=dumped(typ="ID")), "token_type"),
    ("Keycloak refresh token", with_raw(claims=dumped(typ="Refresh")), "token_type"),
    ("Keycloak offline token", with_raw(claims=dumped(typ="Offline")), "token_type"),
    ("Cognito ID token", ISSUER.token(token_use="id"), "token_type"),
    ("bound to a DPoP key", ISSUER.token(cnf={"jkt": "x"}), "token_bound"),
    ("bound to a certificate", ISSUER.token(cnf={"x5t#S256": "x"}), "token_bound"),
    # Other products, other environments.
    ("issuer of another environment", ISSUER.token(iss="https://idp.test.example"), "token_issuer"),
    ("issuer with a slash more", ISSUER.token(iss="https://idp.example/"), "token_issuer"),
    ("issuer in upper case", ISSUER.token(iss="https://IDP.example"), "token_issuer"),
    ("issuer with the scheme's port", ISSUER.token(iss="https://idp.example:443"), "token_issuer"),
    ("audience of another connection", ISSUER.token(aud="https://gateway.example/mcp/billing"), "token_audience"),
    ("audience is a prefix", ISSUER.token(aud=RESOURCE[:-1]), "token_audience"),
    ("audience with a slash more", ISSUER.token(aud=RESOURCE + "/"), "token_audience"),
    ("audience in upper case", ISSUER.token(aud=RESOURCE.upper()), "token_audience"),
    ("audience a wildcard", ISSUER.token(aud="*"), "token_audience"),
    ("audiences joined by spaces", ISSUER.token(aud=f"x {RESOURCE}"), "token_audience"),
    ("no audience in the list", ISSUER.token(aud=[]), "token_audience"),
]


def test_an_honest_token_gives_the_identity_that_it_proves() -> None:
    token = ISSUER.token(jti="t-1", name="Alice Example", email="alice@example.org", groups=["sre", "dba"])
    assert judged(token) == Identity(
        issuer="https://idp.example",
        subject="alice",
        groups=frozenset({"sre", "dba"}),
        expires_at=NOW + 300,
        display_name="Alice Example",
        email="alice@example.org",
        client_id="test-client",
        token_digest=hashlib.sha256(token.encode()).digest(),
        provider_id="provider-1",
        token_id="t-1",
        audiences=frozenset({RESOURCE}),
        issued_at=NOW,
    )


def test_of_the_claims_only_those_that_the_provider_lists_reach_policy() -> None:
    token = ISSUER.token(dept="ops", org={"level": 3}, secret="s")
    found = judged(token, condition_claims=("dept", "org.level", "missing"))
    assert isinstance(found, Identity)
    assert found.claims == {"dept": "ops", "org.level": 3}
    assert "ops" not in repr(found)


@pytest.mark.parametrize(("token", "expected"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_a_forged_token_is_refused_with_its_code(token: str, expected: str) -> None:
    assert code(token) == expected


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
)
def test_every_configurable_algorithm_verifies_a_genuine_token_and_no_changed_one(algorithm: str) -> None:
    keys = key_set({"keys": [signing_key(algorithm).as_dict(private=False)]}, algorithms={algorithm})
    provider = replace(PROVIDER, algorithms=frozenset({algorithm}))
    token = ISSUER.token(algorithm=algorithm)
    how: Any = {"provider": provider, "keys": keys, "now": NOW, "audience": RESOURCE}
    assert isinstance(verify(token.encode(), **how), Identity)
    assert verify(flipped(token, 0).encode(), **how) == Rejected(
        "token_signature", "The token's signature is not valid."
    )


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("ABCDwxyz0189-_"))
def test_no_single_changed_character_is_accepted(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    assert changed == GOOD or code(changed) != "accepted"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_never_raise(raw: bytes) -> None:
    assert isinstance(peek(raw), Rejected)
    assert code(raw) != "accepted"


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]),
        st.none() | st.text() | st.integers() | st.lists(st.text()),
    ),
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()),
)
def test_arbitrary_json_is_refused_and_never_raises(header: dict[str, Any], claims: dict[str, Any]) -> None:
    token = b".".join((encoded(header), encoded(claims), b"AAAA"))
    assert code(token) != "accepted"


class TestKeyMaterialInTheHeader:
    @pytest.mark.parametrize(
        "header", [{"jku": "https://idp.example/jwks"}, {"x5c": [DER_B64]}, {"x5t": "x"}, {"jwk": ATTACKER_JWK}]
    )
    def test_is_not_read_so_a_genuine_token_is_judged_without_it(self, header: dict[str, Any]) -> None:
        assert code(ISSUER.token(header=header)) == "accepted"

    def test_a_token_without_a_key_id_is_accepted_when_one_key_fits(self) -> None:
        assert code(with_header(kid=ABSENT)) == "accepted"

    def test_a_token_without_a_key_id_is_refused_when_two_keys_fit(self) -> None:
        jwks = {"keys": [RSA.as_dict(private=False), ATTACKER_JWK]}
        keys = key_set(jwks, algorithms=PROVIDER.algorithms)
        verdict = verify(with_header(kid=ABSENT).encode(), provider=PROVIDER, keys=keys, now=NOW, audience=RESOURCE)
        assert isinstance(verdict, Rejected)
        assert verdict.code == "token_key_unknown"


class TestSize:
    def test_a_token_of_the_limit_is_read_and_one_byte_more_is_not(self) -> None:
        room = TOKEN_BYTES - len(ISSUER.token(jti="t", filling=""))
        token = ISSUER.token(jti="t", filling="x" * (room * 3 // 4))
        assert len(token) <= TOKEN_BYTES < len(token) + 8
        assert code(token) == "accepted"
        raw = token.encode()
        assert not isinstance(peek(raw, limit=len(raw)), Rejected)
        assert peek(raw, limit=len(raw) - 1) == Rejected(
            "token_too_long", "The token is longer than the gateway accepts."
        )

    def test_a_huge_token_is_refused_by_its_length_alone(self) -> None:
        assert code(b"." * 50_000_000) == "token_too_long"


class TestPeek:
    def test_says_issuer_key_and_algorithm(self) -> None:
        seen = peek(GOOD.encode())
        assert not isinstance(seen, Rejected)
        assert (seen.issuer, seen.key_id, seen.algorithm) == ("https://idp.example", KID, "RS256")

    def test_the_result_for_another_token_is_not_used(self) -> None:
        other = peek(GOOD.encode())
        assert not isinstance(other, Rejected)
        forged = flipped(GOOD, 3).encode()
        verdict = verify(forged, provider=PROVIDER, keys=KEYS, now=NOW, audience=RESOURCE, unverified=other)
        assert isinstance(verdict, Rejected)
        assert verdict.code == "token_signature"

    def test_the_result_for_the_same_token_changes_nothing(self) -> None:
        seen = peek(GOOD.encode())
        assert not isinstance(seen, Rejected)
        how: Any = {"provider": PROVIDER, "keys": KEYS, "now": NOW, "audience": RESOURCE}
        assert verify(GOOD.encode(), unverified=seen, **how) == verify(GOOD.encode(), **how)

    @pytest.mark.parametrize(
        ("issuer", "expected"),
        [
            (ABSENT, "token_claim_missing"),
            (None, "token_claim_type"),
            (["https://idp.example"], "token_claim_type"),
            ("", "token_claim_type"),
            ("a\nb", "token_claim_type"),
        ],
    )
    def test_an_issuer_that_is_not_a_text_is_refused_before_any_lookup(self, issuer: object, expected: str) -> None:
        verdict = peek(ISSUER.token(iss=issuer).encode())
        assert isinstance(verdict, Rejected)
        assert verdict.code == expected


class TestClaims:
    @pytest.mark.parametrize(
        ("claims", "expected"),
        [
            ({"exp": NOW - 29, "iat": NOW - 300, "nbf": NOW - 300}, "accepted"),
            ({"exp": NOW - 30, "iat": NOW - 300, "nbf": NOW - 300}, "token_expired"),
            ({"exp": NOW - 31, "iat": NOW - 300, "nbf": NOW - 300}, "token_expired"),
            ({"nbf": NOW + 29}, "accepted"),
            ({"nbf": NOW + 30}, "accepted"),
            ({"nbf": NOW + 31}, "token_not_yet_valid"),
            ({"iat": NOW + 29}, "accepted"),
            ({"iat": NOW + 30}, "accepted"),
            ({"iat": NOW + 31}, "token_not_yet_valid"),
        ],
    )
    def test_the_leeway_is_exact_to_the_second(self, claims: dict[str, Any], expected: str) -> None:
        assert code(ISSUER.token(**claims)) == expected

    def test_the_leeway_is_exact_within_a_second(self) -> None:
        token = ISSUER.token(exp=NOW + 100)
        assert code(token, now=NOW + 129.999) == "accepted"
        assert code(token, now=NOW + 130.0) == "token_expired"

    def test_without_leeway_a_token_ends_at_its_second(self) -> None:
        token = ISSUER.token(exp=NOW + 100)
        assert code(token, now=NOW + 99.9, leeway_seconds=0) == "accepted"
        assert code(token, now=NOW + 100, leeway_seconds=0) == "token_expired"

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(3600, "accepted"), (3601, "token_lifetime"), (0, "token_lifetime"), (-1, "token_lifetime")],
    )
    def test_the_lifetime_is_capped_exactly(self, seconds: int, expected: str) -> None:
        assert code(ISSUER.token(exp=NOW + seconds)) == expected

    def test_a_provider_may_do_without_nbf_and_one_that_is_there_still_counts(self) -> None:
        assert code(ISSUER.token(nbf=ABSENT)) == "token_claim_missing"
        assert code(ISSUER.token(nbf=ABSENT), requires_nbf=False) == "accepted"
        assert code(ISSUER.token(nbf=NOW + 31), requires_nbf=False) == "token_not_yet_valid"
        assert code(ISSUER.token(nbf="now"), requires_nbf=False) == "token_claim_type"

    def test_an_audience_of_the_provider_is_accepted_for_every_connection(self) -> None:
        token = ISSUER.token(aud="api://gateway")
        assert code(token) == "token_audience"
        assert code(token, audiences=frozenset({"api://gateway"})) == "accepted"

    def test_an_empty_audience_matches_nothing_even_where_nothing_is_configured(self) -> None:
        assert code(ISSUER.token(aud=""), audience="") == "token_claim_type"
        assert code(ISSUER.token(aud=[]), audience="") == "token_audience"

    def test_too_many_audiences_are_refused(self) -> None:
        assert code(ISSUER.token(aud=[RESOURCE] * 101)) == "token_claim_type"

    @pytest.mark.parametrize("subject", ["a\nb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\ud800b", "", "x" * 256])
    def test_a_subject_that_could_break_a_line_or_a_log_is_refused(self, subject: str) -> None:
        assert code(ISSUER.token(sub=subject)) == "token_claim_type"

    @pytest.mark.parametrize("subject", ["x" * 255, "auth0|5f7c", "Ünïcödé", "日本語", "a b", "' OR 1=1 --"])
    def test_a_subject_is_otherwise_taken_as_it_is(self, subject: str) -> None:
        verdict = judged(ISSUER.token(sub=subject))
        assert isinstance(verdict, Identity)
        assert verdict.subject == subject

    @pytest.mark.parametrize("claim", ["jti", "client_id", "azp", "appid", "cid"])
    @pytest.mark.parametrize("value", [None, 7, "", "a\nb", "x" * 256, ["x"]])
    def test_a_claim_that_revocation_or_binding_relies_on_is_never_guessed(self, claim: str, value: object) -> None:
        only: dict[str, Any] = {"client_id": ABSENT} if claim != "jti" else {}
        assert code(ISSUER.token(**(only | {claim: value}))) == "token_claim_type"

    @pytest.mark.parametrize("claim", ["client_id", "azp", "appid", "cid"])
    def test_the_client_is_found_under_each_issuer_s_name_for_it(self, claim: str) -> None:
        verdict = judged(ISSUER.token(**(dict[str, Any](client_id=ABSENT) | {claim: "c-1"})))
        assert isinstance(verdict, Identity)
        assert verdict.client_id == "c-1"

    @pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", ABSENT])
    def test_the_usual_types_are_accepted_by_default(self, typ: object) -> None:
        assert code(ISSUER.token(typ=typ)) == "accepted"

    @pytest.mark.parametrize("typ", ["JWT", ABSENT])
    def test_a_provider_that_names_its_types_accepts_no_other(self, typ: object) -> None:
        assert code(ISSUER.token(typ=typ), token_types=frozenset({"application/at+JWT"})) == "token_type"
        assert code(ISSUER.token(), token_types=frozenset({"application/at+JWT"})) == "accepted"

    def test_a_typed_access_token_may_carry_a_nonce(self) -> None:
        assert code(ISSUER.token(typ="at+jwt", nonce="n")) == "accepted"

    def test_the_claims_that_name_an_access_token_are_accepted(self) -> None:
        assert code(with_raw(claims=dumped(typ="Bearer", token_use="access"))) == "accepted"


class TestPrincipal:
    """The key is (issuer, subject); an e-mail or a name carries nothing over."""

    def test_the_same_e_mail_of_two_subjects_is_two_identities(self) -> None:
        first = judged(ISSUER.token(sub="1", email="ceo@example.org"))
        second = judged(ISSUER.token(sub="2", email="ceo@example.org", email_verified=True))
        assert isinstance(first, Identity)
        assert isinstance(second, Identity)
        assert (first.issuer, first.subject) != (second.issuer, second.subject)

    @pytest.mark.parametrize("value", [None, 7, ["a"], {"a": 1}, "\n", "x" * 5000, "\ud800", "a\x1b[31mb\u2028"])
    def test_an_odd_display_name_costs_the_name_and_not_the_call(self, value: object) -> None:
        verdict = judged(ISSUER.token(name=value, email=value))
        assert isinstance(verdict, Identity)
        for shown in (verdict.display_name, verdict.email):
            assert len(shown) <= 320
            assert not any(character in shown for character in "\n\x1b\u2028\ud800")

    def test_a_missing_name_falls_back_to_the_user_name(self) -> None:
        verdict = judged(ISSUER.token(preferred_username="alice"))
        assert isinstance(verdict, Identity)
        assert verdict.display_name == "alice"


class TestGroups:
    @pytest.mark.parametrize(
        ("path", "claims", "expected"),
        [
            ("groups", {"groups": ["a", "b"]}, {"a", "b"}),
            ("groups", {"groups": ["a", "a"]}, {"a"}),
            ("groups", {"groups": []}, set()),
            ("groups", {"groups": ABSENT}, set()),
            ("groups", {"groups": "a b"}, {"a b"}),
            ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}, {"admin"}),
            ("realm_access.roles", {"realm_access": {}}, set()),
            ("realm_access.roles", {}, set()),
            ("a.b.c", {"a": {"b": {"c": ["x"]}}}, {"x"}),
            ("https://example.com/groups", {"https://example.com/groups": ["y"]}, {"y"}),
            ("groups", {"groups": ["g" * 255]}, {"g" * 255}),
        ],
    )
    def test_are_read_at_the_configured_path(self, path: str, claims: dict[str, Any], expected: set[str]) -> None:
        verdict = judged(ISSUER.token(**claims), groups_claim=path)
        assert isinstance(verdict, Identity)
        assert verdict.groups == frozenset(expected)

    @pytest.mark.parametrize(
        ("path", "claims"),
        [
            ("groups", {"groups": None}),
            ("groups", {"groups": 7}),
            ("groups", {"groups": {"a": 1}}),
            ("groups", {"groups": ["a", 7]}),
            ("groups", {"groups": ["a", None]}),
            ("groups", {"groups": [["a"]]}),
            ("groups", {"groups": [""]}),
            ("groups", {"groups": ""}),
            ("groups", {"groups": ["a\nb"]}),
            ("groups", {"groups": ["g" * 256]}),
            ("groups", {"groups": [str(number) for number in range(1001)]}),
            ("realm_access.roles", {"realm_access": "roles"}),
            ("realm_access.roles", {"realm_access": ["roles"]}),
            ("realm_access.roles", {"realm_access": None}),
        ],
    )
    def test_of_an_unusable_form_refuse_the_token(self, path: str, claims: dict[str, Any]) -> None:
        assert code(ISSUER.token(**claims), groups_claim=path) == "token_claim_type"

    @pytest.mark.parametrize(
        "claims",
        [
            {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://attacker.example/"}}},
            {"_claim_names": {"groups": "src1"}, "groups": ["stale"]},
            {"_claim_names": {}},
            {"_claim_names": None},
            {"hasgroups": True},
            {"hasgroups": "true"},
            {"hasgroups": 1},
            {"hasgroups": None},
        ],
    )
    def test_that_the_issuer_left_out_are_unknown_and_not_empty(self, claims: dict[str, Any]) -> None:
        verdict = judged(ISSUER.token(**(dict[str, Any](groups=ABSENT) | claims)))
        assert isinstance(verdict, Identity)
        assert verdict.groups is None

    def test_are_known_when_the_issuer_says_that_none_were_left_out(self) -> None:
        verdict = judged(ISSUER.token(hasgroups=False))
        assert isinstance(verdict, Identity)
        assert verdict.groups == frozenset({"sre"})


class TestDisclosure:
    def test_no_representation_holds_the_token_or_its_personal_data(self) -> None:
        token = ISSUER.token(email="alice@example.org", name="Alice Example")
        shown = repr(judged(token)) + repr(peek(token.encode())) + repr(KEYS) + repr(PROVIDER)
        for part in (*token.split("."), "alice@example.org", "Alice Example"):
            assert part not in shown

    @pytest.mark.parametrize("token", [case[1] for case in FORGED if case[1].count(".") == 2], ids=str.__len__)
    def test_no_refusal_repeats_the_token(self, token: str) -> None:
        verdict = judged(token)
        assert isinstance(verdict, Rejected)
        assert not any(segment and segment in verdict.detail for segment in token.split("."))
        assert verdict.detail.endswith(".")

    def test_tokens_that_begin_alike_have_different_digests(self) -> None:
        tokens = [signed(HEADER | {"x": "y" * 200}, honest(sub=str(number)), RSA, "RS256") for number in range(50)]
        assert len({token[:200] for token in tokens}) == 1
        digests = {verdict.token_digest for token in tokens if isinstance(verdict := judged(token), Identity)}
        assert len(digests) == 50


def test_the_corpus_of_forged_tokens_is_large_enough() -> None:
    assert len({token for _, token, _ in FORGED}) >= 60


def test_verification_warns_of_nothing_deprecated() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code(GOOD) == "accepted"


def test_a_genuine_signature_is_not_accepted_from_a_weak_key() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
    keys = key_set({"keys": [weak.as_dict(private=False)]}, algorithms={"RS256"})
    token = signed(HEADER | {"kid": "weak"}, honest(), weak, "RS256")
    verdict = verify(token.encode(), provider=PROVIDER, keys=keys, now=NOW, audience=RESOURCE)
    assert isinstance(verdict, Rejected)
    assert verdict.code == "token_key_unknown"


def test_shuffled_header_members_change_nothing() -> None:
    items = list((HEADER | {"jku": "x", "extra": 1}).items())
    random.Random(1).shuffle(items)
    assert code(signed(dict(items), honest(), RSA, "RS256")) == "accepted"
