"""Which session a call belongs to.

Legacy clients carry an `Mcp-Session-Id`. The one that we give out is the upstream's, sealed together with our session
and bound to the principal, its client and the connection: for anybody else it does not open, and any gateway process
can read it without asking the database. Modern clients carry none; their calls are grouped by principal, client and
connection until they are idle.
"""

from __future__ import annotations

import asyncio
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accounts.tokens import Identity
from proxy.ports import Route, SessionRef
from proxy.protocol import mcp
from proxy.protocol.jsonrpc import AnswerInvalid

_NONCE_BYTES = 12
_TOKEN_CHARACTERS = 4096
_CACHE_ENTRIES = 10_000
_NAME_CHARACTERS = 64
_SEPARATOR = b"\x1f"


class SessionUnknown(Exception):
    """The `Mcp-Session-Id` is not one that this principal was given for this connection."""


class SessionSeal:
    """Seals upstream session ids (AES-256-GCM); the first key seals, all open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]
        self._opened: dict[tuple[bytes, bytes], SessionRef] = {}

    def seal(self, ref: SessionRef, identity: Identity, route: Route) -> bytes:
        """Return the `Mcp-Session-Id` for the client."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = ref.session + _SEPARATOR.join((*_told(ref), (ref.upstream_id or "").encode("latin-1")))
        return urlsafe_b64encode(nonce + self._ciphers[0].encrypt(nonce, plain, _binding(identity, route))).rstrip(b"=")

    def open(self, token: bytes, identity: Identity, route: Route) -> SessionRef:
        """Return what `token` stands for.

        Raises:
            SessionUnknown: it was not given to this identity for this connection, it was changed, or an older release
                gave it.
        """
        binding = _binding(identity, route)
        known = self._opened.get((token, binding))
        if known is not None:
            return known
        ref = self._decrypt(token, binding)
        if len(self._opened) >= _CACHE_ENTRIES:
            self._opened.clear()
        self._opened[token, binding] = ref
        return ref

    def _decrypt(self, token: bytes, binding: bytes) -> SessionRef:
        if len(token) > _TOKEN_CHARACTERS:
            raise SessionUnknown
        try:
            raw = urlsafe_b64decode(token + b"=" * (-len(token) % 4))
        except ValueError:
            raise SessionUnknown from None
        if len(raw) < _NONCE_BYTES + 16 or urlsafe_b64encode(raw).rstrip(b"=") != token:
            raise SessionUnknown
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], binding)
            except InvalidTag:
                continue
            parts = plain[16:].split(_SEPARATOR, 4)
            if len(parts) < 5:
                # An older release sealed fewer parts. The client begins a new session when it is told.
                raise SessionUnknown
            version, name, release, opens_urls, upstream_id = parts
            return SessionRef(
                session=plain[:16],
                era=mcp.Era.LEGACY,
                version=version.decode(),
                upstream_id=upstream_id.decode("latin-1"),
                client=(name.decode(), release.decode()),
                opens_urls=bool(opens_urls),
            )
        raise SessionUnknown


def _told(ref: SessionRef) -> tuple[bytes, ...]:
    """Return what the client told when the session began, short enough for a header."""
    # The separator is white space, so that none is left in a name.
    name, release = (" ".join(text.split())[:_NAME_CHARACTERS].encode("utf-8", "ignore") for text in ref.client)
    return ref.version.encode(), name, release, b"u" if ref.opens_urls else b""


def _binding(identity: Identity, route: Route) -> bytes:
    """Return what a session id is bound to."""
    return bound_to(b"mcp-session", identity, route)


def bound_to(purpose: bytes, identity: Identity, route: Route) -> bytes:
    """Return whom what is sealed for `purpose` was given to; lengths go first, so that no two of them read the same."""
    parts = (route.connection_key, identity.issuer, identity.subject, identity.client_id)
    return purpose + b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


class _Initialized(msgspec.Struct):
    protocolVersion: str


class _InitializeAnswer(msgspec.Struct):
    result: _Initialized


_read_initialized = msgspec.json.Decoder(_InitializeAnswer).decode


def negotiated(ref: SessionRef, answer: bytes) -> SessionRef:
    """Return `ref` with the protocol version that the upstream's answer to `initialize` settles.

    Raises:
        AnswerInvalid: it names no version, or one without a method table here.
    """
    try:
        version = _read_initialized(answer).result.protocolVersion
    except msgspec.MsgspecError:
        raise AnswerInvalid("initialize without a protocol version") from None
    if version not in mcp.LEGACY_VERSIONS:
        raise AnswerInvalid("initialize with an unknown protocol version")
    return replace(ref, version=version)


GroupKey = tuple[str, str, str, str, str]


@dataclass(slots=True)
class _Group:
    ref: SessionRef
    used_at: float


class SessionGroups:
    """Groups the calls of clients without a session id into sessions.

    Args:
        idle_seconds: a group without a call for this long has ended; the next call opens a new session.
    """

    def __init__(self, *, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._groups: dict[GroupKey, _Group] = {}
        self._opening: dict[GroupKey, asyncio.Task[SessionRef]] = {}

    def known(self, key: GroupKey) -> SessionRef | None:
        """Return the open session of `key`."""
        group = self._groups.get(key)
        if group is None:
            return None
        now = time.monotonic()
        if now - group.used_at > self._idle_seconds:
            del self._groups[key]
            return None
        group.used_at = now
        return group.ref

    async def open(self, key: GroupKey, opener: Callable[[], Awaitable[SessionRef]]) -> SessionRef:
        """Return the session of `key`, opened once however many calls ask at the same time."""
        task = self._opening.get(key)
        if task is None:
            self._forget_idle()
            task = self._opening[key] = asyncio.ensure_future(opener())
            task.add_done_callback(lambda done: self._opened(key, done))
        return await asyncio.shield(task)

    def adopt(self, key: GroupKey, ref: SessionRef) -> None:
        """Let a session that a client began with `initialize` serve its calls without a session id, too."""
        self._forget_idle()
        self._groups[key] = _Group(ref, time.monotonic())

    def forget(self, session: bytes) -> None:
        """Drop the group of a session that has ended."""
        self._groups = {key: group for key, group in self._groups.items() if group.ref.session != session}

    def _opened(self, key: GroupKey, task: asyncio.Task[SessionRef]) -> None:
        del self._opening[key]
        if not task.cancelled() and task.exception() is None:
            self._groups[key] = _Group(task.result(), time.monotonic())

    def _forget_idle(self) -> None:
        if len(self._groups) < _CACHE_ENTRIES:
            return
        oldest = time.monotonic() - self._idle_seconds
        self._groups = {key: group for key, group in self._groups.items() if group.used_at >= oldest}
        while len(self._groups) >= _CACHE_ENTRIES:
            del self._groups[next(iter(self._groups))]
