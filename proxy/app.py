"""The ASGI application of the data path: from a raw request to an exchange, and from every refusal to its answer.

The order of the gates is the order of this file: path, headers, host and origin, identity, connection, method, body,
message, session, exchange. Each gate refuses on its own; nothing later can undo a refusal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from accounts.client_address import TrustedProxies
from accounts.revocations import CONNECTION_LOCKED
from accounts.tokens import Identity
from policies.engine import narrowing, rules
from policies.engine.facts import Facts
from proxy import errors, exchange, gate, refused
from proxy.collected import Collected
from proxy.held_seal import STATE
from proxy.identity import Authenticator, Locked, Unauthenticated
from proxy.limits import Limits, TooMany
from proxy.live import SESSION_ENDED, Live, why_over
from proxy.ports import Call, ClientGone, Ports, RecordUnavailable, ReplyPort, Route, SessionRef
from proxy.protocol import headers as header_rules
from proxy.protocol import json_strict, jsonrpc, mcp
from proxy.reply import BODY, HEAD, Receive, Reply, Send, Watch, in_time
from proxy.session_refs import GroupKey, SessionGroups, SessionSeal, SessionUnknown
from proxy.store import PolicySource, Snapshot, Store
from sessions.services import Opening

logger = logging.getLogger(__name__)

_SESSION_ID = b"mcp-session-id"
_FORWARDED = b"x-forwarded-for"
_APPROVAL_WAIT = b"x-approval-wait"
_ADDRESS = "wardgate.address"
_CLIENT_INFO = "io.modelcontextprotocol/clientInfo"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a request may be; bytes, counts and seconds."""

    body_bytes: int
    body_seconds: float
    header_bytes: int
    header_count: int
    batch_elements: int
    write_stall_seconds: float


@dataclass(frozen=True, slots=True)
class Site:
    """How the gateway is reached from outside."""

    public_url: str
    hosts: frozenset[str]
    origins: frozenset[str]
    proxies: TrustedProxies


@dataclass(slots=True)
class Head:
    """What the head of a request says, past the gates that look at nothing else."""

    place: gate.Place
    headers: dict[bytes, bytes]
    outbound: list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """One HTTP request past the gates: who sends what to where."""

    head: Head
    headers: dict[bytes, bytes]
    address: str
    identity: Identity
    snapshot: Snapshot
    route: Route
    policy: rules.ConnectionPolicy
    verb: str
    refusal: str | None = None


class GatewayApp:
    """Serves `/mcp/<slug>` and the metadata of each connection."""

    def __init__(
        self,
        *,
        site: Site,
        bounds: Bounds,
        policy: PolicySource,
        authenticator: Authenticator,
        store: Store,
        seal: SessionSeal,
        groups: SessionGroups,
        ports: Ports,
        live: Live,
        limits: Limits,
        recorder: Any,
    ) -> None:
        self._limits = limits
        self._live = live
        self._site, self._bounds, self._policy, self._authenticator = site, bounds, policy, authenticator
        self._store, self._seal, self._groups, self._ports, self._recorder = store, seal, groups, ports, recorder
        self._watch = Watch()
        self._json_limits = json_strict.Limits(bytes=bounds.body_bytes)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request; whatever is not foreseen is logged and denied."""
        reply = Reply(receive, send, self._watch, stall_seconds=self._bounds.write_stall_seconds)
        slug = ""
        try:
            head = scope.get(HEAD)
            if head is not None:
                slug = head.place.slug
                await self._serve(head, scope, receive, reply)
                return
            place = gate.place(scope["raw_path"], scope["query_string"])
            slug = place.slug
            await self._read_and_serve(place, scope, receive, reply)
        except gate.GateRefused as error:
            await self._refuse(scope, slug, reply, refused.http_refusal(error.status, error.code))
        except header_rules.HeaderRefused as error:
            await self._refuse(scope, slug, reply, refused.protocol_refusal(mcp.refusal(error)))
        except refused.Refused as error:
            await self._refuse(scope, slug, reply, error)
        except TooMany as error:
            await self._refuse(scope, slug, reply, refused.too_many(error))
        except ClientGone:
            logger.info("a client left before its answer was complete", extra={"connection": slug})
        except Exception:
            logger.exception("a request failed in a way that is not foreseen", extra={"connection": slug})
            if not (reply.is_streaming or reply.is_done):
                await self._refuse(scope, slug, reply, refused.http_refusal(500, "internal_error"))
        finally:
            reply.stop_watching()

    async def _read_and_serve(
        self, place: gate.Place, scope: MutableMapping[str, Any], receive: Receive, reply: Reply
    ) -> None:
        """Pass the gates that look at the head alone."""
        bounds = self._bounds
        headers = header_rules.read(scope["headers"], count=bounds.header_count, size=bounds.header_bytes)
        gate.check_host(headers, self._site.hosts)
        if place.is_metadata:
            await self._metadata(place, scope["method"], self._policy.current, reply)
            return
        gate.check_origin(headers, self._site.origins)
        head = Head(place, headers, header_rules.outbound(headers, has_body=scope["method"] == "POST"))
        await self._serve(head, scope, receive, reply)

    async def _serve(self, head: Head, scope: MutableMapping[str, Any], receive: Receive, reply: Reply) -> None:
        client = scope.get("client")
        address = client[0] if client else ""
        if self._site.proxies.networks:
            address = scope[_ADDRESS] = self._forwarded(address, head)
        self._limits.arrive(address)
        # Without a current policy nothing passes, but the last one still tells how to say so to whom.
        latest = self._policy.latest
        identity = await self._identify(head, address, latest)
        request = self._admit(scope, head, identity, address, latest)
        if self._policy.current is None:
            request.refusal = "policy_unavailable"
        # Whoever got here may send this head again without having it read again (`http_protocol`).
        scope[HEAD] = head
        try:
            self._limits.enter(identity)
        except TooMany as error:
            raise refused.too_many(error, identity) from None
        try:
            body = b""
            if request.verb == "POST":
                body = await self._body(request, scope.pop(BODY, None), receive)
            await self._answer(request, body, reply)
        finally:
            self._limits.leave(identity)

    async def _answer(self, request: Request, body: bytes, reply: Reply) -> None:
        """Serve a request that is there as a whole: one whose body is slow takes nobody's place at the connection."""
        try:
            self._limits.occupy(request.route)
        except TooMany as error:
            raise refused.too_many(error, request.identity) from None
        try:
            match request.verb:
                case "POST":
                    await self._post(request, body, reply)
                case "GET" | "DELETE":
                    await self._session_verb(request, reply)
                case _:
                    raise refused.Refused(405, "method_not_allowed", b"", [(b"allow", b"GET, POST, DELETE")])
        finally:
            self._limits.vacate(request.route)

    def _forwarded(self, peer: str, head: Head) -> str:
        """Return the address of a client behind trusted proxies; where it is unclear, no rule may be asked about it."""
        address = self._site.proxies.client_address(peer, head.headers.get(_FORWARDED, b"").decode("latin-1"))
        if address is None:
            logger.warning("a trusted proxy does not say whom it speaks for", extra={"address": peer})
            raise refused.rpc_refusal(
                400,
                "client_address_unclear",
                jsonrpc.INVALID_REQUEST,
                "The proxy in front of the gateway does not say from which address it was called.",
            )
        return address

    # Identity and admission.

    async def _identify(self, head: Head, address: str, snapshot: Snapshot) -> Identity:
        slug = head.place.slug
        try:
            return await self._authenticator.authenticate(head.headers, self._resource(slug), snapshot, address)
        except Unauthenticated as error:
            raise refused.unauthenticated(error, self._site.public_url, slug) from None
        except Locked as error:
            raise refused.locked(error) from None

    def _resource(self, slug: str) -> str:
        return f"{self._site.public_url}/mcp/{slug}"

    def _admit(
        self, scope: Mapping[str, Any], head: Head, identity: Identity, address: str, snapshot: Snapshot
    ) -> Request:
        """Without a grant the answer is the same as for a connection that does not exist."""
        route = snapshot.routes.get(head.place.slug)
        policy = route.policy if route is not None else None
        now = time.time()
        if (
            route is None
            or policy is None
            or not narrowing.reaches(identity.narrowing, route.slug)
            or not rules.has_access(policy, identity, now=now, facts=Facts(now, address))
        ):
            raise refused.no_access(groups_are_unknown=identity.groups is None)
        refusal = "connection_unusable" if route.refusal is not None else None
        locks = snapshot.revocations
        if locks.connections and locks.connection_refusal(route.connection_key, now) is not None:
            refusal = CONNECTION_LOCKED
        return Request(head, head.headers, address, identity, snapshot, route, policy, scope["method"], refusal)

    # POST: one message, or a batch of them.

    async def _body(self, request: Request, body: bytes | None, receive: Receive) -> bytes:
        """Return the body: the one that came with the head, or what comes in time."""
        header_rules.require_json(request.headers)
        if body is None:
            return await self._read_limited(request, receive)
        if len(body) > self._bounds.body_bytes:
            raise refused.too_large()
        return body

    async def _post(self, request: Request, body: bytes, reply: Reply) -> None:
        known = self._known_session(request)
        try:
            tree = json_strict.loads(body, self._json_limits)
            message = mcp.classify(
                tree,
                request.headers,
                negotiated=known.version if known is not None else None,
                batch_elements=self._bounds.batch_elements,
            )
        except json_strict.JsonRefused as error:
            raise refused.protocol_refusal(mcp.refusal(error)) from None
        except mcp.ProtocolRefused as error:
            raise refused.protocol_refusal(error) from None
        if request.refusal is not None:
            raise refused.refused_as(request.refusal, message.items[0] if isinstance(message, mcp.Batch) else message)
        if isinstance(message, mcp.Batch):
            await self._batch(request, message, tree, known, reply)
            return
        call = await self._call(request, message, tree, body, known)
        await self._run(request, call, reply)

    async def _run(self, request: Request, call: Call, reply: ReplyPort) -> None:
        """Run the exchange under the eyes of `live`, unless the caller lost access since the request came."""
        latest = self._policy.latest
        if latest is not request.snapshot and (why := why_over(call, latest, time.time())) is not None:
            raise refused.refused_as("cut_unsent", call.message, why, refused.about(call.identity))
        self._live.add(call)
        try:
            await exchange.run(call, self._ports, reply)
        finally:
            self._live.discard(call)

    async def _read_limited(self, request: Request, receive: Receive) -> bytes:
        """Read the body, bounded in bytes and time; a client that leaves in the middle is an abort."""
        most = self._bounds.body_bytes
        declared = request.headers.get(b"content-length", b"0")
        if len(declared) > 12 or not declared.isdigit() or int(declared) > most:
            raise refused.too_large()
        try:
            return await in_time(_collect(receive, most), self._bounds.body_seconds)
        except TimeoutError:
            raise refused.too_slow() from None

    async def _call(
        self,
        request: Request,
        message: mcp.Request | mcp.Notification | mcp.Response,
        tree: Any,
        body: bytes,
        known: SessionRef | None,
    ) -> Call:
        """Make the call: its session, and the exact bytes that will leave."""
        continues = _taken_state(message)
        changed = mcp.strip_capabilities(tree, request.route.forbidden_capabilities) or (tree if continues else None)
        if changed is not None:
            body = mcp.encode(changed)
        is_request = isinstance(message, mcp.Request)
        is_response = isinstance(message, mcp.Response)
        starts = message.era is mcp.Era.LEGACY and is_request and message.method == "initialize"  # type: ignore[union-attr]
        if starts or known is None:
            ref = await self._session(request, message, starts=starts)
        else:
            ref = known
        call = Call(
            call_id=os.urandom(16),
            identity=request.identity,
            route=request.route,
            policy=request.policy,
            ref=ref,
            message=message,
            verb=b"POST",
            method="response" if is_response else message.method,  # type: ignore[union-attr]
            name=message.name if is_request else None,  # type: ignore[union-attr]
            kind=message.kind if is_request else None,  # type: ignore[union-attr]
            outbound=body,
            headers=request.head.outbound,
            received_us=time.time_ns() // 1000,
            keep=_own_values(message),
            address=request.address,
            client=_client_info(message),
            agent=request.headers.get(b"user-agent", b"").decode("latin-1"),
            accepts_stream=b"text/event-stream" in request.headers.get(b"accept", b""),
            patience=_patience(request.headers.get(_APPROVAL_WAIT)),
            continues=continues,
        )
        if starts:
            call.seal = lambda upstream_id, version: self._seal.seal(
                replace(ref, era=mcp.Era.LEGACY, version=version, upstream_id=upstream_id),
                request.identity,
                request.route,
            )
        return call

    async def _batch(
        self, request: Request, batch: mcp.Batch, tree: Any, known: SessionRef | None, reply: Reply
    ) -> None:
        """Run each element of a 2025-03-26 batch as a call of its own and answer with the array of their answers."""
        answers: list[bytes] = []
        for message, element in zip(batch.items, tree, strict=True):
            call = await self._call(request, message, element, mcp.encode(element), known)
            call.accepts_stream = False
            collected = Collected()
            await self._run(request, call, collected)
            if isinstance(message, mcp.Request):
                answers.append(collected.answer(message.id))
        if answers:
            await reply.whole(200, errors.JSON, b"[" + b",".join(answers) + b"]", [])
        else:
            await reply.whole(202, b"", b"", [])

    # GET and DELETE: the legacy era's stream and its end.

    async def _session_verb(self, request: Request, reply: Reply) -> None:
        if request.refusal is not None:
            raise refused.refused_as(request.refusal, None)
        if request.headers.get(b"mcp-protocol-version") == mcp.MODERN_VERSION.encode():
            raise refused.Refused(405, "method_not_allowed", b"", [(b"allow", b"POST")])
        if request.verb == "GET" and b"text/event-stream" not in request.headers.get(b"accept", b""):
            raise refused.rpc_refusal(
                406, "not_acceptable", jsonrpc.INVALID_REQUEST, "Accept must name text/event-stream."
            )
        known = self._known_session(request)
        ref = known or await self._session(request, None, starts=False)
        call = Call(
            call_id=os.urandom(16),
            identity=request.identity,
            route=request.route,
            policy=request.policy,
            ref=ref,
            message=None,
            verb=request.verb.encode(),
            method="session/stream" if request.verb == "GET" else "session/end",
            name=None,
            kind=None,
            outbound=b"",
            headers=request.head.outbound,
            received_us=time.time_ns() // 1000,
            address=request.address,
        )
        await self._run(request, call, reply)
        if request.verb == "DELETE" and known is not None:
            self._groups.forget(known.session)
            self._limits.close_session(known.session)
            self._recorder.session_ended(known.session, "client")
            self._ports.spawn(self._store.end_session(known.session, "client"))

    # Sessions.

    def _known_session(self, request: Request) -> SessionRef | None:
        """Open the `Mcp-Session-Id`; the modern era ignores the header."""
        token = request.headers.get(_SESSION_ID)
        if token is None or request.headers.get(b"mcp-protocol-version") == mcp.MODERN_VERSION.encode():
            return None
        try:
            ref = self._seal.open(token, request.identity, request.route)
        except SessionUnknown:
            raise refused.Refused(404, "session_unknown", jsonrpc.SESSION_NOT_FOUND_BODY) from None
        if ref.session in request.snapshot.stopped_sessions:
            # A client that is told so opens a new session (Streamable HTTP, session management, point 4).
            self._limits.close_session(ref.session)
            raise refused.Refused(404, SESSION_ENDED, jsonrpc.SESSION_NOT_FOUND_BODY)
        self._limits.use_session(ref.session)
        return ref

    async def _session(
        self, request: Request, message: mcp.Request | mcp.Notification | mcp.Response | None, *, starts: bool
    ) -> SessionRef:
        """Return the session of a client without a session id, opened if there is none."""
        era = message.era if message is not None else mcp.Era.LEGACY
        version = message.version if message is not None else mcp.LEGACY_VERSIONS[-1]
        identity = request.identity
        key: GroupKey = (
            request.route.slug, identity.issuer, identity.subject, identity.client_id, version
        )  # fmt: skip
        known = None if starts else self._groups.known(key)
        if known is not None and known.session in request.snapshot.stopped_sessions:
            self._groups.forget(known.session)
            self._limits.close_session(known.session)
            known = None
        if known is not None:
            self._limits.use_session(known.session)
            return known

        async def open_new() -> SessionRef:
            ref = SessionRef(
                os.urandom(16), era, version, client=_client_info(message), opens_urls=_opens_urls(message)
            )
            self._limits.open_session(ref.session, identity)
            try:
                await self._open_session(request, ref, message)
            except BaseException:
                self._limits.close_session(ref.session)
                raise
            return ref

        try:
            if not starts:
                return await self._groups.open(key, open_new)
            ref = await open_new()
            self._groups.adopt(key, ref)
            return ref
        except TooMany as error:
            raise refused.too_many(error, identity) from None
        except Exception as error:
            if not isinstance(error, RecordUnavailable):
                logger.warning("a session cannot be opened: %s", type(error).__name__)
            raise refused.refused_as("record_unavailable", message) from None

    async def _open_session(
        self, request: Request, ref: SessionRef, message: mcp.Request | mcp.Notification | mcp.Response | None
    ) -> None:
        """Create the session's row and first event; both precede every event of its calls."""
        info = _client_info(message)
        identity = request.identity
        opening = Opening(
            issuer=identity.issuer,
            subject=identity.subject,
            display_name=identity.display_name,
            email=identity.email,
            connection_id=request.route.connection_id,
            era=ref.era.value,
            protocol_version=ref.version,
            client_name=info[0],
            client_version=info[1],
            user_agent=request.headers.get(b"user-agent", b"").decode("latin-1"),
            remote_address=request.address,
        )
        if not self._recorder.is_up:
            raise RecordUnavailable(maybe_recorded=False)
        async with asyncio.timeout(self._recorder.refuse_seconds):
            await self._store.open_session(ref.session, opening)
            await self._recorder.session_started(
                ref.session,
                {
                    "issuer": identity.issuer,
                    "subject": identity.subject,
                    "client_id": identity.client_id,
                    "token_sha256": identity.token_digest.hex(),
                    "connection": request.route.slug,
                    "era": ref.era.value,
                    "address": request.address,
                },
            )

    # Answers that are no exchange.

    async def _metadata(self, place: gate.Place, verb: str, snapshot: Snapshot | None, reply: Reply) -> None:
        """Protected resource metadata (RFC 9728); the same for every slug, so that it tells nobody what exists."""
        if verb not in {"GET", "HEAD", "OPTIONS"}:
            raise refused.Refused(405, "method_not_allowed", b"", [(b"allow", b"GET, HEAD, OPTIONS")])
        if snapshot is None:
            raise refused.http_refusal(503, "policy_unavailable")
        body = orjson.dumps(
            {
                "resource": self._resource(place.slug),
                "authorization_servers": sorted(snapshot.providers.keys() - {snapshot.own_issuer}),
                "scopes_supported": [refused.SCOPE],
                "bearer_methods_supported": ["header"],
                "resource_name": "Wardgate",
            }
        )
        cors = [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
            (b"access-control-allow-headers", b"mcp-protocol-version"),
        ]
        await reply.whole(200, errors.JSON, b"" if verb != "GET" else body, cors)

    async def _refuse(self, scope: Mapping[str, Any], slug: str, reply: Reply, refusal: refused.Refused) -> None:
        """Count the refusal in the record and answer it."""
        client = scope.get("client")
        address = scope.get(_ADDRESS) or (client[0] if client else "")
        self._recorder.refused(refusal.code, address, slug, refusal.about)
        if reply.is_streaming or reply.is_done:
            return
        content_type = errors.JSON if refusal.body else b""
        await reply.whole(refusal.status, content_type, refusal.body, refusal.headers)


async def _collect(receive: Receive, most: int) -> bytes:
    """Return the body, which may be `most` bytes long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise refused.Refused(400, "body_cut_off", b"")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise refused.too_large()
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _own_values(message: mcp.Request | mcp.Notification | mcp.Response) -> frozenset[str]:
    """Return the texts that the client itself chose and that must come back to it unchanged."""
    if not isinstance(message, mcp.Request):
        return frozenset()
    values = (message.id, message.meta.get("progressToken"))
    return frozenset(value for value in values if isinstance(value, str))


def _client_info(message: mcp.Request | mcp.Notification | mcp.Response | None) -> tuple[str, str]:
    """Return name and version that the client gives itself; display only."""
    if not isinstance(message, mcp.Request):
        return "", ""
    info = message.meta.get(_CLIENT_INFO) or message.params.get("clientInfo")
    if not isinstance(info, dict):
        return "", ""
    return tuple(value if isinstance(value := info.get(key), str) else "" for key in ("name", "version"))  # type: ignore[return-value]


def _taken_state(message: mcp.Request | mcp.Notification | mcp.Response) -> str:
    """Take the `requestState` out of the message, when it is one of ours: the upstream knows nothing of it."""
    if not isinstance(message, mcp.Request):
        return ""
    state = message.params.get("requestState")
    if not isinstance(state, str) or not state.startswith(STATE):
        return ""
    del message.params["requestState"]
    return state


def _opens_urls(message: mcp.Request | mcp.Notification | mcp.Response | None) -> bool:
    """Tell whether a legacy client says, as its session begins, that it can be sent to an address."""
    if not isinstance(message, mcp.Request):
        return False
    asked = mcp.client_capabilities(message).get("elicitation")
    return isinstance(asked, dict) and "url" in asked


def _patience(value: bytes | None) -> float | None:
    """Return for how many seconds a client says that it waits for an approval; None when it does not say it well."""
    return float(value) if value is not None and value.isdigit() and len(value) < 8 else None
