"""What a client gets in its hands to come back to a held call: the id of its stream, and the state of its next leg.

Both are sealed (AES-256-GCM, a new nonce each) and bound to the principal, its client and the connection: for anybody
else they do not open, and any gateway process can read them. What may happen only once is counted in the database.

Source: MCP 2026-07-28, "Multi Round-Trip Requests": a server must treat `requestState` as input of an attacker.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accounts.tokens import Identity
from proxy.ports import Route
from proxy.session_refs import bound_to

STREAM: Final = "wgs."
STATE: Final = "wgl."
"""How ours begin; everything else belongs to the upstream."""
_NONCE_BYTES: Final = 12
_CHARACTERS: Final = 2048


class StreamRef(msgspec.Struct, frozen=True, array_like=True):
    """A stream on which a call waits: its request for approval, its session, its call and the id of its message."""

    request: UUID
    session: bytes
    call: bytes
    message: str | int


class LegRef(msgspec.Struct, frozen=True, array_like=True):
    """The next leg of a call: of which request, of which row of legs, which one, for which call, until when (epoch)."""

    request: UUID
    legs: UUID
    leg: int
    bound: bytes
    expires_at: float


T = TypeVar("T", StreamRef, LegRef)


class NotOurs(Exception):
    """It was not given to this identity for this connection, or it was changed."""


class HeldSeal:
    """Seals them; the first key seals, all open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def stream(self, ref: StreamRef, identity: Identity, route: Route) -> str:
        """Return the id of the events of a stream."""
        return STREAM + self._seal(ref, bound_to(b"held-stream", identity, route))

    def state(self, ref: LegRef, identity: Identity, route: Route) -> str:
        """Return the `requestState` of a leg; never the same one twice."""
        return STATE + self._seal(ref, bound_to(b"held-leg", identity, route))

    def open_stream(self, text: str, identity: Identity, route: Route) -> StreamRef:
        """Return what the id of an event stands for.

        Raises:
            NotOurs: it does not open.
        """
        return self._open(text.removeprefix(STREAM), bound_to(b"held-stream", identity, route), StreamRef)

    def open_state(self, text: str, identity: Identity, route: Route) -> LegRef:
        """Return what a `requestState` stands for.

        Raises:
            NotOurs: it does not open.
        """
        return self._open(text.removeprefix(STATE), bound_to(b"held-leg", identity, route), LegRef)

    def _seal(self, ref: StreamRef | LegRef, binding: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, msgspec.json.encode(ref), binding)
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def _open(self, text: str, binding: bytes, kind: type[T]) -> T:
        if len(text) > _CHARACTERS or not text.isascii():
            raise NotOurs
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise NotOurs from None
        # Without the comparison two texts could stand for the same bytes.
        if urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
            raise NotOurs
        for cipher in self._ciphers:
            try:
                return msgspec.json.decode(cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], binding), type=kind)
            except (InvalidTag, ValueError, msgspec.MsgspecError):
                continue
        raise NotOurs
