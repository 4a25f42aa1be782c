"""What `up` prints when everything runs: where to look, and lines to paste."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from gateway_project.demo.people import CONNECTION_SLUG
from gateway_project.local.prepare import ADMIN

_CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "get_order",
        "arguments": {"order_id": "A-1002"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "curl", "version": "8"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}


def text(*, public_url: str, has_demo: bool, new_password: str | None, project: Path, seconds: float) -> str:
    """Return the block; the password appears in it once, at the first start."""
    run = f"python3 {shlex.quote(str(project / 'run.py'))}"
    if new_password is None:
        password = f"as before; reset it with: {run} manage changepassword {ADMIN}"
    else:
        password = f"{new_password}   (shown only this once)"
    lines = [
        "",
        "  Wardgate is ready.",
        "",
        f"  Console    {public_url}/admin/",
        f"  User       {ADMIN}",
        f"  Password   {password}",
    ]
    if has_demo:
        lines += _demo_lines(f"{public_url}/mcp/{CONNECTION_SLUG}", run)
    lines += ["", f"  Ctrl-C stops everything and keeps the data.   ready in {seconds:.1f} s", ""]
    return "\n".join(lines)


def as_json(value: Mapping[str, str]) -> str:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":"))


def _demo_lines(url: str, run: str) -> list[str]:
    return [
        "",
        "  Or, with the demo's identity provider, as alice (viewer) or bob (auditor, approver, operator). A password:",
        "",
        f"    {run} password bob",
        "",
        f"  MCP        {url}",
        "",
        "  See it work: as alice (support) and bob (admins), a token for an hour each",
        "",
        f"    {run} demo",
        f"    {run} verify      # proves that the record of it is as it was written",
        "",
        "  curl",
        "",
        f'    TOKEN="$({run} token alice)"',
        f'    curl -s {url} -H "Authorization: Bearer $TOKEN" \\',
        "      -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\",
        "      -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: get_order' \\",
        f"      -d '{json.dumps(_CALL, separators=(',', ':'))}'",
        "",
        "  Claude Code",
        "",
        f'    claude mcp add --transport http {CONNECTION_SLUG} {url} --header "Authorization: Bearer $TOKEN"',
        "",
        "  Python (pip install mcp)",
        "",
        "    import asyncio, os, httpx2",
        "    from mcp import Client",
        "    from mcp.client.streamable_http import streamable_http_client",
        "    async def main():",
        '        headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}',
        "        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:",
        f'            async with Client(streamable_http_client("{url}", http_client=http)) as client:',
        '                print(await client.call_tool("get_order", {"order_id": "A-1002"}))',
        "    asyncio.run(main())",
    ]
