"""How the tests of the data path call a gateway."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx

from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until

ACCEPT = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


def rpc(method: str, params: dict[str, Any] | None = None, id: Any = 1) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method}
    return message if params is None else {**message, "params": params}


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    """Return a tools/call."""
    return rpc("tools/call", {"name": name, "arguments": arguments})


def post(gateway: LiveGateway, message: Any, groups: list[str] | None = None, **headers: str) -> httpx.Response:
    """Post a message to the connection `orders` as a legacy client without a session; bytes are sent as they are."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {**gateway.headers(groups=groups or ["sre"]), **ACCEPT, **given}
    if isinstance(message, bytes):
        return httpx.post(
            gateway.url("orders"), content=message, headers={"content-type": "application/json", **sent}, timeout=15
        )
    return httpx.post(gateway.url("orders"), json=message, headers=sent, timeout=15)


def in_force(gateway: LiveGateway) -> None:
    """Return once calls are decided by what the database says now."""
    [state] = gateway.sql("SELECT version FROM policies_policystate")

    def is_current() -> bool:
        post(gateway, rpc("ping"))
        last = [event["body"] for event in gateway.events("gateway:call:intent")][-1]
        return bool(last["policy_version"] >= state["version"])

    wait_until(is_current, seconds=5, what="the policy in force")
