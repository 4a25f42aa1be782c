from __future__ import annotations

import base64
import json
import warnings
from typing import Any
from unittest.mock import Mock

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from accounts import keys as keys_module
from accounts.keys import ALGORITHMS, MAX_KEYS, KeySetRefused, decode_segment, key_set, load_object
from tests.support.idp import signing_key

RSA: dict[str, Any] = dict(signing_key("RS256").as_dict(private=False))
EC: dict[str, Any] = dict(signing_key("ES256").as_dict(private=False))
OKP: dict[str, Any] = dict(signing_key("Ed25519").as_dict(private=False))
OTHER: dict[str, Any] = dict(signing_key("RS256", "other").as_dict(private=False))
PLAIN = {name: RSA[name] for name in ("kty", "n", "e")}


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


def integer(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


def weak_rsa(bits: int) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"kid": "weak", **RSAKey.generate_key(bits).as_dict(private=False)}


def roca_modulus() -> int:
    """Return a modulus of 2048 bits that looks like CVE-2017-15361: a power of 65537 modulo small primes."""
    modulo = 1
    for prime in (
        3,
        5,
        7,
        *(11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97),
        *(101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167),
    ):
        modulo *= prime
    factor: int = 1 << (2048 - modulo.bit_length())
    return factor * modulo + pow(65537, 12345, modulo)


def only(jwk: Any, algorithms: frozenset[str] = ALGORITHMS) -> tuple[int, str]:
    """Return how many keys a set of this one entry has, and why it has none."""
    keys = key_set({"keys": [jwk]}, algorithms=algorithms)
    return len(keys), "; ".join(reason for _, reason in keys.refused)


class TestEntry:
    @pytest.mark.parametrize("jwk", [RSA, EC, OKP, PLAIN, without(RSA, "alg"), without(EC, "use", "alg", "kid")])
    def test_that_is_sound_becomes_a_key(self, jwk: dict[str, Any]) -> None:
        assert only(jwk) == (1, "")

    @pytest.mark.parametrize(
        ("jwk", "reason"),
        [
            ("a string", "not an object"),
            (None, "not an object"),
            ({}, "not RSA, EC or OKP"),
            ({"kty": "oct", "k": "AAAA", "alg": "HS256"}, "not RSA, EC or OKP"),
            ({"kty": "oct", "k": "AAAA", "alg": "RS256"}, "not RSA, EC or OKP"),
            (RSA | {"kty": "rsa"}, "not RSA, EC or OKP"),
            (RSA | {"kty": ["RSA"]}, "not RSA, EC or OKP"),
            (RSA | {"use": "enc"}, "not for signatures"),
            (RSA | {"use": None}, "not for signatures"),
            (RSA | {"use": "SIG"}, "not for signatures"),
            (RSA | {"key_ops": ["sign"]}, "do not include verify"),
            (RSA | {"key_ops": []}, "do not include verify"),
            (RSA | {"key_ops": "verify"}, "do not include verify"),
            (RSA | {"key_ops": None}, "do not include verify"),
            (RSA | {"kid": 7}, "key id"),
            (RSA | {"kid": ""}, "key id"),
            (RSA | {"kid": "k" * 257}, "key id"),
            (RSA | {"alg": "HS256"}, "none of the accepted algorithms"),
            (RSA | {"alg": "ES256"}, "none of the accepted algorithms"),
            (RSA | {"alg": "none"}, "none of the accepted algorithms"),
            (RSA | {"alg": None}, "none of the accepted algorithms"),
            (RSA | {"alg": ["RS256"]}, "none of the accepted algorithms"),
            (EC | {"alg": "ES384"}, "none of the accepted algorithms"),
            (without(EC, "alg") | {"crv": "secp256k1"}, "none of the accepted algorithms"),
            (without(OKP, "alg") | {"crv": "X25519"}, "none of the accepted algorithms"),
            (without(RSA, "n"), "part of the key is missing"),
            (RSA | {"n": 5}, "part of the key is missing"),
            (without(EC, "y"), "part of the key is missing"),
            (weak_rsa(1024), "not of 2048 to 8192 bits"),
            (RSA | {"n": integer(2**8200 + 1)}, "not of 2048 to 8192 bits"),
            (RSA | {"n": "A" * 3000}, "too long"),
            (RSA | {"e": integer(1)}, "exponent is unsafe"),
            (RSA | {"e": integer(3)}, "exponent is unsafe"),
            (RSA | {"e": integer(65538)}, "exponent is unsafe"),
            (RSA | {"e": integer(2**64 + 1)}, "exponent is unsafe"),
            (RSA | {"n": integer(roca_modulus())}, "ROCA"),
            (RSA | {"n": RSA["n"] + "="}, "not canonical"),
            (RSA | {"n": "é" + RSA["n"]}, "not canonical"),
            (EC | {"x": EC["x"] + "="}, "not canonical"),
            (EC | {"x": "AA"}, "wrong length"),
            (OKP | {"x": "AA"}, "wrong length"),
            (EC | {"x": EC["y"], "y": EC["x"]}, "cannot be read"),
            (EC | {"x": "A" * 43, "y": "A" * 43}, "cannot be read"),
        ],
    )  # fmt: skip
    def test_that_is_not_sound_is_left_out_with_a_reason(self, jwk: Any, reason: str) -> None:
        count, why = only(jwk)
        assert count == 0
        assert reason in why

    def test_of_a_good_issuer_is_not_mistaken_for_one_with_predictable_primes(self) -> None:
        assert all(only(dict(signing_key("RS256", name).as_dict(private=False)))[0] == 1 for name in ("1", "other"))

    def test_keeps_no_private_part(self) -> None:
        for kind in ("RS256", "ES256", "Ed25519"):
            keys = key_set({"keys": [signing_key(kind).as_dict(private=True)]}, algorithms=ALGORITHMS)
            key = keys.get(f"{kind}-1", kind)
            assert key is not None
            assert key._key.private_key is None
            assert "d" not in key._key.dict_value

    def test_says_nothing_of_itself_in_the_reason(self) -> None:
        assert "SECRET" not in only(RSA | {"n": "SECRET!", "kid": "SECRET"})[1]
        assert "SECRET" not in only({"kty": "EC", "crv": "P-256", "x": "SECRET", "y": "SECRET"})[1]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "alg", "use"]) | st.text(), inner
                )
            ),
        )
    )
    def test_of_any_form_never_raises(self, jwk: Any) -> None:
        assert only(jwk)[0] == 0

    @given(
        st.sampled_from([RSA, EC, OKP]),
        st.sampled_from(["n", "e", "crv", "x", "y", "kty"]),
        st.text() | st.integers() | st.none(),
    )
    def test_with_one_part_exchanged_never_raises(self, jwk: dict[str, Any], name: str, value: Any) -> None:
        keys = key_set({"keys": [jwk | {name: value}]}, algorithms=ALGORITHMS)
        assert len(keys) + len(keys.refused) == 1


class TestKeySet:
    def test_finds_a_key_by_its_id_and_only_for_algorithms_that_fit(self) -> None:
        keys = key_set({"keys": [without(RSA, "alg"), without(EC, "alg")]}, algorithms=ALGORITHMS)
        assert keys.get("RS256-1", "RS256") is not None
        assert keys.get("RS256-1", "PS512") is not None
        assert keys.get("RS256-1", "ES256") is None
        assert keys.get("ES256-1", "ES256") is not None
        assert keys.get("ES256-1", "ES384") is None
        assert keys.get("unknown", "RS256") is None

    def test_takes_a_key_s_own_algorithm_as_the_only_one(self) -> None:
        keys = key_set({"keys": [RSA]}, algorithms=ALGORITHMS)
        assert keys.get("RS256-1", "RS512") is None

    def test_offers_only_algorithms_that_the_provider_accepts_and_the_gateway_knows(self) -> None:
        keys = key_set({"keys": [PLAIN | {"kid": "a"}]}, algorithms=["PS256", "HS256", "none"])
        assert keys.get("a", "PS256") is not None
        assert keys.get("a", "RS256") is None
        assert keys.get("a", "HS256") is None

    @pytest.mark.parametrize("second", [OTHER | {"kid": RSA["kid"]}, RSA, RSA | {"use": "enc"}, {"kid": RSA["kid"]}])
    def test_drops_both_keys_of_one_id(self, second: dict[str, Any]) -> None:
        keys = key_set({"keys": [RSA, second, EC]}, algorithms=ALGORITHMS)
        assert RSA["kid"] not in keys
        assert keys.get(RSA["kid"], "RS256") is None
        assert keys.get(None, "RS256") is None
        assert keys.get("ES256-1", "ES256") is not None

    def test_without_an_id_gives_the_only_key_that_fits_and_never_one_of_two(self) -> None:
        keys = key_set({"keys": [RSA, OTHER, EC]}, algorithms=ALGORITHMS)
        assert keys.get(None, "RS256") is None
        assert keys.get(None, "ES256") is keys.get("ES256-1", "ES256")

    def test_never_gives_a_key_without_id_to_a_token_that_names_one(self) -> None:
        keys = key_set({"keys": [PLAIN]}, algorithms=ALGORITHMS)
        assert keys.get("RS256-1", "RS256") is None
        assert keys.get(None, "RS256") is not None

    def test_says_the_place_of_what_it_left_out(self) -> None:
        keys = key_set({"keys": [RSA, {"kty": "oct"}, EC]}, algorithms=ALGORITHMS)
        assert keys.refused == ((2, "its type is not RSA, EC or OKP"),)
        assert len(keys) == 2

    def test_without_any_key_is_an_answer_all_the_same(self) -> None:
        keys = key_set({"keys": []}, algorithms=ALGORITHMS)
        assert len(keys) == 0
        assert bool(keys)
        assert keys.get(None, "RS256") is None

    @pytest.mark.parametrize(
        "jwks", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}, [], None, {"keys": [RSA] * (MAX_KEYS + 1)}]
    )
    def test_is_refused_when_it_is_no_set_of_a_reasonable_size(self, jwks: Any) -> None:
        with pytest.raises(KeySetRefused) as caught:
            key_set(jwks, algorithms=ALGORITHMS)
        assert str(caught.value).endswith(".")


class TestVerifyingKey:
    def test_refuses_an_algorithm_that_does_not_fit(self) -> None:
        key = key_set({"keys": [RSA]}, algorithms=ALGORITHMS).get("RS256-1", "RS256")
        assert key is not None
        assert key.verifies("PS256", b"message", b"signature") is False
        assert key.verifies("HS256", b"message", b"signature") is False

    @pytest.mark.parametrize("kind", ["RS256", "PS256", "ES256", "Ed25519"])
    @given(signature=st.binary(max_size=300))
    def test_says_no_to_any_rubbish_and_never_raises(self, kind: str, signature: bytes) -> None:
        key = key_set({"keys": [signing_key(kind).as_dict(private=False)]}, algorithms=ALGORITHMS).get(None, kind)
        assert key is not None
        assert key.verifies(kind, b"message", signature) is False

    def test_says_no_when_the_library_cannot_judge(self, monkeypatch: pytest.MonkeyPatch) -> None:
        key = key_set({"keys": [RSA]}, algorithms=ALGORITHMS).get("RS256-1", "RS256")
        assert key is not None
        for error in (ValueError("x"), UnsupportedAlgorithm("x"), JoseError("x")):
            monkeypatch.setitem(keys_module._MODELS, "RS256", Mock(verify=Mock(side_effect=error)))
            assert key.verifies("RS256", b"message", b"signature") is False

    def test_reads_a_curve_s_coordinates_with_leading_zeros(self) -> None:
        # One of 256 keys has a coordinate that begins with a zero byte; its JWK keeps the byte.
        number = next(
            n
            for n in range(1, 5000)
            if ec.derive_private_key(n, ec.SECP256R1()).public_key().public_numbers().x < 2**248
        )
        key = ECKey.import_key(ec.derive_private_key(number, ec.SECP256R1()))
        assert only(dict(key.as_dict(private=False)))[0] == 1


class TestSegment:
    @given(st.binary(max_size=100))
    def test_reads_back_what_was_written(self, value: bytes) -> None:
        assert decode_segment(base64.urlsafe_b64encode(value).rstrip(b"=")) == value

    @given(st.binary(max_size=40))
    def test_accepts_one_spelling_only(self, segment: bytes) -> None:
        try:
            value = decode_segment(segment)
        except ValueError:
            return
        assert base64.urlsafe_b64encode(value).rstrip(b"=") == segment

    @pytest.mark.parametrize(
        "segment",
        [b"AA==", b"AAA=", b"AB", b"A", b"A A", b"AA\n", b"++++", b"////", b"AA.A", "éé".encode(), b"\x00AAA"],
    )
    def test_refuses_every_other_spelling(self, segment: bytes) -> None:
        with pytest.raises(ValueError, match="base64url"):
            decode_segment(segment)


class TestObject:
    @given(st.dictionaries(st.text(), st.integers(-(2**63), 2**63) | st.text() | st.none() | st.booleans()))
    def test_reads_what_any_parser_reads(self, value: dict[str, Any]) -> None:
        assert load_object(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) == json.loads(
            json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        )

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"[]",
            b"1",
            b"null",
            b'"a"',
            b'{"a":1,"a":1}',
            b'{"b":{"a":1,"a":1}}',
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'{"a":1e999}',
            b"\xef\xbb\xbf{}",
            b"{}{}",
            b'{"a":1,}',
            b"{'a':1}",
            b'{"a":"\n"}',
            b'{"a":"\xff"}',
            b'{"a":01}',
            b'{"a":+1}',
            b"{" * 100_000,
            b'{"a":' * 100_000,
            b'{"a":"\xed\xa0\x80"}',
            '{"a":1}'.encode("utf-16"),
            '{"a":1}'.encode("utf-32"),
        ],
    )
    def test_refuses_what_parsers_disagree_on(self, text: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            load_object(text)
