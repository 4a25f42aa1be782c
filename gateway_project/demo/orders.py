"""The demo's MCP server, made with the official SDK: orders of invented customers, with everything worth protecting.

It has reading tools whose answers carry personal data, one whose answer carries secrets, destructive ones, a slow one
that streams its progress, prompts and resources. It speaks both protocol eras. Nobody but the gateway gets in: every
request needs the bearer credential that only the gateway holds.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import asdict, dataclass, replace

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from gateway_project.demo.serving import App, Receive, Scope, Send, required, serve

EXPORT_STEP_SECONDS = 0.3
PATH = "/mcp"


@dataclass(frozen=True, slots=True)
class Order:
    """One order, as a shop would keep it."""

    order_id: str
    customer: str
    email: str
    phone: str
    card: str
    item: str
    total_eur: float
    status: str
    note: str = ""


# Nobody of this is real: names and addresses are reserved for examples, card numbers are the schemes' test numbers
# (they pass the Luhn check), telephone numbers lie in ranges kept for fiction.
ORDERS = {
    order.order_id: order
    for order in (
        Order("A-1001", "Ada Sample", "ada.sample@example.com", "+44 20 7946 0018", "4242 4242 4242 4242",
              "Mechanical keyboard", 129.0, "shipped"),
        Order("A-1002", "Ben Specimen", "ben@example.org", "+1 202 555 0143", "5555-5555-5555-4444",
              "Standing desk", 649.5, "paid", "Call +1 202 555 0143 before delivery."),
        Order("A-1003", "Chen Muster", "chen.muster@example.net", "+49 30 23125 042", "378282246310005",
              "Monitor arm", 89.9, "paid"),
        Order("A-1004", "Dina Ejemplo", "dina@example.com", "+34 910 053 117", "6011 1111 1111 1117",
              "USB-C dock", 219.0, "returned", "Refund to IBAN DE89 3704 0044 0532 0130 00."),
        Order("A-1005", "Ada Sample", "ada.sample@example.com", "+44 20 7946 0018", "4242 4242 4242 4242",
              "Desk lamp", 39.0, "open"),
    )
}  # fmt: skip

SHOP_CONFIG = """\
[shop]
name = Example Supplies
currency = EUR

[storage]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY

[database]
url = postgres://shop:correct-horse-battery@db.internal:5432/shop
"""

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
DESTROYS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)


def make_server() -> MCPServer[None]:
    """Return the server with an orders table of its own."""
    server: MCPServer[None] = MCPServer(
        name="orders",
        title="Example Supplies: orders",
        version="1.0.0",
        instructions="Look orders up before you change them. Nothing in here is real.",
        log_level="WARNING",
    )
    orders = dict(ORDERS)
    _add_reads(server, orders)
    _add_changes(server, orders)
    _add_prompts_and_resources(server, orders)
    return server


def _add_reads(server: MCPServer[None], orders: dict[str, Order]) -> None:
    @server.tool(title="One order", annotations=READS)
    def get_order(order_id: str) -> dict[str, str | float]:
        """Return one order with its customer and how it was paid."""
        return asdict(_find(orders, order_id))

    @server.tool(title="Search orders", annotations=READS)
    def search_orders(text: str = "", status: str = "") -> list[dict[str, str | float]]:
        """Return the orders that contain a text in customer or item, of one status if given."""
        return [
            asdict(order)
            for order in orders.values()
            if text.lower() in f"{order.customer} {order.item}".lower() and status in {"", order.status}
        ]

    @server.tool(title="Customers", annotations=READS)
    def list_customers() -> list[dict[str, str]]:
        """Return every customer with e-mail address and telephone number."""
        return list({order.email: {"name": order.customer, "email": order.email, "phone": order.phone}
                     for order in orders.values()}.values())  # fmt: skip

    @server.tool(title="Shop configuration", annotations=READS)
    def get_shop_config() -> str:
        """Return the shop's configuration file."""
        return SHOP_CONFIG

    @server.tool(title="Export all orders", annotations=READS)
    async def export_orders(ctx: Context[None, object], rounds: int = 1) -> str:
        """Return all orders as CSV, slowly: one row each 0.3 s, with a progress notification for each."""
        rows = [order for _ in range(max(1, min(rounds, 100))) for order in orders.values()]
        lines = ["order_id,customer,email,card,total_eur"]
        for number, order in enumerate(rows, start=1):
            await asyncio.sleep(EXPORT_STEP_SECONDS)
            lines.append(f"{order.order_id},{order.customer},{order.email},{order.card},{order.total_eur}")
            await ctx.report_progress(number, len(rows), f"{order.order_id} of {order.email}")
        return "\n".join(lines)


def _add_changes(server: MCPServer[None], orders: dict[str, Order]) -> None:
    @server.tool(title="Delete an order", annotations=DESTROYS)
    def delete_order(order_id: str) -> str:
        """Delete an order for good."""
        del orders[_find(orders, order_id).order_id]
        return f"Order {order_id} is deleted."

    @server.tool(title="Refund an order", annotations=DESTROYS)
    def refund_order(order_id: str) -> str:
        """Pay the total of an order back to the card."""
        order = _find(orders, order_id)
        orders[order_id] = replace(order, status="refunded")
        return f"{order.total_eur:.2f} EUR go back to card {order.card}."


def _add_prompts_and_resources(server: MCPServer[None], orders: dict[str, Order]) -> None:
    @server.prompt(title="Answer a customer")
    def answer_customer(order_id: str, question: str) -> str:
        """Draft a friendly answer to a customer's question about an order."""
        order = _find(orders, order_id)
        return f"{order.customer} ({order.email}) asks about order {order_id}: {question}\nAnswer in three sentences."

    @server.prompt(title="Summary of the day")
    def daily_summary() -> str:
        """Summarise what is open."""
        return "List the orders that are paid but not shipped, and say what to do about each."

    @server.resource("orders://policy/returns", mime_type="text/plain", title="Return policy")
    def returns() -> str:
        """Return the return policy."""
        return "Goods can be returned within 30 days. Questions: returns@example.com, +44 20 7946 0000."

    @server.resource("orders://order/{order_id}", mime_type="text/plain", title="Order sheet")
    def sheet(order_id: str) -> str:
        """Return the sheet of one order."""
        order = _find(orders, order_id)
        return f"{order_id}: {order.item} for {order.customer} <{order.email}>, {order.status}"


def _find(orders: dict[str, Order], order_id: str) -> Order:
    if order_id not in orders:
        raise ToolError(f"There is no order {order_id[:40]}.")
    return orders[order_id]


def with_credential(app: App, credential: str) -> App:
    """Return `app` behind a bearer credential; everything else gets 401 (RFC 6750 section 3)."""
    expected = f"Bearer {credential}".encode()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            if len(given) != 1 or not hmac.compare_digest(given[0], expected):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    return guarded


def main() -> None:
    """Serve the orders with the credential and on the socket that the environment names."""
    # What a client sends wrongly is answered, not logged: the table in front of the reader stays tidy.
    logging.getLogger("mcp").setLevel(logging.ERROR)
    app = make_server().streamable_http_app(streamable_http_path=PATH)
    guarded = with_credential(app, required("WARDGATE_DEMO_CREDENTIAL"))
    serve(guarded, file_descriptor=int(required("WARDGATE_DEMO_SOCKET")))


if __name__ == "__main__":
    main()
