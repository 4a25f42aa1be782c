"""How a secret is kept: AES-256-GCM under a data key of its own, which is itself sealed under a master key. No I/O.

Why two layers: a master key is replaced by sealing the small data keys again, without touching any secret; and a stolen
row says nothing without the master keys, which live in the environment and are never derived from SECRET_KEY.

Every sealed value is bound to its place by the `aad` that the caller passes (table, column, row, connection), so that a
ciphertext that is copied to another row does not open there. The wrapped data key is also bound to the id of its master
key. Layout of both blobs: one version byte, a nonce of 12 bytes, then ciphertext with its tag of 16 bytes.

Source: NIST SP 800-38D (GCM, random 96-bit nonces).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class VaultSealed(RuntimeError):
    """There is no usable master key; nothing can be sealed or opened. The message is a sentence for the operator."""

    code = "vault_sealed"


class CannotOpen(RuntimeError):
    """A secret does not open: its master key is gone, or it was changed or moved. Deliberately says no more."""

    code = "secret_cannot_be_opened"

    def __init__(self) -> None:
        super().__init__("The secret cannot be opened.")


class _Unshown:
    """Shared by what must never be printed, copied into a task or written to a file."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    def __format__(self, _: str) -> str:
        return repr(self)

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or serialised")


class Secret(_Unshown):
    """Bytes that nobody reads by accident: repr, str and format are redacted, and it cannot be serialised.

    Two are compared in constant time. There is no hash: a secret is not a key of anything.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise TypeError("a secret is made of bytes")
        self._value = value

    def reveal(self) -> bytes:
        """Return the secret itself; call this where it is sent, and keep the result nowhere."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed secret as a row keeps it. None of it is secret without the master key `key_id`."""

    key_id: str
    wrapped_key: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class KeyRing(_Unshown):
    """The master keys: the first seals, all of them open. Made by `parse`."""

    __slots__ = ("_ciphers", "first_id")

    def __init__(self, ciphers: Mapping[str, AESGCM]) -> None:
        self._ciphers = dict(ciphers)
        self.first_id = next(iter(self._ciphers))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._ciphers)})"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys, the sealing one first."""
        return tuple(self._ciphers)

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Return the ring written as `id:base64,id2:base64`; each key is 32 random bytes in standard base64.

        Raises:
            VaultSealed: empty, malformed, a key of the wrong length or not random, an id or a key twice. The sentence
                names an entry by its position and repeats no part of it.
        """
        entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
        if not entries:
            raise VaultSealed("No master key is set: set WARDGATE_MASTER_KEYS to id:base64 of 32 random bytes.")
        keys: dict[str, bytes] = {}
        for place, entry in enumerate(entries, start=1):
            key_id, colon, encoded = entry.partition(":")
            if not colon or _KEY_ID.fullmatch(key_id) is None:
                raise VaultSealed(f"Master key {place} is not of the form id:base64.")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise VaultSealed(f"Master key {place} is not valid base64.") from None
            if len(key) != KEY_BYTES:
                raise VaultSealed(f"Master key {place} does not have {KEY_BYTES} bytes.")
            if len(set(key)) < 8:
                raise VaultSealed(f"Master key {place} is not random.")
            if key_id in keys:
                raise VaultSealed(f"Master key {place} has an id that is used already.")
            if key in keys.values():
                raise VaultSealed(f"Master key {place} is the same key as an earlier one.")
            keys[key_id] = key
        return cls({key_id: AESGCM(key) for key_id, key in keys.items()})

    def _cipher(self, key_id: str) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotOpen
        return cipher


def seal(ring: KeyRing, secret: bytes, *, aad: bytes) -> Sealed:
    """Return `secret` sealed under a new data key, bound to `aad`.

    Raises:
        ValueError: `aad` is empty; an unbound ciphertext could be moved to another row.
    """
    data_key = AESGCM.generate_key(bit_length=8 * KEY_BYTES)
    ciphertext = _encrypted(AESGCM(data_key), secret, _secret_binding(aad))
    return Sealed(ring.first_id, _wrapped(ring, data_key, aad), ciphertext)


def open_sealed(ring: KeyRing, sealed: Sealed, *, aad: bytes) -> Secret:
    """Return the secret.

    Raises:
        CannotOpen: the master key is not in the ring, or the row was changed, or `aad` is of another place.
    """
    data_key = _unwrapped(ring, sealed, aad)
    return Secret(_decrypted(AESGCM(data_key), sealed.ciphertext, _secret_binding(aad)))


def rewrap(ring: KeyRing, sealed: Sealed, *, aad: bytes) -> Sealed:
    """Return `sealed` with its data key under the ring's first key; the same object when it is there already.

    The ciphertext stays, so that every row can be moved to a new master key while calls go on.

    Raises:
        CannotOpen: as `open_sealed`. The ciphertext is opened as well, so that a broken row is found now and not later.
    """
    data_key = _unwrapped(ring, sealed, aad)
    _decrypted(AESGCM(data_key), sealed.ciphertext, _secret_binding(aad))
    if sealed.key_id == ring.first_id:
        return sealed
    return Sealed(ring.first_id, _wrapped(ring, data_key, aad), sealed.ciphertext)


def _secret_binding(aad: bytes) -> bytes:
    if not aad:
        raise ValueError("a sealed secret must be bound to its place")
    return b"wardgate secret\x00" + aad


def _key_binding(key_id: str, aad: bytes) -> bytes:
    return b"wardgate data key\x00" + key_id.encode("utf-8") + b"\x00" + aad


def _wrapped(ring: KeyRing, data_key: bytes, aad: bytes) -> bytes:
    return _encrypted(ring._cipher(ring.first_id), data_key, _key_binding(ring.first_id, aad))


def _unwrapped(ring: KeyRing, sealed: Sealed, aad: bytes) -> bytes:
    data_key = _decrypted(ring._cipher(sealed.key_id), sealed.wrapped_key, _key_binding(sealed.key_id, aad))
    if len(data_key) != KEY_BYTES:
        raise CannotOpen
    return data_key


def _encrypted(cipher: AESGCM, plain: bytes, binding: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + cipher.encrypt(nonce, plain, binding)


def _decrypted(cipher: AESGCM, blob: Any, binding: bytes) -> bytes:
    # A database driver may hand out a memoryview.
    sealed = bytes(blob)
    if sealed[:1] != _VERSION:
        raise CannotOpen
    try:
        return cipher.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], binding)
    except (InvalidTag, ValueError):
        raise CannotOpen from None
