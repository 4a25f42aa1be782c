"""Who the gateway is to a push service: a short-lived token for its origin alone."""

from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from policies.notices.push_encryption import decoded, encoded
from policies.notices.vapid import TOKEN_SECONDS, PushKey

NOW = 1_800_000_000.0


def read(header: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return header and claims of the token, verified with the key that stands beside it."""
    found = re.fullmatch(r"vapid t=([\w.-]+), k=([\w-]+)", header)
    assert found is not None
    point = decoded(found[2])
    assert (len(point), point[0]) == (65, 4)
    key = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": encoded(point[1:33]), "y": encoded(point[33:])})
    token = jwt.decode(found[1], key, algorithms=["ES256"])
    return token.header, token.claims


def test_the_token_names_the_origin_of_the_push_service_and_ends_within_a_day():
    header, claims = read(
        PushKey.new().authorization("https://push.example:8443/send/abc?d=1", subject="https://gw.example", now=NOW)
    )
    assert header["alg"] == "ES256"
    assert claims == {"aud": "https://push.example:8443", "exp": NOW + TOKEN_SECONDS, "sub": "https://gw.example"}
    assert TOKEN_SECONDS <= 86_400


def test_a_key_that_is_kept_is_the_same_afterwards():
    key = PushKey.new()
    assert PushKey.opened(key.private_pem()).public() == key.public()


def test_a_key_does_not_show_itself():
    key = PushKey.new()
    assert "PRIVATE" not in repr(key)
    assert "_key" not in repr(key)


@pytest.mark.parametrize("other", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_another_kind_of_key_is_refused(other):
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="P-256"):
        PushKey.opened(pem)
