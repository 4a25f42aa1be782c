"""The command line: one word for each value, whatever is in it, and no credential."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions import curl

HOSTILE = [
    "it's",
    '$(touch x) `id` $HOME !! \\ " ;&|<>',
    "a\nb\tc",
    "bidi \u202e and zero \u200b width",
    "\x1b[31m red \x07",
    "\\x41 \\n '\x1b' \\'",
    "ünïcödé 😀 \ue000",
    "-o /etc/passwd",
    "",
]


def echoed(word: str) -> str:
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, timeout=10)
    return done.stdout.decode()


@pytest.mark.parametrize("text", HOSTILE)
def test_the_shell_reads_one_word_that_is_the_text(text: str) -> None:
    assert echoed(curl.quoted(text)) == text


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_any_text_survives_the_shell(text: str) -> None:
    assert echoed(curl.quoted(text)) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_unseen_is_in_the_command(text: str) -> None:
    assert curl.UNSEEN.search(curl.quoted(text)) is None


def command(**changes: str) -> str:
    given = {
        "url": "https://gw.example/mcp/orders",
        "version": "2026-07-28",
        "method": "tools/call",
        "name": "get_order",
    }
    return curl.command(**{**given, "body": '{"a":1}', **changes})


def test_a_modern_call_has_the_headers_that_route_it_and_the_token_from_the_environment() -> None:
    text = command()
    for part in ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: get_order", "$GW_TOKEN"):
        assert part in text
    assert "=?base64?w7w=?=" in command(name="ü")


def test_a_legacy_call_has_none_of_them() -> None:
    text = command(version="2025-11-25")
    assert "Mcp-Method" not in text
    assert "Mcp-Name" not in command(method="tools/list")
