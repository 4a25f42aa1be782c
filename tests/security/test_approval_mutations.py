"""Whatever is changed between approval and run, nothing runs but what was approved (SECURITY row H1).

    WARDGATE_APPROVAL_MUTATIONS=2000 python3 run.py test tests/security/test_approval_mutations.py -s

makes 2,000 changes: of what the client sends, of policy, connection, credential, tool and caller, and of the stored
row. For each, a call is held, approved and changed, and the upstream is asked what it saw. The changes are made by
chance, but always the same ones. After a change of what the client sends, the very same call, spelled in another way,
still runs, once, with the bytes that were held.
"""

from __future__ import annotations

import copy
import json
import os
import random
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from tests.integration.proxy.calls import ACCEPT, in_force
from tests.support import held_callers
from tests.support.gateway import BEARER, LiveGateway
from tests.support.held_callers import Sent, all_said, approve, call_bytes, forwarded, waiting_codes
from tests.support.upstream import ScriptedUpstream, Seen, default_script, json_answer, scripted_upstream

CASES = int(os.environ.get("WARDGATE_APPROVAL_MUTATIONS", "150"))
AT_ONCE = 50
TOOLS = ["refund_order", "refund_orders", "refund_0rder", "refund_order2"]
ROWS = ("ciphertext", "wrapped_key", "binding", "arguments_sha256")
_ABSENT: Any = object()


def listing_script(seen: Seen, connection: Any) -> None:
    """Answer tools/list with the tools, and everything else as usual."""
    if seen.verb == "POST" and seen.message.get("method") == "tools/list":
        tools = [{"name": name, "description": "Refunds.", "inputSchema": {"type": "object"}} for name in TOOLS]
        body = {"jsonrpc": "2.0", "id": seen.message["id"], "result": {"tools": tools}}
        connection.sendall(json_answer(json.dumps(body).encode()))
    else:
        default_script(seen, connection)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream() as server:
        server.script = listing_script
        yield server


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    connections = [
        {"slug": slug, "upstream_url": upstream.url, "credential": BEARER, "labels": ["money"]}
        for slug in ("orders", "billing")
    ]
    return {
        "connections": connections,
        "groups": [{"name": "sre"}],
        "grants": [{"connection": row["slug"], "group": "sre", "tools": ["*"]} for row in connections],
        "guardrails": [
            {"name": "all wait", "effect": "hold", "methods": ["tools/call"], "names": ["*"]},
            {"name": "elsewhere", "effect": "deny", "methods": ["prompts/get"], "names": ["never"]},
        ],
    }


@pytest.fixture(scope="module")
def gateway_environment() -> dict[str, str]:
    # By polling alone a change would be late for sure: what decides is the database, and not a bell that may be lost.
    return {**held_callers.ROOMY, "WARDGATE_POLICY_POLL_MILLISECONDS": "1000"}


def arguments(number: int) -> dict[str, Any]:
    """Return the arguments of a case; `case` tells it from all others and is never changed."""
    return {
        "case": number,
        "order": 4711,
        "amount": 10.5,
        "large": 12345678901234567890,
        "tiny": 1e-7,
        "note": "caf\u00e9 \u212b",
        "empty": "",
        "flag": False,
        "nothing": None,
        "deep": {"list": [1, 2.5, True, None, "x", {"k": "v"}], "none": {}, "\u00fc": 0, "a": 1, "A": 2},
    }


# What the client sends.


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the paths of everything in `value` but the case, containers included."""
    if path:
        yield path
    if isinstance(value, dict):
        for name in value:
            if path or name != "case":
                yield from leaves(value[name], (*path, name))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from leaves(member, (*path, place))


def others(value: Any, dice: random.Random) -> list[Any]:
    """Return values that are not `value`, near and far."""
    far: list[Any] = [_ABSENT, None, False, True, 0, 1, "", "0", "null", [], {}, [value], {"value": value}]
    if isinstance(value, bool):
        return [*far, int(value), str(value).lower()]
    if isinstance(value, int | float):
        near = [value + 1, value - 1, -value, str(value), value * 10, value + 0.5, float(value) * (1 + 2**-50)]
        return [*far, *near, *([value + 1024] if isinstance(value, int) else [])]
    if isinstance(value, str):
        place = dice.randrange(len(value) + 1)
        marks = ["\u200b", "\u202e", "\u0301", " ", "\n", "x", "\ufeff", "\u00ad"]
        inserted = [value[:place] + mark + value[place:] for mark in marks]
        forms = [unicodedata.normalize(form, value) for form in ("NFC", "NFD", "NFKC", "NFKD")]
        return [*far, *inserted, *forms, value.upper(), value.swapcase(), value[::-1], value + value]
    if isinstance(value, list):
        return [*far, value[::-1], value[1:], value[:-1], [*value, None], [*value, *value], value[:1]]
    if isinstance(value, dict):
        renamed = {f"{name} ": member for name, member in value.items()}
        composed = {unicodedata.normalize("NFD", name): member for name, member in value.items()}
        return [*far, {**value, "more": 1}, {**value, "": None}, renamed, composed, list(value.items())]
    return far


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same, as RFC 8785 sees it; written apart from what is tested."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def changed_arguments(number: int, dice: random.Random) -> dict[str, Any]:
    """Return the arguments of a case with one thing changed."""
    base = arguments(number)
    paths = list(leaves(base))
    while True:
        changed = copy.deepcopy(base)
        *way, last = dice.choice(paths)
        parent: Any = changed
        for step in way:
            parent = parent[step]
        value = dice.choice(others(parent[last], dice))
        if value is _ABSENT:
            del parent[last]
        else:
            parent[last] = value
        if dice.random() < 0.1:
            changed = {**changed, dice.choice(["Order", "order ", "\u043erder", "__proto__", "_meta"]): 4711}
        if not is_same(base, changed):
            return changed


def respelled(number: int, dice: random.Random) -> bytes:
    """Return the bytes of the very same call in another spelling: order of members, escapes, 1.0, spaces, id, _meta."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            names = list(value)
            dice.shuffle(names)
            return {name: shuffled(value[name]) for name in names}
        if isinstance(value, list):
            return [shuffled(member) for member in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 and dice.random() < 0.5:
            return float(value)
        return value

    # Members of the message itself stay: what is called has one spelling.
    params = {"name": "refund_order", "_meta": {"progressToken": dice.randrange(10**6)}}
    message = {"id": f"again-{number}", "jsonrpc": "2.0", "method": "tools/call"}
    given = json.dumps(shuffled(arguments(number)), ensure_ascii=dice.random() < 0.5, indent=dice.choice([None, 1]))
    head = json.dumps({**message, "params": params})
    return f'{head[:-2]}, "arguments": {given}}}}}'.encode()


def changed_call(number: int, dice: random.Random, gateway: LiveGateway) -> Sent:
    """Return a call that is another one than that of the case."""
    slug, token, name, given, id = "orders", gateway.token(), "refund_order", arguments(number), number
    match dice.randrange(12):
        case 0:
            name = dice.choice(TOOLS[1:])
        case 1:
            token = gateway.token(dice.choice(["bob", "Alice", "alice ", "al\u0131ce"]))
        case 2:
            token = gateway.token(client_id=dice.choice(["other", "test-client ", "TEST-CLIENT"]))
        case 3:
            slug = "billing"
        case _:
            given = changed_arguments(number, dice)
    return slug, token, call_bytes(name, given, id=id)


async def held_and_approved(gateway: LiveGateway, numbers: range) -> None:
    """Let the calls of the cases be held until their clients give up, and approve them."""
    close_all(gateway)
    token = gateway.token()
    sent = [("orders", token, call_bytes("refund_order", arguments(number), id=number)) for number in numbers]
    texts = await all_said([gateway.port], sent, at_once=AT_ONCE)
    assert all("needs approval" in text for text in texts), texts
    codes = waiting_codes(gateway)
    assert len(codes) == len(numbers)
    approve(gateway, codes)


def close_all(gateway: LiveGateway) -> None:
    """End what is open, so that the next cases find nothing of these."""
    gateway.sql("UPDATE policies_approvalrequest SET state = 'cancelled' WHERE state IN ('held', 'approved')")


def batches(count: int) -> Iterator[range]:
    for start in range(0, count, AT_ONCE):
        yield range(start, min(start + AT_ONCE, count))


async def test_a_call_that_differs_from_what_was_approved_does_not_run_and_the_same_one_does_once(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    dice, held_again, count = random.Random(8785), 0, CASES * 6 // 10
    for numbers in batches(count):
        upstream.seen.clear()
        await held_and_approved(live_gateway, numbers)
        sent = [changed_call(number, dice, live_gateway) for number in numbers]
        texts = await all_said([live_gateway.port], sent, at_once=AT_ONCE)
        assert forwarded(upstream) == []
        assert "fine" not in texts
        held_again += sum("needs approval" in text for text in texts)
        token = live_gateway.token()
        again = [("orders", token, respelled(number, dice)) for number in numbers]
        assert await all_said([live_gateway.port], again, at_once=AT_ONCE) == ["fine"] * len(numbers)
        originals = sorted(call_bytes("refund_order", arguments(number), id=number) for number in numbers)
        ran = sorted(forwarded(upstream))
        assert [json.loads(body) for body in ran] == [json.loads(body) for body in originals]
    print(f"{count} changed calls: 0 executed, {held_again} asked for another approval; {count} same calls ran once")


# What is stored.


def tamper(gateway: LiveGateway, row: dict[str, Any], rows: list[dict[str, Any]], dice: random.Random) -> str:
    """Change something in the row of an approved request, past every service; return what."""
    what: list[str] = []

    def put(column: str, value: Any) -> None:
        what.append(f"{column} of {row['arguments']['case']}: {value!r:.40}")
        gateway.sql(f"UPDATE policies_approvalrequest SET {column} = %s WHERE id = %s", value, row["id"])

    other = dice.choice([candidate for candidate in rows if candidate["id"] != row["id"]])
    match dice.randrange(10):
        case 0 | 1 | 2 | 3:
            column = dice.choice(ROWS)
            kept = bytearray(row[column])
            kept[dice.randrange(len(kept))] ^= 1 << dice.randrange(8)
            put(column, bytes(kept))
        case 4:
            gateway.sql(
                "UPDATE policies_approvalrequest SET ciphertext = %s, wrapped_key = %s, key_id = %s WHERE id = %s",
                other["ciphertext"], other["wrapped_key"], other["key_id"], row["id"],
            )  # fmt: skip
        case 5:
            put("state", dice.choice(["held", "rejected", "expired", "cancelled", "used"]))
        case 6:
            put(dice.choice(["method", "name", "client_id", "rule_name", "key_id"]), "another")
        case 7:
            gateway.sql(
                "UPDATE policies_approvalrequest SET arguments = jsonb_set(arguments, '{order}', '4712') WHERE id = %s",
                row["id"],
            )
        case 8:
            gateway.sql(
                "UPDATE policies_approvalrequest SET usable_until = now() - interval '1 millisecond' WHERE id = %s",
                row["id"],
            )
        case _:
            put(dice.choice(["session_id", "connection_id", "principal_id"]), uuid4())
    return ", ".join(what)


async def test_an_approval_whose_row_was_changed_runs_nothing(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    dice, count = random.Random(1), CASES * 25 // 100
    for numbers in batches(count):
        live_gateway.sql("ALTER TABLE policies_approvalrequest DISABLE TRIGGER ALL")
        upstream.seen.clear()
        await held_and_approved(live_gateway, numbers)
        rows = live_gateway.sql("SELECT * FROM policies_approvalrequest WHERE state = 'approved'")
        what = [tamper(live_gateway, row, rows, dice) for row in rows]
        live_gateway.sql("ALTER TABLE policies_approvalrequest ENABLE TRIGGER ALL")
        token = live_gateway.token()
        sent = [("orders", token, call_bytes("refund_order", arguments(number), id=number)) for number in numbers]
        texts = await all_said([live_gateway.port], sent, at_once=AT_ONCE)
        ran = [json.loads(body)["params"]["arguments"]["case"] for body in forwarded(upstream)]
        assert ran == [], what
        assert "fine" not in texts
    print(f"{count} changed rows: 0 executed")


# Everything else that an approval is bound to.

_ORDERS = "(SELECT id FROM connections_connection WHERE slug = 'orders')"
_LOCK = (
    "INSERT INTO accounts_lock (id, kind, principal_id, reason, created_at, token, agent, source) "
    "SELECT gen_random_uuid(), 'principal', id, 'lost', now(), '', '', 'console' FROM accounts_principal "
    "WHERE subject = 'alice'"
)
CHANGES: dict[str, tuple[str, str]] = {
    "the address of the upstream": (
        "UPDATE connections_connection SET upstream_url = upstream_url || '2' WHERE slug = 'orders'",
        "UPDATE connections_connection SET upstream_url = rtrim(upstream_url, '2') WHERE slug = 'orders'",
    ),
    "the networks of the upstream": (
        "UPDATE connections_connection SET allowed_networks = '[\"127.0.0.0/7\"]' WHERE slug = 'orders'",
        "UPDATE connections_connection SET allowed_networks = '[\"127.0.0.0/8\"]' WHERE slug = 'orders'",
    ),
    "the connection is disabled": (
        "UPDATE connections_connection SET is_active = false WHERE slug = 'orders'",
        "UPDATE connections_connection SET is_active = true WHERE slug = 'orders'",
    ),
    "the labels of the connection": (
        "UPDATE connections_connection SET labels = '[\"money\", \"prod\"]' WHERE slug = 'orders'",
        "UPDATE connections_connection SET labels = '[\"money\"]' WHERE slug = 'orders'",
    ),
    "the credential": (
        f"UPDATE connections_credential SET version = version + 1 WHERE connection_id = {_ORDERS}",
        f"UPDATE connections_credential SET version = version - 1 WHERE connection_id = {_ORDERS}",
    ),
    "the definition of the tool": (
        f"UPDATE connections_tool SET digest = repeat('0', 64), seen_digest = repeat('0', 64) "
        f"WHERE connection_id = {_ORDERS} AND name = 'refund_order'",
        "",
    ),
    "the tool is quarantined": (
        f"UPDATE connections_tool SET state = 'quarantined' WHERE connection_id = {_ORDERS} AND name = 'refund_order'",
        f"UPDATE connections_tool SET state = 'accepted' WHERE connection_id = {_ORDERS} AND name = 'refund_order'",
    ),
    "the tool says something else now": (
        f"UPDATE connections_tool SET seen_digest = repeat('1', 64) WHERE connection_id = {_ORDERS}",
        f"UPDATE connections_tool SET seen_digest = digest WHERE connection_id = {_ORDERS}",
    ),
    "the grant is gone": (
        f"UPDATE policies_accessgrant SET is_active = false WHERE connection_id = {_ORDERS}",
        f"UPDATE policies_accessgrant SET is_active = true WHERE connection_id = {_ORDERS}",
    ),
    "the grant is narrower": (
        f"UPDATE policies_accessgrant SET tools = '[\"refund_*\"]' WHERE connection_id = {_ORDERS}",
        f"UPDATE policies_accessgrant SET tools = '[\"*\"]' WHERE connection_id = {_ORDERS}",
    ),
    "the grant ends": (
        f"UPDATE policies_accessgrant SET valid_until = now() + interval '1 day' WHERE connection_id = {_ORDERS}",
        f"UPDATE policies_accessgrant SET valid_until = NULL WHERE connection_id = {_ORDERS}",
    ),
    "a guardrail denies": (
        "UPDATE policies_guardrail SET effect = 'deny' WHERE name = 'all wait'",
        "UPDATE policies_guardrail SET effect = 'hold' WHERE name = 'all wait'",
    ),
    "another guardrail": (
        "UPDATE policies_guardrail SET names = '[\"never\", \"ever\"]' WHERE name = 'elsewhere'",
        "UPDATE policies_guardrail SET names = '[\"never\"]' WHERE name = 'elsewhere'",
    ),
    "the caller is locked": (_LOCK, "DELETE FROM accounts_lock"),
    "the provider is disabled": (
        "UPDATE accounts_identityprovider SET is_active = false",
        "UPDATE accounts_identityprovider SET is_active = true",
    ),
}


@pytest.fixture(scope="module")
def changed(live_gateway: LiveGateway, upstream: ScriptedUpstream) -> Callable[[str], tuple[str, str]]:
    """Let the tools be listed and accepted; return the statements that change something, and change it back."""
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    headers = {**live_gateway.headers(), **ACCEPT, "content-type": "application/json"}
    httpx.post(live_gateway.url("orders"), content=message, headers=headers, timeout=15).raise_for_status()
    # One name looks like another, which a reviewer has to see.
    live_gateway.sql(
        "UPDATE connections_tool SET state = 'accepted', digest = seen_digest, definition = seen_definition"
    )
    tools = live_gateway.sql(f"SELECT digest FROM connections_tool WHERE connection_id = {_ORDERS}")
    assert len(tools) == len(TOOLS)
    in_force(live_gateway)

    def statements(what: str) -> tuple[str, str]:
        there, back = CHANGES[what]
        if not back:
            [row] = live_gateway.sql(
                f"SELECT digest FROM connections_tool WHERE connection_id = {_ORDERS} AND name = 'refund_order'"
            )
            back = (
                f"UPDATE connections_tool SET digest = '{row['digest']}', seen_digest = '{row['digest']}' "
                f"WHERE connection_id = {_ORDERS} AND name = 'refund_order'"
            )
        return there, back

    return statements


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_anything_else_takes_the_approval_away_at_that_very_moment(
    live_gateway: LiveGateway, upstream: ScriptedUpstream, changed: Callable[[str], tuple[str, str]], what: str
) -> None:
    count = max(1, CASES * 15 // 100 // len(CHANGES))
    numbers, (there, back) = range(count), changed(what)
    upstream.seen.clear()
    await held_and_approved(live_gateway, numbers)
    live_gateway.sql(there)
    try:
        # At once: a gateway process that has not heard of the change yet must not run what was approved before it.
        token = live_gateway.token()
        sent = [("orders", token, call_bytes("refund_order", arguments(number), id=number)) for number in numbers]
        texts = await all_said([live_gateway.port], sent, at_once=AT_ONCE)
        assert forwarded(upstream) == []
        assert "fine" not in texts
    finally:
        live_gateway.sql(back)
        close_all(live_gateway)
        in_force(live_gateway)
    print(f"{what}: {count} approvals, 0 executed")
