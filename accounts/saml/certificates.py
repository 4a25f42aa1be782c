"""The certificates with which an identity provider signs: read, judged, described. Pure.

A certificate is pinned for its key. Its own signature, its names and its dates decide nothing: the certificates of
identity providers are self-signed, and many have expired and still sign. Dates are shown, and warned about.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, RSAKey

from accounts import keys

MAX_CERTIFICATES: Final = 8
MAX_CHARACTERS: Final = 32 * 1024
WARNING_DAYS: Final = 30

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_ALGORITHMS = frozenset({"RS256", "ES256", "ES384", "ES512"})


class CertificateRefused(ValueError):
    """A certificate cannot be used. `code` is stable; the text says what to give instead."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Description:
    """What an administrator compares with the identity provider's own pages."""

    subject: str
    key: str
    fingerprint: str
    """SHA-256 of the certificate, in hexadecimal with colons."""
    not_after: datetime
    warning: str
    """A sentence when the certificate has expired or is about to; else empty."""


def split(text: str) -> list[str]:
    """Return the certificates in `text`, each as normal PEM: one block or many, or the bare base64 of metadata.

    Raises:
        CertificateRefused: it holds a private key, or something that is no certificate.
    """
    if len(text) > MAX_CHARACTERS:
        raise CertificateRefused("bad_certificate", "This is longer than a few certificates.")
    if "PRIVATE KEY" in text:
        raise CertificateRefused("private_key", "This holds a private key: give certificates only, and renew that key.")
    blocks = _BLOCK.findall(text)
    if not blocks:
        return [normal(text)]
    if _BLOCK.sub("", text).strip() or any(label != "CERTIFICATE" for label, _ in blocks):
        raise CertificateRefused("bad_certificate", "Give certificates in PEM, and nothing else.")
    return [normal(body) for _, body in blocks]


def normal(body: str) -> str:
    """Return the certificate whose DER is `body` in base64, as PEM, after its key was found good enough.

    Raises:
        CertificateRefused: it is no certificate, or its key is too weak or of another kind.
    """
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode("".join(body.split()), validate=True))
        key = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise CertificateRefused("bad_certificate", "This is not a certificate in PEM.") from None
    _check_key(key)
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def describe(pem: str, now: datetime) -> Description:
    """Return what to show of a certificate that was saved."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    digest = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    not_after = certificate.not_valid_after_utc
    warning = ""
    if not_after <= now:
        warning = (
            f"Expired on {not_after:%Y-%m-%d}. Its key still counts: take the certificate out once it was replaced."
        )
    elif not_after <= now + timedelta(days=WARNING_DAYS):
        warning = f"Expires on {not_after:%Y-%m-%d}: add its successor here before the identity provider changes over."
    return Description(
        certificate.subject.rfc4514_string(), _shown(certificate.public_key()), digest, not_after, warning
    )


def _check_key(key: object) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if not 2048 <= key.key_size <= 8192:
            raise CertificateRefused("weak_key", "The certificate's RSA key has to have 2048 to 8192 bits.")
        entry = RSAKey.import_key(_pem(key)).as_dict(private=False)
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in {"secp256r1", "secp384r1", "secp521r1"}:
        entry = ECKey.import_key(_pem(key)).as_dict(private=False)
    else:
        raise CertificateRefused("key_kind", "The certificate's key has to be RSA, or EC on P-256, P-384 or P-521.")
    found = keys.key_set({"keys": [{**entry, "kid": "certificate"}]}, algorithms=_ALGORITHMS)
    if not len(found):
        reason = found.refused[0][1] if found.refused else "it cannot be used"
        raise CertificateRefused("weak_key", f"The certificate's key is refused: {reason}.")


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _shown(key: object) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    return f"EC, {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
