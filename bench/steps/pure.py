"""What the pure steps of one call cost: reading, identity, decision, masking, streams, chain.

    python -m bench.steps.pure [NAME ...]

Microseconds for one call of each, the median of seven repeats of at least 50 ms, in one process pinned to a core. The
messages are those of the benchmark's upstream: log lines of 1 KiB and 64 KiB with an e-mail address in each KiB.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import orjson

from accounts import tokens
from accounts.jwks import KeySource
from accounts.keys import decode_segment
from accounts.revocations import Revocations
from bench.machine import CANDIDATE_CPU
from policies.engine.compile import GrantRow, GuardrailRow, PatternRow, compile_connection
from policies.engine.packs import DEFAULT_PATTERNS
from policies.engine.rules import Call, ConnectionPolicy, decide
from proxy.identity import Authenticator
from proxy.protocol import headers, json_strict, jsonrpc, mcp, sse
from sessions import chain

REPEATS, REPEAT_SECONDS = 7, 0.05
ISSUER, RESOURCE = "https://idp.bench.example", "https://gateway.example/mcp/bench"
Step = tuple[str, Callable[[], object]]


def microseconds(step: Callable[[], object]) -> float:
    """Return the CPU time that one call of `step` takes: what others do on the machine counts less."""
    count, spent = 1, 0.0
    while spent < REPEAT_SECONDS / 4:
        count *= 2
        started = time.process_time()
        for _ in range(count):
            step()
        spent = time.process_time() - started
    count = max(1, int(count * REPEAT_SECONDS / spent))
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(count):
            step()
        found.append((time.process_time() - started) / count * 1e6)
    return statistics.median(found)


def log_lines(size: int, *, mail: bool) -> str:
    """Return `size` characters of log lines; with `mail`, an address in every twelfth line."""
    lines, length, i = [], 0, 0
    while length < size:
        stamp = f"2026-03-{i % 28 + 1:02} 10:{i % 60:02}:{i * 7 % 60:02} INFO"
        if mail and i % 12 == 5:
            line = f"{stamp} notify user{i}@example.com done\n"
        else:
            line = f'{stamp} worker[{i % 8}] GET /api/v2/items/{10000 + i * 37 % 90000} 200 {i * 13 % 250}ms "ok"\n'
        lines.append(line)
        length, i = length + len(line), i + 1
    return "".join(lines)[:size]


def answer(text: str) -> bytes:
    """Return a tool's answer with one text."""
    result = {"content": [{"type": "text", "text": text}], "isError": False}
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": result})


def records(count: int) -> bytes:
    """Return a tool's answer with `count` structured rows of many short texts."""
    rows = [
        {
            "id": 10_000 + i,
            "name": f"Customer {i}",
            "status": "active",
            "tags": ["a", "b", "premium"],
            "amount": i * 1.5,
        }
        | {"note": "called about the invoice", "email": f"user{i}@example.com" if i % 5 == 0 else None}
        for i in range(count)
    ]
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "structuredContent": {"rows": rows}}})


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"small","arguments":{"q":"abc"}}}'
RAW_HEADERS = [
    (b"host", b"127.0.0.1:9020"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"mcp-protocol-version", b"2025-11-25"),
    (b"authorization", b"Bearer " + b"a" * 590),
    (b"content-length", b"96"),
]


def reading() -> Iterator[Step]:
    """From the socket's bytes to a message."""
    read = headers.read(RAW_HEADERS)
    tree = json_strict.loads(CALL)
    yield "headers.read, 6 headers", lambda: headers.read(RAW_HEADERS)
    yield "headers.outbound", lambda: headers.outbound(read)
    yield "json_strict.loads, call of 96 B", lambda: json_strict.loads(CALL)
    yield "mcp.classify", lambda: mcp.classify(tree, read)
    for name, text in (("1 KiB", log_lines(1024, mail=True)), ("64 KiB", log_lines(65536, mail=True))):
        message = answer(text)
        yield f"jsonrpc.read_answer, {name}", lambda message=message: jsonrpc.read_answer(message)
    big = orjson.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"text": log_lines(65536, mail=True)}}
    )
    yield "json_strict.loads, call of 64 KiB", lambda: json_strict.loads(big)


def identity() -> Iterator[Step]:
    """A token that was not seen before, beside its bare signature check; and one that was."""
    from joserfc import jwt
    from joserfc.jwk import ECKey, RSAKey

    now = int(time.time())
    claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "alice", "groups": ["eng", "sre"]}
    claims |= {"iat": now, "nbf": now, "exp": now + 3600}
    for algorithm, key in (
        ("RS256", RSAKey.generate_key(2048, parameters={"kid": "k"}, private=True)),
        ("ES256", ECKey.generate_key("P-256", parameters={"kid": "k"}, private=True)),
    ):
        raw = jwt.encode({"alg": algorithm, "kid": "k", "typ": "at+jwt"}, claims, key, algorithms=[algorithm]).encode()
        jwks = {"keys": [key.as_dict(private=False)]}
        keys = tokens.key_set(jwks, algorithms=[algorithm])
        provider = tokens.Provider(
            id="p", name="Bench", issuer=ISSUER, audiences=frozenset(), algorithms=frozenset({algorithm}),
            token_types=frozenset(), groups_claim="groups", max_token_seconds=3600, leeway_seconds=30, jwks_url="",
            pinned_jwks=jwks, allowed_networks=(),
        )  # fmt: skip

        def verify(raw: bytes = raw, provider: Any = provider, keys: Any = keys) -> object:
            return tokens.verify(raw, provider=provider, keys=keys, now=now + 1, audience=RESOURCE)

        if isinstance(verify(), tokens.Rejected):
            raise SystemExit(f"{algorithm}: {verify()}")
        yield f"tokens.verify, {algorithm}", verify
        yield f"the signature of it alone, {algorithm}", signature_alone(raw, keys, algorithm)
        if algorithm == "ES256":
            yield "Authenticator.authenticate, seen before", remembered(raw, provider)


def signature_alone(raw: bytes, keys: Any, algorithm: str) -> Callable[[], object]:
    """Return the check of the token's signature, without anything around it."""
    message, _, signature = raw.rpartition(b".")
    key, made = keys.get("k", algorithm), decode_segment(signature)
    return lambda: key.verifies(algorithm, message, made)


def remembered(raw: bytes, provider: Any) -> Callable[[], object]:
    """Return the authentication of a request whose token was verified a moment ago."""
    nobody_failed = SimpleNamespace(check_failures=lambda address: None, fail=lambda address, code: None)
    source = KeySource(lambda *_: asyncio.sleep(0), time.monotonic)
    authenticator = Authenticator(
        source, cache_seconds=3600, token_bytes=16384, introspector=SimpleNamespace(), failures=nobody_failed
    )
    snapshot = SimpleNamespace(
        version=1,
        providers={ISSUER: provider},
        revocations=Revocations(),
        directory={},
        signer=lambda found: found.issuer,
    )
    seen = {b"authorization": b"Bearer " + raw}

    def authenticate() -> object:
        # Nothing in it waits for anything, so that it needs no loop.
        try:
            authenticator.authenticate(seen, RESOURCE, snapshot, "192.0.2.1").send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("a remembered token waits for nothing")

    asyncio.run(authenticator.authenticate(seen, RESOURCE, snapshot, "192.0.2.1"))
    return authenticate


def compiled_policy() -> ConnectionPolicy:
    """Return fifty rules, of which the last one allows, and twenty patterns."""
    grants = [
        GrantRow(id=f"g{i}", connection_id="c", group=(ISSUER, f"team{i}"), tools=[f"team{i}.*"]) for i in range(9)
    ]
    grants.append(GrantRow(id="g", connection_id="c", group=(ISSUER, "eng"), tools=["*"]))
    guardrails = [
        GuardrailRow(
            id=f"r{i:02}", name=f"rule {i:02}", effect=("deny", "hold", "allow")[i % 3], methods=["tools/call"],
            names=[f"svc{i}.*", f"*.delete{i}", f"exact{i}", f"a*b?{i}"],
        ) for i in range(39)
    ]  # fmt: skip
    guardrails.append(GuardrailRow(id="last", name="z", effect="allow", names=["small", "large", "stream*"]))
    patterns = [PatternRow(p.name, p.pattern, p.check, p.replacement) for p in DEFAULT_PATTERNS[:20]]
    return compile_connection(
        "c", grants=grants, guardrails=guardrails, patterns=patterns, literals=[("bench", b"bench-upstream-credential")]
    )


def policy() -> Iterator[Step]:
    """Fifty rules, of which the last one allows; twenty patterns."""
    compiled = compiled_policy()

    class Alice:
        issuer, subject, groups, narrowing = ISSUER, "alice", frozenset({"eng", "sre"}), None

    call = Call("tools/call", "tool", "small")
    yield "rules.decide, seen before", lambda: decide(compiled, Alice, call, now=1.0)

    def unseen() -> object:
        compiled._memo.clear()
        return decide(compiled, Alice, call, now=1.0)

    yield "rules.decide, never seen", unseen
    yield "masker.mask, call of 96 B", lambda: compiled.masker.mask(CALL)
    for name, size in (("1 KiB", 1024), ("64 KiB", 65536)):
        for kind, mail in (("hit", True), ("clean", False)):
            message = answer(log_lines(size, mail=mail))
            yield f"masker.mask, one text of {name}, {kind}", lambda message=message: compiled.masker.mask(message)
    for name, count in (("1 KiB", 6), ("64 KiB", 400)):
        message = records(count)
        yield f"masker.mask, rows of {name}", lambda message=message: compiled.masker.mask(message)


def streams() -> Iterator[Step]:
    """Events as they come, one in a piece."""
    event = (
        b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1",'
        b'"progress":3,"total":10,"message":"step 3 of the long running job"}}\n\n'
    )
    decoder = sse.EventStreamDecoder()
    decoded = sse.EventStreamDecoder().feed(event)[0]
    yield "sse decode, one event of 170 B", lambda: decoder.feed(event)
    yield "sse encode", lambda: sse.encode(decoded)
    large = b"event: message\ndata: " + answer(log_lines(65536, mail=True)) + b"\n\n"
    yield "sse decode, one event of 64 KiB", lambda: decoder.feed(large)


def recording() -> Iterator[Step]:
    """One link of the chain."""
    for name, size in (("1 KiB", 1024), ("64 KiB", 65536)):
        payload = answer(log_lines(size, mail=True))
        entry = chain.Entry(1, 2, bytes(16), bytes(16), "gateway:call:completed", b"x" * 300, payload)
        yield f"chain.link, payload of {name}", lambda entry=entry: chain.link(bytes(16), bytes(32), entry)


GROUPS = {f.__name__: f for f in (reading, identity, policy, streams, recording)}


def main() -> None:
    """Print a line for every step."""
    os.sched_setaffinity(0, {CANDIDATE_CPU})
    for name in sys.argv[1:] or GROUPS:
        for title, step in GROUPS[name]():
            print(f"{name:10} {title:44} {microseconds(step):10.2f} us", flush=True)


if __name__ == "__main__":
    main()
