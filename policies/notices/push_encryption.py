"""What a push service carries to a browser, and cannot read: Message Encryption for Web Push. Pure.

A message is one record of `aes128gcm` (RFC 8188), under a key that the sender's one-time key pair and the browser's
subscription make together (RFC 8291). Nothing of it is kept: every message has a key pair and a salt of its own.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RECORD_BYTES: Final = 4096
"""Every push service takes a body of so many bytes (RFC 8030, section 7.2)."""
POINT_BYTES: Final = 65
AUTH_BYTES: Final = 16
_SALT_BYTES = 16
_TAG_BYTES = 16
_HEADER_BYTES = _SALT_BYTES + 4 + 1 + POINT_BYTES
MAX_PLAIN_BYTES: Final = RECORD_BYTES - _HEADER_BYTES - _TAG_BYTES - 1
_LAST_RECORD = b"\x02"


class SubscriptionRefused(ValueError):
    """The keys of a subscription cannot be what a browser made. The text repeats nothing of them."""


@dataclass(frozen=True, slots=True)
class BrowserKeys:
    """What a subscription says of its browser: its public key (65 bytes, uncompressed) and 16 bytes shared with it."""

    public: bytes
    auth: bytes = field(repr=False)

    @classmethod
    def read(cls, p256dh: str, auth: str) -> BrowserKeys:
        """Return the keys, written as `PushSubscription.toJSON` writes them (base64url).

        Raises:
            SubscriptionRefused: not base64url, of a wrong length, or no point of P-256.
        """
        keys = cls(decoded(p256dh), decoded(auth))
        if len(keys.public) != POINT_BYTES or len(keys.auth) != AUTH_BYTES:
            raise SubscriptionRefused("The keys of the subscription have a wrong length.")
        keys.point()
        return keys

    def point(self) -> ec.EllipticCurvePublicKey:
        """Return the public key.

        Raises:
            SubscriptionRefused: it is no point of P-256; a key exchange with it would give away ours.
        """
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.public)
        except ValueError:
            raise SubscriptionRefused("The key of the subscription is no point of P-256.") from None


def encrypted(
    plain: bytes,
    keys: BrowserKeys,
    *,
    sender: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return the body of the request to the push service; `sender` and `salt` are new unless a test gives them.

    Raises:
        ValueError: `plain` is longer than `MAX_PLAIN_BYTES`.
        SubscriptionRefused: as `BrowserKeys.point`.

    Source: RFC 8291, section 3.4; RFC 8188, sections 2.1 to 2.3.
    """
    if len(plain) > MAX_PLAIN_BYTES:
        raise ValueError("the message is longer than a push service has to take")
    sender = sender or ec.generate_private_key(ec.SECP256R1())
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    public = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = sender.exchange(ec.ECDH(), keys.point())
    material = _derived(shared, keys.auth, b"WebPush: info\x00" + keys.public + public, 32)
    key = _derived(material, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derived(material, salt, b"Content-Encoding: nonce\x00", 12)
    header = salt + RECORD_BYTES.to_bytes(4, "big") + bytes([len(public)]) + public
    return header + AESGCM(key).encrypt(nonce, plain + _LAST_RECORD, None)


def decoded(text: str) -> bytes:
    """Return the bytes of base64url with or without its padding.

    Raises:
        SubscriptionRefused: it is something else.
    """
    try:
        raw = text.rstrip("=").encode("ascii")
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeError, binascii.Error):
        raise SubscriptionRefused("The keys of the subscription are not base64url.") from None


def encoded(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _derived(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(material)
