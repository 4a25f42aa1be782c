"""Builds the data path from the settings, starts it before the first request and stops it after the last."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

import orjson
import psycopg
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.client_address import TrustedProxies
from accounts.introspection import Introspector
from accounts.jwks import KeySource
from policies.engine.verdicts import Allow, Deny
from proxy import exchange
from proxy.app import Bounds, GatewayApp, Site
from proxy.approval_store import ApprovalStore
from proxy.approvals import HeldCalls
from proxy.catalogue import StoredCatalogue
from proxy.held_seal import HeldSeal
from proxy.held_tasks import TaskIds
from proxy.history import HistoryBounds, StoredHistory
from proxy.holding import Means
from proxy.identity import Authenticator
from proxy.instances import Instances, this_process
from proxy.journal import Journal
from proxy.limits import Caps
from proxy.limits import Limits as RequestLimits
from proxy.live import Live
from proxy.ports import Call, Limits, Ports, ReplyPort, no_probe
from proxy.recorder import Recorder
from proxy.reply import Receive, Send
from proxy.resumes import Resumes
from proxy.session_refs import SessionGroups, SessionSeal
from proxy.store import PolicySource, Store
from proxy.upstream import HttpUpstream
from sessions.checkpointer import Checkpointer, Shipper
from sessions.checkpoints import Due

_GC_THRESHOLDS = (20_000, 20, 50)

logger = logging.getLogger(__name__)


class DataPath:
    """Everything that serves `/mcp`, as one ASGI application with a beginning and an end.

    Args:
        probe: called at the labelled steps of a call; the tests stop the process there.
        on_request: called with the id of each request for approval that has moved.
    """

    def __init__(
        self, probe: Callable[[str], None] = no_probe, on_request: Callable[[str], None] = lambda request_id: None
    ) -> None:
        self._probe, self._on_request = probe, on_request
        self._app: GatewayApp | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the record, load the policy and settle what a crash left; only then may a request come.

        Raises:
            psycopg.Error, DatabaseError: the database cannot be used; the process must not serve.
        """
        conninfo = connection_string()
        process = this_process()
        self._store, self._policy_store = Store(), Store(threads=1)
        self._policy = PolicySource(
            self._policy_store,
            poll_seconds=settings.WARDGATE_POLICY_POLL_MILLISECONDS / 1000,
            stale_seconds=settings.WARDGATE_POLICY_STALE_SECONDS,
            on_change=lambda snapshot: self._live.changed(),
        )
        self._live = Live(self._policy)
        # Threads of their own: an issuer that answers slowly must not make a session or a lock wait.
        self._introspection_store = Store()
        self._introspector = Introspector(
            self._introspection_store.introspect,
            every_seconds=settings.WARDGATE_INTROSPECTION_EVERY_SECONDS,
            outage_seconds=settings.WARDGATE_INTROSPECTION_OUTAGE_SECONDS,
        )
        self._journal = Journal(
            conninfo,
            process.instance_id.bytes,
            process.lock_key,
            queue_events=settings.WARDGATE_RECORD_QUEUE_EVENTS,
            batch_events=settings.WARDGATE_RECORD_BATCH_EVENTS,
            on_bell=self._policy.ring,
            on_decision=self._request_moved,
            on_knock=lambda text: self._held.knocked(text),  # noqa: PLW0108 - it is made later
        )
        self._instances = Instances(
            self._store,
            self._journal,
            process,
            conninfo,
            beat_seconds=settings.WARDGATE_HEARTBEAT_SECONDS,
            dead_seconds=settings.WARDGATE_INSTANCE_DEAD_SECONDS,
        )
        self._recorder = Recorder(
            self._journal,
            refuse_seconds=settings.WARDGATE_RECORD_REFUSE_MILLISECONDS / 1000,
            withhold_seconds=settings.WARDGATE_RECORD_WITHHOLD_SECONDS,
            notifications_wait=settings.WARDGATE_RECORD_NOTIFICATIONS_WAIT,
        )
        self._limits = RequestLimits(
            Caps(
                address_failures=settings.WARDGATE_ADDRESS_FAILURES_PER_SECOND,
                address_requests=settings.WARDGATE_ADDRESS_REQUESTS_PER_SECOND,
                principal_requests=settings.WARDGATE_PRINCIPAL_REQUESTS_PER_SECOND,
                principal_calls=settings.WARDGATE_PRINCIPAL_CALLS,
                connection_calls=settings.WARDGATE_CONNECTION_CALLS,
                sessions=settings.WARDGATE_SESSIONS,
                principal_sessions=settings.WARDGATE_PRINCIPAL_SESSIONS,
            ),
            time.monotonic,
        )
        self._held = HeldCalls(
            Means(
                store=ApprovalStore(
                    self._store, instance_id=process.instance_id, public_url=settings.WARDGATE_PUBLIC_URL
                ),
                recorder=self._recorder,
                policy=self._policy,
                slots=self._limits,
                live=self._live,
                task_ids=TaskIds(derived_keys(settings.WARDGATE_MASTER_KEYS, b"wardgate tasks")),
                seal=HeldSeal(derived_keys(settings.WARDGATE_MASTER_KEYS, b"wardgate held")),
                sends_urls=settings.WARDGATE_PUBLIC_URL.startswith("https://"),
                spawn=self._spawn,
                carry_out=self._carry_out,
            ),
            poll_seconds=settings.WARDGATE_APPROVAL_POLL_MILLISECONDS / 1000,
        )
        self._upstream = HttpUpstream(
            connect_seconds=settings.WARDGATE_CONNECT_SECONDS,
            idle_seconds=settings.WARDGATE_UPSTREAM_IDLE_SECONDS,
            limit=settings.WARDGATE_UPSTREAM_CONNECTIONS,
            stream_seconds=settings.WARDGATE_STREAM_SECONDS,
        )
        self._resumes = Resumes(self._recorder, seconds=settings.WARDGATE_RESUME_SECONDS)
        await self._instances.register()
        await self._journal.start()
        await self._instances.start()
        await self._policy.start()
        self._spawn(self._recorder.keep_flushing())
        self._spawn(self._live.keep_watch())
        self._spawn(self._held.keep_watch())
        self._spawn(self._held.keep_tidy())
        self._spawn(self._introspector.keep_watch(lambda: self._live.token_digests))
        self._checkpointer = Checkpointer(
            Due(
                settings.WARDGATE_CHECKPOINT_EVENTS,
                settings.WARDGATE_CHECKPOINT_SECONDS,
                settings.WARDGATE_CHECKPOINT_IDLE_SECONDS,
            ),
            key_days=settings.WARDGATE_CHECKPOINT_KEY_DAYS,
            clock=timezone.now,
        )
        self._shipper = Shipper(clock=timezone.now)
        self._checkpointer.start()
        self._shipper.start()
        self._app = self._build()
        _running.append(self)
        settle_garbage_collection()

    async def stop(self) -> None:
        """Settle what is open, write what is queued, end the chain."""
        self._app = None
        if self in _running:
            _running.remove(self)
        self._resumes.close()
        self._recorder.flush_refusals()
        await self._policy.stop()
        await self._instances.stop()
        await self._keys.aclose()
        for task in list(self._tasks):
            task.cancel()
        await self._journal.stop()
        await self._instances.end()
        # After the last event, so that a checkpoint covers it, and after the checkpoint, so that it is shipped.
        await asyncio.to_thread(self._checkpointer.stop)
        await asyncio.to_thread(self._shipper.stop)
        self._upstream.close()
        self._store.close()
        self._policy_store.close()
        self._introspection_store.close()

    def numbers(self) -> dict[str, float]:
        """Return what a monitoring system wants to know of this process, by the names of its metrics."""
        kept = self._journal.statistics
        return {
            "wardgate_ready": float(self.is_ready),
            "wardgate_record_up": float(self._recorder.is_up),
            "wardgate_record_waiting_events": float(self._journal.waiting),
            "wardgate_record_queue_bound_events": float(settings.WARDGATE_RECORD_QUEUE_EVENTS),
            "wardgate_record_events_total": float(kept.events),
            "wardgate_record_batches_total": float(kept.batches),
            "wardgate_record_refused_total": float(kept.refused),
            "wardgate_record_reconnects_total": float(kept.reconnects),
            "wardgate_calls_live": float(len(self._live)),
            "wardgate_calls_held": float(len(self._held)),
            "wardgate_policy_version": float(self._policy.latest.version),
        }

    @property
    def is_ready(self) -> bool:
        """Whether a call could pass right now: the record can be written and the policy is current."""
        return self._app is not None and self._recorder.is_up and self._policy.current is not None

    def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        return _unavailable(send) if self._app is None else self._app(scope, receive, send)

    async def _carry_out(self, call: Call, verdict: Allow | Deny, reply: ReplyPort) -> None:
        await exchange.carry_out(call, verdict, self._ports, reply)

    def _build(self) -> GatewayApp:
        ports = self._ports = Ports(
            recorder=self._recorder,
            upstream=self._upstream,
            approvals=self._held,
            catalogue=StoredCatalogue(self._store),
            history=StoredHistory(
                self._store,
                HistoryBounds(
                    seconds=settings.WARDGATE_HISTORY_SECONDS,
                    calls=settings.WARDGATE_HISTORY_CALLS,
                    wait_seconds=settings.WARDGATE_HISTORY_WAIT_MILLISECONDS / 1000,
                    key=derived_keys(settings.WARDGATE_MASTER_KEYS, b"wardgate activity")[0],
                ),
            ),
            resumes=self._resumes,
            limits=Limits(
                message_bytes=settings.WARDGATE_MESSAGE_BYTES,
                stream_bytes=settings.WARDGATE_STREAM_BYTES,
                stream_seconds=settings.WARDGATE_STREAM_SECONDS,
                keepalive_seconds=settings.WARDGATE_KEEPALIVE_SECONDS,
            ),
            spawn=self._spawn,
            probe=self._probe,
        )
        self._keys = KeySource(
            self._fetch,
            time.monotonic,
            fresh_seconds=settings.WARDGATE_JWKS_FRESH_SECONDS,
            outage_seconds=settings.WARDGATE_JWKS_OUTAGE_SECONDS,
            retry_seconds=settings.WARDGATE_JWKS_RETRY_SECONDS,
        )
        return GatewayApp(
            site=Site(
                settings.WARDGATE_PUBLIC_URL,
                frozenset(host.lower() for host in settings.ALLOWED_HOSTS),
                frozenset(settings.WARDGATE_ALLOWED_ORIGINS),
                TrustedProxies.parse(settings.WARDGATE_TRUSTED_PROXIES, settings.WARDGATE_PROXY_HOPS),
            ),
            bounds=Bounds(
                body_bytes=settings.WARDGATE_BODY_BYTES,
                body_seconds=settings.WARDGATE_BODY_SECONDS,
                header_bytes=settings.WARDGATE_HEADER_BYTES,
                header_count=settings.WARDGATE_HEADER_COUNT,
                batch_elements=settings.WARDGATE_BATCH_ELEMENTS,
                write_stall_seconds=settings.WARDGATE_WRITE_STALL_SECONDS,
            ),
            policy=self._policy,
            authenticator=Authenticator(
                self._keys,
                cache_seconds=settings.WARDGATE_IDENTITY_CACHE_SECONDS,
                token_bytes=settings.WARDGATE_TOKEN_BYTES,
                introspector=self._introspector,
                failures=self._limits,
            ),
            store=self._store,
            seal=SessionSeal(session_keys(settings.WARDGATE_MASTER_KEYS)),
            groups=SessionGroups(idle_seconds=settings.WARDGATE_SESSION_IDLE_SECONDS),
            ports=ports,
            live=self._live,
            limits=self._limits,
            recorder=self._recorder,
        )

    async def _fetch(self, url: str, allowed_networks: tuple[str, ...]) -> bytes:
        return await self._upstream.fetch(
            url,
            allowed_networks,
            limit=settings.WARDGATE_JWKS_BYTES,
            seconds=settings.WARDGATE_JWKS_FETCH_SECONDS,
        )

    def _request_moved(self, request_id: str) -> None:
        """A request for approval has moved: tell the calls that wait for it, and the pages that show it."""
        self._held.ring(request_id)
        self._on_request(request_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("background work failed: %s", type(task.exception()).__name__)


_running: list[DataPath] = []


def current() -> DataPath | None:
    """Return the data path of this process, None where there is none, as in a worker."""
    return _running[-1] if _running else None


def settle_garbage_collection() -> None:
    """Take what the start has built out of the collector's sight, and let it look less often.

    A call makes few cycles, while a full collection walks every model, form and template of the console: with the
    default thresholds that costs each call some percent of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def connection_string() -> str:
    """Return libpq's connection string for Django's default database."""
    known = {"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey"}
    params = {name: value for name, value in connection.get_connection_params().items() if name in known}
    return psycopg.conninfo.make_conninfo(**params, application_name="wardgate-record")


def session_keys(master_keys: str) -> list[bytes]:
    """Return the keys that seal session ids, derived from the master keys; the first one seals."""
    return derived_keys(master_keys, b"wardgate mcp-session")


def derived_keys(master_keys: str, purpose: bytes) -> list[bytes]:
    """Return a key for `purpose` from each master key (HKDF, RFC 5869), in their order."""
    parts = [entry.partition(":")[2] for entry in master_keys.split(",") if entry.strip()]
    return [HKDF(hashes.SHA256(), 32, salt=None, info=purpose).derive(b64decode(part)) for part in parts]


async def _unavailable(send: Send) -> None:
    body = orjson.dumps({"error": "not_ready"})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"retry-after", b"5")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
