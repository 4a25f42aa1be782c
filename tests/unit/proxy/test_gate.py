from __future__ import annotations

import pytest

from proxy import gate


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"/mcp/orders", gate.Place("orders", is_metadata=False)),
        (b"/mcp/a", gate.Place("a", is_metadata=False)),
        (b"/.well-known/oauth-protected-resource/mcp/orders", gate.Place("orders", is_metadata=True)),
    ],
)
def test_an_exact_path_leads_to_its_place(path: bytes, place: gate.Place) -> None:
    assert gate.place(path, b"") == place


@pytest.mark.parametrize(
    "path", [b"/mcp", b"/mcp/", b"/mcp/-a", b"/mcp/a-", b"/mcp/A", b"/mcp/a\n", b"/mcp/a/", b"/mcp/" + b"a" * 64]
)
def test_any_other_path_is_unknown(path: bytes) -> None:
    with pytest.raises(gate.GateRefused) as refused:
        gate.place(path, b"")
    assert refused.value.status == 404


def test_a_query_is_never_part_of_a_place() -> None:
    with pytest.raises(gate.GateRefused):
        gate.place(b"/mcp/orders", b"a=1")


ALLOWED = frozenset({"gw.example.com", ".apps.example.com", "::1"})


@pytest.mark.parametrize(
    "host",
    [
        b"gw.example.com",
        b"GW.example.com:8443",
        b"gw.example.com.",
        b"a.apps.example.com",
        b"apps.example.com",
        b"[::1]:80",
    ],
)
def test_an_allowed_host_passes(host: bytes) -> None:
    gate.check_host({b"host": host}, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        b"", b"evil.com", b"gw.example.com.evil.com", b"gw.example.com:x", b"gw.example.com:1:2",
        b"evilapps.example.com",
        b"a b", b"gw.example.com\x00", b"user@gw.example.com", b"gw.example.com/",
    ],
)  # fmt: skip
def test_any_other_host_is_refused(host: bytes) -> None:
    with pytest.raises(gate.GateRefused):
        gate.check_host({b"host": host}, ALLOWED)


def test_a_request_without_a_host_is_refused() -> None:
    with pytest.raises(gate.GateRefused):
        gate.check_host({}, ALLOWED)
