"""What the demo does as each person, with a real client of the official SDK; it knows nothing of the record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Implementation, TextContent, TextResourceContents

CLIENT_NAME = "wardgate-demo"
STEP_SECONDS = 60
_TEXT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One call: the JSON-RPC method, what is called, and its arguments."""

    method: str
    name: str
    arguments: dict[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the client got for a step, in one line."""

    step: Step
    text: str
    is_error: bool


STEPS = (
    Step("tools/list", "", {}),
    Step("tools/call", "get_order", {"order_id": "A-1002"}),
    Step("tools/call", "search_orders", {"text": "ada"}),
    Step("tools/call", "list_customers", {}),
    Step("tools/call", "get_shop_config", {}),
    Step("tools/call", "export_orders", {}),
    Step("tools/call", "refund_order", {"order_id": "A-1004"}),
    Step("tools/call", "delete_order", {"order_id": "A-1003"}),
    Step("prompts/get", "answer_customer", {"order_id": "A-1001", "question": "Where is it?"}),
    Step("resources/read", "orders://order/A-1001", {}),
)

DECIDED = (
    Step("tools/call", "refund_order", {"order_id": "A-1005"}),
    Step("tools/call", "refund_order", {"order_id": "A-1001"}),
)
"""Held calls about which the demo's approver decides meanwhile: the first is approved, the second denied."""


async def take(
    url: str, token: str, *, mode: str, steps: Sequence[Step] = STEPS, wait_seconds: int = 1
) -> tuple[str, list[Seen]]:
    """Do every step in order and return the protocol version and what the client saw.

    Args:
        url: of the connection, as clients use it.
        token: whose tour this is.
        mode: `auto` for the newest protocol, `legacy` for the one with a handshake.
        steps: what to do.
        wait_seconds: for how long the client waits for an approval. Where nobody approves the held call ends soon, and
            its request stays in the inbox.

    Raises:
        httpx2.HTTPError, MCPError: there was no connection at all; a refused step is only an answer.
    """
    headers = {"Authorization": f"Bearer {token}", "X-Approval-Wait": str(wait_seconds)}
    async with httpx2.AsyncClient(headers=headers, timeout=STEP_SECONDS) as http:
        transport = streamable_http_client(url, http_client=http)
        info = Implementation(name=CLIENT_NAME, version="1")
        async with Client(transport, mode=mode, client_info=info) as client:
            seen = [await _see(client, step) for step in steps]
            return client.protocol_version, seen


async def _see(client: Client, step: Step) -> Seen:
    try:
        text, is_error = await _DO[step.method](client, step)
    except MCPError as error:
        text, is_error = str(error), True
    line = " ".join(text.split())
    return Seen(step, line if len(line) <= _TEXT_CHARACTERS else line[: _TEXT_CHARACTERS - 1] + "…", is_error)


async def _list(client: Client, step: Step) -> tuple[str, bool]:
    tools = (await client.list_tools()).tools
    return ", ".join(tool.name for tool in tools), False


async def _call(client: Client, step: Step) -> tuple[str, bool]:
    heard = 0

    async def count(progress: float, total: float | None, message: str | None) -> None:
        nonlocal heard
        heard += 1

    result = await client.call_tool(step.name, dict(step.arguments), progress_callback=count)
    text = _text(result)
    return (f"{heard} progress messages, then {text}" if heard else text), bool(result.is_error)


async def _prompt(client: Client, step: Step) -> tuple[str, bool]:
    messages = (await client.get_prompt(step.name, dict(step.arguments))).messages
    return " ".join(message.content.text for message in messages if isinstance(message.content, TextContent)), False


async def _read(client: Client, step: Step) -> tuple[str, bool]:
    contents = (await client.read_resource(step.name)).contents
    return " ".join(content.text for content in contents if isinstance(content, TextResourceContents)), False


_DO: dict[str, Callable[[Client, Step], Awaitable[tuple[str, bool]]]] = {
    "tools/list": _list,
    "tools/call": _call,
    "prompts/get": _prompt,
    "resources/read": _read,
}


def _text(result: CallToolResult) -> str:
    return " ".join(block.text for block in result.content if isinstance(block, TextContent))
