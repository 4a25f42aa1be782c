"""The MCP server behind the gateway in the client tests: `python upstream.py PORT JOURNAL`.

Its answers hold e-mail addresses in every place where the gateway has to find them. The journal is a file of JSON
lines: each request as it arrived, and each moment of a tool that a test waits for or forbids.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

STEPS = 3
STEP_SECONDS = 0.05
EMAIL = "ada@customers.example"
JOURNAL = Path(sys.argv[2]) if len(sys.argv) > 2 else None

server = MCPServer("customers", instructions=f"Questions go to {EMAIL}.")


class Customer(BaseModel):
    """One customer, as the JSON tool returns it."""

    id: int
    name: str
    email: str
    balance: float


def note(**entry: Any) -> None:
    """Append one line to the journal, in one write."""
    if JOURNAL is not None:
        with JOURNAL.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


@server.tool()
def get_customer(number: int) -> Customer:
    """Return a customer."""
    return Customer(id=number, name="Ada Lovelace", email=EMAIL, balance=12.50)


@server.tool()
async def stream_report(context: Context) -> str:
    """Make a report step by step, and tell the progress."""
    for step in range(1, STEPS + 1):
        await context.report_progress(step, STEPS, f"step {step} of {STEPS} for {EMAIL}")
        await asyncio.sleep(STEP_SECONDS)
    return f"Report of {STEPS} steps, sent to {EMAIL}"


@server.tool()
async def wait_for_ever(context: Context) -> str:
    """Report once and then wait until the call is cancelled."""
    await context.report_progress(1, 2, "waiting")
    note(moment="waiting")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note(moment="cancelled")
        raise
    return "never"


@server.tool()
async def ask_client(context: Context) -> str:
    """Ask the client's model and then its user, in the middle of the call (the legacy era only)."""
    question = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=f"Who is {EMAIL}?"))
    related = context.request_context.request_id
    answer = await context.session.create_message(messages=[question], max_tokens=16, related_request_id=related)
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
    choice = await context.session.elicit_form(f"Write to {EMAIL}?", schema, related_request_id=related)
    return f"model: {getattr(answer.content, 'text', '')}; user: {choice.action} {json.dumps(choice.content)}"


@server.tool()
def delete_customer(number: int) -> str:
    """Delete a customer; the gateway's policy denies it."""
    note(moment="deleted")
    return "deleted"


@server.tool()
def secret_tool() -> str:
    """Nobody is granted this one."""
    note(moment="secret")
    return "secret"


@server.resource("customers://ada", mime_type="text/plain")
def ada() -> str:
    """Return what is known about one customer."""
    return f"Ada Lovelace <{EMAIL}>"


@server.resource("secrets://root", mime_type="text/plain")
def root_secret() -> str:
    """Return what nobody is granted."""
    note(moment="secret")
    return "secret"


@server.prompt()
def welcome(name: str) -> str:
    """Write a welcome."""
    if not name:
        raise MCPError(types.INVALID_PARAMS, "A name is needed")
    return f"Welcome {name}, and copy {EMAIL}."


def journaled(app: App) -> App:
    """Return `app` with every request written to the journal before it is handled."""

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body, pending = b"", []
        while True:
            message = await receive()
            pending.append(message)
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        note(verb=scope["method"], headers=headers, body=body.decode())

        async def replay() -> Message:
            return pending.pop(0) if pending else await receive()

        await app(scope, replay, send)

    return wrapped


def main() -> None:
    """Serve until the process is ended."""
    # The legacy era's questions to the client are deprecated in the SDK; they are what is tested here.
    warnings.simplefilter("ignore")
    app = journaled(server.streamable_http_app(streamable_http_path="/mcp"))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
