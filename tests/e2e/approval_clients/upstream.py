"""The MCP server behind the gateway: `python upstream.py PORT JOURNAL`. Each run of a tool is a line of the journal."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("accounts")
_journal = Path(sys.argv[2])


def _ran(cell: str) -> str:
    with _journal.open("a", encoding="utf-8") as file:
        file.write(cell + "\n")
    return f"transferred for {cell}"


@server.tool()
def transfer(cell: str) -> str:
    """Transfer; the gateway holds it."""
    return _ran(cell)


@server.tool()
def transfer_soon(cell: str) -> str:
    """Transfer; the gateway holds it, and nobody has long to decide."""
    return _ran(cell)


if __name__ == "__main__":
    app = server.streamable_http_app(streamable_http_path="/mcp")
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)
