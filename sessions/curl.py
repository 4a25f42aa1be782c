"""PURE: a recorded request as a command line that sends it again. It has no credential: the token is in $GW_TOKEN.

The body is the recorded one, so what was masked in the record is masked in the command, too.
"""

from __future__ import annotations

from base64 import b64encode

from .markup import UNSEEN

_NAMED = frozenset({"tools/call", "prompts/get", "resources/read"})
MODERN = "2026-07-28"


def command(*, url: str, version: str, method: str, name: str, body: str, verb: str = "POST") -> str:
    """Return the command for a POSIX shell (bash where the body has characters that one does not see).

    Args:
        url: of the connection at the gateway.
        version: protocol version of the session.
        method: MCP method of the request.
        name: tool, prompt or resource, where there is one.
        body: the recorded message.
        verb: HTTP method.
    """
    headers = ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
    if version:
        headers.append(f"MCP-Protocol-Version: {version}")
    if version == MODERN:
        headers.append(f"Mcp-Method: {_header(method)}")
        if method in _NAMED:
            headers.append(f"Mcp-Name: {_header(name)}")
    lines = [f"curl -N -X {quoted(verb or 'POST')} {quoted(url)}", '-H "Authorization: Bearer $GW_TOKEN"']
    lines += [f"-H {quoted(header)}" for header in headers]
    if body:
        lines.append(f"--data-raw {quoted(body)}")
    return " \\\n  ".join(lines)


def quoted(text: str) -> str:
    """Return `text` as one word of the shell, in which nothing is expanded and every character can be seen."""
    text = text.replace("\0", "")
    if UNSEEN.search(text) is None:
        return "'" + text.replace("'", "'\\''") + "'"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return "$'" + UNSEEN.sub(lambda found: _escape(found[0]), escaped) + "'"


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "replace"))


def _header(value: str) -> str:
    """Return a value as the protocol writes it in a header: as it is, or in base64 when a header cannot hold it."""
    is_plain = value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?")
    return value if is_plain else f"=?base64?{b64encode(value.encode('utf-8', 'replace')).decode()}?="
