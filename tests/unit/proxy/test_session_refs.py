from __future__ import annotations

import asyncio
import os
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from accounts.tokens import Identity
from proxy.ports import Route, SessionRef
from proxy.protocol import mcp
from proxy.protocol.jsonrpc import AnswerInvalid
from proxy.session_refs import SessionGroups, SessionSeal, SessionUnknown, bound_to, negotiated

KEYS = [b"k" * 32, b"o" * 32]
ANN = Identity("https://idp", "ann", frozenset(), 9_999_999_999, "", "", "cli", b"", "p", "", frozenset())
ROUTE = Route(
    UUID(int=1),
    str(UUID(int=1)),
    "orders",
    "Orders",
    "https://gw/mcp/orders",
    None,
    (),
    300,
    frozenset(),
    None,
    None,
    1,
    1,
)
REF = SessionRef(b"s" * 16, mcp.Era.LEGACY, "2025-11-25", "upstream-id")


def sealed(parts: bytes) -> bytes:
    """Return a session id with these parts, sealed as ours are."""
    nonce = os.urandom(12)
    box = AESGCM(KEYS[0]).encrypt(nonce, REF.session + parts, bound_to(b"mcp-session", ANN, ROUTE))
    return urlsafe_b64encode(nonce + box).rstrip(b"=")


def test_a_sealed_session_opens_for_whom_it_was_made() -> None:
    assert SessionSeal(KEYS).open(SessionSeal(KEYS).seal(REF, ANN, ROUTE), ANN, ROUTE) == REF


def test_a_session_sealed_with_an_older_key_still_opens() -> None:
    token = SessionSeal(KEYS[1:]).seal(REF, ANN, ROUTE)
    assert SessionSeal(KEYS).open(token, ANN, ROUTE) == REF


def test_a_session_of_a_retired_key_is_unknown() -> None:
    token = SessionSeal(KEYS[:1]).seal(REF, ANN, ROUTE)
    with pytest.raises(SessionUnknown):
        SessionSeal(KEYS[1:]).open(token, ANN, ROUTE)


@pytest.mark.parametrize("change", [{"issuer": "https://other"}, {"subject": "bob"}, {"client_id": "web"}])
def test_another_identity_cannot_open_it(change: dict[str, Any]) -> None:
    seal = SessionSeal(KEYS)
    token = seal.seal(REF, ANN, ROUTE)
    assert seal.open(token, ANN, ROUTE) == REF
    with pytest.raises(SessionUnknown):
        seal.open(token, replace(ANN, **change), ROUTE)


def test_a_session_id_that_an_older_release_gave_is_unknown() -> None:
    older, newer = b"2025-11-25\x1fupstream-id", b"2025-11-25\x1f\x1f\x1f\x1fupstream-id"
    assert SessionSeal(KEYS).open(sealed(newer), ANN, ROUTE) == REF
    with pytest.raises(SessionUnknown):
        SessionSeal(KEYS).open(sealed(older), ANN, ROUTE)


@pytest.mark.parametrize("client", [("Ag\x1fent", "1\x1f2"), ("\x1f", "\x1f\x1f"), ("A\x1f" * 40, "\ud800\x1f1")])
def test_no_name_of_a_client_moves_the_parts_of_its_session_id(client: tuple[str, str]) -> None:
    given = replace(REF, client=client, opens_urls=True)
    opened = SessionSeal(KEYS).open(SessionSeal(KEYS).seal(given, ANN, ROUTE), ANN, ROUTE)
    assert replace(opened, client=("", "")) == replace(given, client=("", ""))
    assert "\x1f" not in "".join(opened.client)


def test_another_connection_cannot_open_it() -> None:
    seal = SessionSeal(KEYS)
    token = seal.seal(REF, ANN, ROUTE)
    with pytest.raises(SessionUnknown):
        seal.open(token, ANN, replace(ROUTE, connection_key=str(UUID(int=2))))


@given(st.binary(max_size=200))
def test_no_guess_opens(guess: bytes) -> None:
    with pytest.raises(SessionUnknown):
        SessionSeal(KEYS).open(guess, ANN, ROUTE)


@given(place=st.integers(0, 80), bit=st.integers(0, 7))
def test_a_flipped_bit_does_not_open(place: int, bit: int) -> None:
    seal = SessionSeal(KEYS)
    token = bytearray(seal.seal(REF, ANN, ROUTE))
    token[place % len(token)] ^= 1 << bit
    with pytest.raises(SessionUnknown):
        seal.open(bytes(token), ANN, ROUTE)


def test_the_token_does_not_show_the_upstreams_session_id() -> None:
    assert b"upstream-id" not in SessionSeal(KEYS).seal(REF, ANN, ROUTE)


def test_the_negotiated_version_comes_from_the_upstreams_answer() -> None:
    answer = b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-03-26","capabilities":{}}}'
    assert negotiated(REF, answer).version == "2025-03-26"


@pytest.mark.parametrize("version", ['"2026-07-28"', '"1999-01-01"', "1", "null"])
def test_a_version_that_the_legacy_era_does_not_have_is_refused(version: str) -> None:
    with pytest.raises(AnswerInvalid):
        negotiated(REF, b'{"result":{"protocolVersion":%b}}' % version.encode())


async def test_a_group_is_opened_once_however_many_ask() -> None:
    groups = SessionGroups(idle_seconds=60)
    opened: list[SessionRef] = []

    async def opener() -> SessionRef:
        await asyncio.sleep(0)
        opened.append(replace(REF, session=os.urandom(16)))
        return opened[-1]

    key = ("c", "i", "s", "a", "v")
    found = await asyncio.gather(*(groups.open(key, opener) for _ in range(50)))
    assert len(opened) == 1
    assert set(found) == {opened[0]}
    assert groups.known(key) == opened[0]


async def test_a_group_that_could_not_be_opened_is_tried_again() -> None:
    groups = SessionGroups(idle_seconds=60)
    key = ("c", "i", "s", "a", "v")

    async def broken() -> SessionRef:
        raise OSError

    with pytest.raises(OSError):
        await groups.open(key, broken)

    async def works() -> SessionRef:
        return REF

    assert await groups.open(key, works) == REF


async def test_a_forgotten_session_has_no_group() -> None:
    groups = SessionGroups(idle_seconds=60)
    key = ("c", "i", "s", "a", "v")
    groups.adopt(key, REF)
    groups.forget(REF.session)
    assert groups.known(key) is None
