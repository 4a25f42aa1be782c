"""How the gateway says to a push service who it is: VAPID (RFC 8292), a signed token for each push service. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc import jwt
from joserfc.jwk import ECKey

from .push_encryption import encoded

TOKEN_SECONDS: Final = 12 * 3600
"""How long a token is good; at most a day (RFC 8292, section 2)."""


@dataclass(frozen=True, slots=True)
class PushKey:
    """The key pair that all subscriptions of this gateway are bound to."""

    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls) -> PushKey:
        """Return a new key pair of P-256."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def opened(cls, pem: bytes) -> PushKey:
        """Return the key pair that `private_pem` wrote.

        Raises:
            ValueError: it is another kind of key.
        """
        key = load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("a push key is of P-256")
        return cls(key)

    def private_pem(self) -> bytes:
        """Return the key pair as PKCS #8, to be sealed and kept."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public(self) -> str:
        """Return the public key as browsers take it for `applicationServerKey`: base64url of the point."""
        return encoded(self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def authorization(self, endpoint: str, *, subject: str, now: float) -> str:
        """Return the Authorization header for one push service.

        Args:
            endpoint: of the subscription; its origin is the token's audience.
            subject: `https:` or `mailto:`, whom the push service can turn to.
            now: epoch seconds.

        Source: RFC 8292, sections 2 and 3.
        """
        parts = urlsplit(endpoint)
        claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": int(now) + TOKEN_SECONDS, "sub": subject}
        key = ECKey.import_key(self.private_pem())
        token = jwt.encode({"typ": "JWT", "alg": "ES256"}, claims, key, algorithms=["ES256"])
        return f"vapid t={token}, k={self.public()}"
