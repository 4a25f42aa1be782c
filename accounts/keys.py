"""An issuer's public keys, and the strict readers of JSON and base64url that tokens and key sets share. Pure.

JOSE libraries accept keys that should not be trusted: symmetric ones, short RSA moduli, ROCA primes, two keys of one
name, keys made for encryption. Everything is therefore checked here, once per key set, before joserfc sees a key; what
remains is a table from (key id, algorithm) to a key that fits, so that verifying a token is one dictionary lookup.

Sources: RFC 7517 (JWK), RFC 7518 section 6 (parameters), RFC 8725 (best practices), FIPS 186-5 (RSA exponents),
CVE-2017-15361 (ROCA), project Wycheproof's JWK vectors.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Every signature algorithm the gateway can be told to accept; all asymmetric (RFC 8725 section 3.1)."""

MAX_KEYS = 100
"""Most keys read from one set; real issuers publish two to ten."""

MAX_KEY_ID = 256
"""Longest accepted key id, in characters."""

_KEY_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_FITS = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA", "Ed25519"}),
}
_COORDINATE_BYTES = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32}
_ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    "ES512": 2**521 - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
}
_RSA_BITS = range(2048, 8192 + 1)
_RSA_EXPONENTS = range(65537, 2**64)

_REGISTRY = JWSRegistry(algorithms=ALGORITHMS)
# RFC 9864 retires the name EdDSA because it does not say which curve; here it always means Ed25519.
_MODELS = {name: _REGISTRY.get_alg("Ed25519" if name == "EdDSA" else name) for name in sorted(ALGORITHMS)}

_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_RESIDUES = {prime: frozenset(pow(65537, power, prime) for power in range(prime)) for prime in _ROCA_PRIMES}


class KeySetRefused(ValueError):
    """The document is not a JSON Web Key Set. The message is a safe sentence without any of its text."""

    code = "key_set_refused"


def load_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in `text`, refusing everything about which two parsers could disagree.

    Raises:
        ValueError: not UTF-8, a byte order mark, not an object, a duplicate member at any depth, NaN or an infinite
            number, nesting too deep to read.
    """
    try:
        value = _DECODER.decode(text.decode("utf-8", "strict"))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if type(value) is not dict:
        raise ValueError("the JSON is not an object")
    return value


def decode_segment(segment: bytes) -> bytes:
    """Return the bytes of an unpadded base64url `segment` (RFC 7515 section 2), of which there is one spelling only.

    Raises:
        ValueError: padding, white space, the other alphabet, or bits left over: it does not encode back to itself.
    """
    try:
        value = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if base64.urlsafe_b64encode(value).rstrip(b"=") != segment:
        raise ValueError("not canonical base64url")
    return value


def twin_signature(algorithm: str, signature: bytes) -> bytes:
    """Return the other ECDSA signature that verifies whenever `signature` does; empty where there is none.

    With (r, s) the pair (r, n - s) is valid as well, and anybody can compute it. A token is therefore known by two
    spellings, and whoever revokes one by its digest means both.

    Source: SEC 1, section 4.1.4; the group orders n are those of SP 800-186.
    """
    order = _ORDERS.get(algorithm)
    half = len(signature) // 2
    if order is None or not half:
        return b""
    twin = order - int.from_bytes(signature[half:])
    return signature[:half] + twin.to_bytes(half) if 0 < twin < order else b""


class _Unusable(ValueError):
    """Why one key is left out; the message is ours and quotes nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class VerifyingKey:
    """One public key that passed every check, with the algorithms it may be used for."""

    key_id: str | None
    algorithms: frozenset[str]
    _key: RSAKey | ECKey | OKPKey

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Return whether `signature` over `message` was made by this key with `algorithm`, which must fit the key."""
        if algorithm not in self.algorithms:
            return False
        try:
            return _MODELS[algorithm].verify(message, signature, self._key)
        except (JoseError, ValueError, UnsupportedAlgorithm):
            return False


class KeySet:
    """The usable keys of one issuer, parsed once; made by `key_set`.

    `refused` says, for the console, which entries were left out and why: (position from 1, safe sentence); `usable` the
    id and the algorithms of the others.
    """

    __slots__ = ("_by_algorithm", "_by_id", "_count", "_ids", "refused", "usable")

    def __init__(self, keys: Collection[VerifyingKey], refused: tuple[tuple[int, str], ...] = ()) -> None:
        self.refused = refused
        self.usable = tuple((key.key_id, tuple(sorted(key.algorithms))) for key in keys)
        self._count = len(keys)
        self._ids = frozenset(key.key_id for key in keys if key.key_id is not None)
        self._by_id = {
            (key.key_id, algorithm): key for key in keys if key.key_id is not None for algorithm in key.algorithms
        }
        fitting = Counter(algorithm for key in keys for algorithm in key.algorithms)
        self._by_algorithm = {algorithm: key for key in keys for algorithm in key.algorithms if fitting[algorithm] == 1}

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._ids

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        # An issuer that withdrew every key has a key set all the same: an empty one is an answer, not a missing one.
        return True

    def __repr__(self) -> str:
        return f"KeySet(key_ids={sorted(self._ids)}, refused={len(self.refused)})"

    def get(self, key_id: str | None, algorithm: str) -> VerifyingKey | None:
        """Return the key named `key_id` if it fits `algorithm`; without a name, the only key that fits, else None."""
        if key_id is None:
            return self._by_algorithm.get(algorithm)
        return self._by_id.get((key_id, algorithm))


def key_set(jwks: Mapping[str, Any], *, algorithms: Collection[str]) -> KeySet:
    """Return the keys of `jwks` that may verify tokens under one of `algorithms`.

    An entry that fails a check is left out and the others stay, so that an issuer can publish keys for other uses. A
    key id that appears twice names neither key. Private parts are never imported.

    Raises:
        KeySetRefused: `jwks` has no list of at most `MAX_KEYS` entries.
    """
    entries = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(entries, list):
        raise KeySetRefused("The key set has no list of keys.")
    if len(entries) > MAX_KEYS:
        raise KeySetRefused(f"The key set has more than {MAX_KEYS} keys.")
    accepted = ALGORITHMS.intersection(algorithms)
    names = Counter(
        entry["kid"] for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("kid"), str)
    )
    keys: list[VerifyingKey] = []
    refused: list[tuple[int, str]] = []
    for place, entry in enumerate(entries, start=1):
        try:
            key = _verifying_key(entry, accepted)
            if key.key_id is not None and names[key.key_id] > 1:
                raise _Unusable("its key id appears more than once")
        except (ValueError, KeyError, TypeError, JoseError, UnsupportedAlgorithm) as error:
            # Only our own sentences are shown: a library's may quote the document.
            refused.append((place, str(error) if isinstance(error, _Unusable) else "it cannot be read"))
        else:
            keys.append(key)
    return KeySet(keys, tuple(refused))


def _verifying_key(entry: object, accepted: frozenset[str]) -> VerifyingKey:
    """Return the public key in `entry`, or raise _Unusable with the reason it is not used."""
    if not isinstance(entry, Mapping):
        raise _Unusable("it is not an object")
    key_type = entry.get("kty")
    if not isinstance(key_type, str) or key_type not in _KEY_MEMBERS:
        raise _Unusable("its type is not RSA, EC or OKP")
    key_id = entry.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID):
        raise _Unusable("its key id is not a short string")
    if entry.get("use", "sig") != "sig":
        raise _Unusable("it is not for signatures")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _Unusable("its operations do not include verify")
    members = {name: entry[name] for name in _KEY_MEMBERS[key_type] if isinstance(entry.get(name), str)}
    if len(members) != len(_KEY_MEMBERS[key_type]):
        raise _Unusable("a part of the key is missing")
    fits = _FITS.get("RSA" if key_type == "RSA" else members["crv"], frozenset()) & accepted
    if "alg" in entry:
        fits = fits.intersection([entry["alg"]] if isinstance(entry["alg"], str) else [])
    if not fits:
        raise _Unusable("it fits none of the accepted algorithms")
    _check_material(key_type, members)
    return VerifyingKey(key_id, fits, _imported(key_type, members))


def _check_material(key_type: str, members: Mapping[str, str]) -> None:
    """Raise _Unusable unless the numbers are written canonically and are strong enough."""
    if key_type == "RSA":
        if len(members["n"]) > 2 * max(_RSA_BITS) // 8 or len(members["e"]) > 16:
            raise _Unusable("its numbers are too long")
        modulus = int.from_bytes(_number(members["n"]))
        exponent = int.from_bytes(_number(members["e"]))
        if modulus.bit_length() not in _RSA_BITS:
            raise _Unusable("its modulus is not of 2048 to 8192 bits")
        if exponent not in _RSA_EXPONENTS or exponent % 2 == 0:
            raise _Unusable("its exponent is unsafe")
        if all(modulus % prime in _ROCA_RESIDUES[prime] for prime in _ROCA_PRIMES):
            raise _Unusable("its primes are predictable (ROCA)")
        return
    for name in _KEY_MEMBERS[key_type][1:]:
        if len(_number(members[name][:256])) != _COORDINATE_BYTES[members["crv"]]:
            raise _Unusable("a coordinate has the wrong length")


def _number(text: str) -> bytes:
    try:
        return decode_segment(text.encode("ascii"))
    except ValueError:
        raise _Unusable("a number is not canonical base64url") from None


def _imported(key_type: str, members: Mapping[str, str]) -> RSAKey | ECKey | OKPKey:
    """Return joserfc's key of the public `members`; it checks that an EC point lies on its curve."""
    parts: dict[str, Any] = {"kty": key_type, **members}
    if key_type == "RSA":
        return RSAKey.import_key(parts)
    return ECKey.import_key(parts) if key_type == "EC" else OKPKey.import_key(parts)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("the JSON has a duplicate member")
    return members


def _refuse_constant(_: str) -> None:
    raise ValueError("the JSON has a number that is not finite")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("the JSON has a number that is not finite")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant, parse_float=_finite)
