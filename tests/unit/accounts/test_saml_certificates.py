"""Which certificates can be pinned, and what is said of them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from accounts.saml import certificates
from accounts.saml.certificates import CertificateRefused
from tests.support.saml_idp import key_and_certificate, pem

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, TWO = (pem(key_and_certificate(name)[1]) for name in ("one", "two"))


def refused(code: str):
    return pytest.raises(CertificateRefused, check=lambda error: error.code == code)


def test_one_many_and_bare_certificates_are_read():
    assert certificates.split(ONE) == [ONE]
    assert certificates.split(f"\n{ONE}\r\n{TWO}") == [ONE, TWO]
    assert certificates.split("".join(ONE.splitlines()[1:-1])) == [ONE]


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_elliptic_curves_of_nist_are_read(kind):
    text = pem(key_and_certificate("one", kind)[1])
    assert certificates.split(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "AAAA",
        ONE[:-40],
        ONE + "and more",
        ONE.replace("CERTIFICATE", "PUBLIC KEY"),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        base64.b64encode(b"\x30\x82\xff\xff" + b"\x00" * 50).decode(),
    ],
)
def test_what_is_no_certificate_is_refused(text):
    with refused("bad_certificate"):
        certificates.split(text)


def test_a_private_key_is_refused_and_not_repeated():
    key, _ = key_and_certificate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with refused("private_key") as refusal:
        certificates.split(ONE + text)
    assert text.splitlines()[1] not in str(refusal.value)


def test_a_short_rsa_key_is_refused():
    with refused("weak_key"):
        certificates.split(pem(key_and_certificate("short", "rsa", 1024)[1]))


def test_a_curve_that_is_not_supported_is_refused():
    with refused("key_kind"):
        certificates.split(pem(key_and_certificate("odd", "k256")[1]))


def test_a_certificate_is_described_as_the_provider_shows_it():
    found = certificates.describe(ONE, NOW)
    assert found.subject == "CN=idp one"
    assert found.key == "RSA, 2048 bits"
    assert len(found.fingerprint.split(":")) == 32
    assert found.warning == ""


@pytest.mark.parametrize(("days", "expected"), [(31, ""), (30, "Expires on"), (0, "Expired on")])
def test_what_is_about_to_expire_is_warned_about(days, expected):
    found = certificates.describe(ONE, certificates.describe(ONE, NOW).not_after - timedelta(days=days))
    assert found.warning.startswith(expected)
    assert bool(found.warning) == bool(expected)
