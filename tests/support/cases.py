"""Policies and calls by chance: documents, cases of the simulator, and the messages that the cases stand for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ISSUER = "https://login.example.com"
GROUPS = ("ops", "dev", "sales")
CONNECTIONS = {"orders": ["prod", "email"], "wiki": ["dev"], "pay": ["prod", "money"]}
TOOLS = {
    "get_order": {"readOnlyHint": True},
    "delete_order": {"destructiveHint": True},
    "send_mail": {"destructiveHint": False},
    "query": {},
    "new_tool": None,
}
"""Tools of every connection, with their annotations; None is in nobody's catalogue."""
TAINTS = {"query": ["untrusted"], "get_order": ["sensitive"]}
SUBJECTS = ("ada", "bob", "eve")
BEGIN = int(datetime(2026, 3, 28, tzinfo=UTC).timestamp())
WEEK = 7 * 86400

_GLOBS = ("*", "get_*", "*_order", "query", "send_mail", "delete_order", "doc://*", "greet", "?uery", "tool.*")
_METHODS = (["*"], ["tools/call"], ["tools/*"], ["prompts/get", "completion/complete"], ["resources/*"], ["tools/list"])
_WHO = ('identity.kind == "machine"', '"ops" in identity.groups', 'client.name == "agent"', 'identity.subject == "ada"',
        'in_cidr(request.ip, "10.0.0.0/8")', 'hour(request.time, "Europe/Berlin") >= 18',
        'weekday(request.time, "America/New_York") in ["sat", "sun"]', '"prod" in connection.labels')  # fmt: skip
_WHAT = (
    "args.amount > 100",
    "has(args.amount) && args.amount > 10",
    'args.to.endsWith("@example.com")',
    'sql.kinds(args.q).exists(kind, kind == "drop")',
    '"orders" in sql.tables(args.q)',
    "args.rows.exists(row, row.n > 3)",
    "tool.is_destructive",
    'tool.is_read_only && tool.kind == "tool"',
    'shell.commands(args.q).exists(c, c.name == "rm")',
    'session.count("get_*") > 1',
    'session.rate("*", 600) > 2',
    '"untrusted" in session.labels && tool.is_destructive',
    'session.distinct("to") > 1',
    "session.bytes > 1000",
    "session.calls > 3 || session.age > 5000",
    'args.q.matches("^sel")',
    "size(args) > 1",
    'args.missing == "x"',
)


@dataclass(frozen=True)
class Generated:
    """A call: what the simulator is given, and the message as a client sends it."""

    given: dict[str, Any]
    message: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def identity(self) -> dict[str, Any]:
        """Who calls."""
        found: dict[str, Any] = self.given["identity"]
        return found

    @property
    def at(self) -> float:
        """When, in epoch seconds."""
        return datetime.fromisoformat(self.given["time"]).timestamp()


def policy(chance: random.Random) -> dict[str, Any]:
    """Return a document with grants and guardrails."""
    grants = {str(entry): entry for entry in (_grant(chance) for _ in range(chance.randint(4, 14)))}
    guardrails = [_guardrail(chance, number) for number in range(chance.randint(0, 20))]
    return {"grants": list(grants.values()), "guardrails": guardrails}


def call(chance: random.Random, number: int) -> Generated:
    """Return a call; `number` makes its client, and so its history, its own."""
    at = BEGIN + chance.randrange(WEEK)
    method, name, params = _request(chance)
    client = chance.choice([None, {"name": "agent", "version": "2"}, {"name": "other"}])
    if client is not None and method not in {"notifications/initialized", "ping"}:
        params["_meta"] = {"io.modelcontextprotocol/clientInfo": client}
    else:
        client = None
    is_named = method in {"tools/call", "prompts/get"}
    history = [_past(chance) for _ in range(chance.choice([0, 0, 1, 3, 6]))]
    given = {
        "identity": {
            "issuer": ISSUER,
            "subject": chance.choice(SUBJECTS),
            "groups": chance.choice([[], ["ops"], ["dev", "sales"], list(GROUPS), None]),
            "kind": chance.choice(["human", "machine", "unknown"]),
            "client_id": f"client-{number}",
        },
        "connection": chance.choice(list(CONNECTIONS)),
        "method": method,
        "name": name,
        "arguments": params.get("arguments", {}) if is_named else params,
        "time": datetime.fromtimestamp(at, UTC).isoformat(),
        "address": chance.choice(["10.1.2.3", "192.0.2.7", "2001:db8::1"]),
        "client": client or {},
        "history": history,
    }
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = number
    else:
        given["arguments"] = {}
    return Generated(given, message, history)


def _grant(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _globs(chance) for name in ("tools", "prompts", "resources") if chance.random() < 0.7
    }
    found.setdefault("tools", ["*"])
    if chance.random() < 0.7:
        found["connection"] = chance.choice(list(CONNECTIONS))
    else:
        found["labels"] = [chance.choice(["prod", "dev", "money"])]
    holder = chance.randrange(4)
    if holder == 0:
        found["principal"] = {"issuer": ISSUER, "subject": chance.choice(SUBJECTS)}
    elif holder < 3:
        found["group"] = {"provider": "Login", "name": chance.choice(GROUPS)}
    if holder == 3 or chance.random() < 0.2:
        found["condition"] = chance.choice(_WHO)
    if chance.random() < 0.2:
        found["valid_until"] = datetime.fromtimestamp(BEGIN + chance.randrange(WEEK), UTC).isoformat()
    if chance.random() < 0.15:
        found["networks"] = [chance.choice(["10.0.0.0/8", "2001:db8::/32"])]
    if chance.random() < 0.15:
        found["windows"] = [
            {"days": ["fri", "sat", "sun", "mon"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}
        ]
    return found


def _guardrail(chance: random.Random, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": f"rule {number}",
        "effect": chance.choice(["deny", "hold", "allow"]),
        "methods": chance.choice(_METHODS),
        "names": _globs(chance),
    }
    if chance.random() < 0.4:
        found["connection"] = chance.choice(list(CONNECTIONS))
    elif chance.random() < 0.3:
        found["labels"] = [chance.choice(["prod", "money"])]
    if chance.random() < 0.25:
        found["groups"] = [{"provider": "Login", "name": chance.choice(GROUPS)}]
    if chance.random() < 0.15:
        found["principals"] = [{"issuer": ISSUER, "subject": chance.choice(SUBJECTS)}]
    if chance.random() < 0.2:
        found["annotations"] = {chance.choice(["destructiveHint", "readOnlyHint"]): chance.choice([True, False])}
    if chance.random() < 0.6:
        found["condition"] = chance.choice(_WHO + _WHAT * 2)
        if chance.random() < 0.2:
            found["condition"] = f"{found['condition']} && !({chance.choice(_WHAT)})"
    if chance.random() < 0.1:
        found["is_observed"] = True
    return found


def _globs(chance: random.Random) -> list[str]:
    return sorted({chance.choice(_GLOBS) for _ in range(chance.randint(1, 3))})


def _request(chance: random.Random) -> tuple[str, str | None, dict[str, Any]]:
    kind = chance.random()
    if kind < 0.65:
        name = chance.choice([*TOOLS, "Get_Order"])
        params: dict[str, Any] = {"name": name}
        if chance.random() < 0.9:
            params["arguments"] = _arguments(chance)
        return "tools/call", name, params
    if kind < 0.72:
        return "prompts/get", "greet", {"name": "greet", "arguments": {"to": "x@example.com"}}
    if kind < 0.82:
        uri = chance.choice(["doc://1", "file:///etc/passwd"])
        method = chance.choice(["resources/read", "resources/subscribe", "resources/unsubscribe"])
        return method, uri, {"uri": uri}
    if kind < 0.88:
        argument = {"name": "to", "value": "x"}
        if chance.random() < 0.5:
            return (
                "completion/complete",
                "greet",
                {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": argument},
            )
        return (
            "completion/complete",
            "doc://1",
            {"ref": {"type": "ref/resource", "uri": "doc://1"}, "argument": argument},
        )
    method = chance.choice(["tools/list", "prompts/list", "ping", "notifications/initialized", "logging/setLevel"])
    return method, None, {"level": "info"} if method == "logging/setLevel" else {}


def _arguments(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if chance.random() < 0.6:
        found["amount"] = chance.choice([5, 50, 500, 10.5, "500", None])
    if chance.random() < 0.5:
        found["to"] = chance.choice(["x@example.com", "y@rival.example", 7])
    if chance.random() < 0.5:
        found["q"] = chance.choice(
            [
                "select 1",
                "select a from orders",
                "DROP TABLE orders",
                "rm -rf /",
                "with x as (delete from a) select 1",
                "((",
            ]
        )
    if chance.random() < 0.3:
        found["rows"] = chance.choice([[], [{"n": 1}, {"n": 9}], [{"m": 1}], "rows"])
    return found


def _past(chance: random.Random) -> dict[str, Any]:
    name = chance.choice(["get_order", "query", "send_mail"])
    return {
        "seconds_ago": chance.choice([1, 60, 599, 601, 7000]),
        "connection": chance.choice(list(CONNECTIONS)),
        "name": name,
        "bytes": chance.choice([0, 300, 2000]),
        "labels": TAINTS.get(name, []),
        "values": {"to": chance.choice(["a", "b"])} if chance.random() < 0.5 else {},
    }
