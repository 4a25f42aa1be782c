"""The only door to the models: the policy snapshot, and the rows of sessions and gateway processes.

ORM calls run in a small pool of threads of their own, never in the event loop and never in Django's single
thread for synchronous code. Nothing here is on the path of a call that belongs to an open session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction

from accounts import addresses, tokens
from accounts import services as account_services
from accounts.directory_groups import Directory
from accounts.in_force import directory_now, revocations_in_force
from accounts.introspection import Standing
from accounts.issuing import signing_provider
from accounts.models import IdentityProvider, SigningKey
from accounts.revocations import NOTHING_REVOKED, Revocations
from accounts.values import provider_value
from connections import vault
from connections.models import Connection, Credential
from connections.services import credential_aad
from policies.engine.compile import compile_connection
from policies.engine.exceptions import PatternRefused
from policies.engine.rules import ConnectionPolicy, Rule
from policies.rows import PolicyRows, connection_facts, policy_rows
from proxy.ports import Route
from sessions import services as session_services
from sessions.selectors import stopped_sessions
from sessions.services import Opening

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 4
_BETWEEN_LOADS_SECONDS = 0.02
_VERSIONS = """
SELECT coalesce((SELECT version FROM policies_policystate), 0),
       coalesce((SELECT version FROM accounts_revocationstate), 0)
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All policy at one version; immutable, so that one call sees one policy from its begin to its end.

    `providers` are by issuer; the gateway itself, as the issuer of tokens for calls, is one of them (`own_issuer`).
    `revocations` and `directory` (groups of provisioned users, by issuer and subject) have a version of their own:
    a lock must not make every process compile all policy again. `stopped_sessions` are the ids of sessions that a
    person has ended; they move with the revocations.
    """

    version: int
    routes: Mapping[str, Route] = field(default_factory=dict)
    providers: Mapping[str, tokens.Provider] = field(default_factory=dict)
    revocations: Revocations = NOTHING_REVOKED
    directory: Directory = field(default_factory=dict)
    stopped_sessions: frozenset[bytes] = frozenset()
    own_issuer: str = ""

    def signer(self, identity: tokens.Identity) -> str:
        """Return who signed the identity's token: the gateway signs those that are narrowed."""
        return identity.issuer if identity.narrowing is None else self.own_issuer


class Store:
    """Runs ORM work in threads; each thread keeps its own database connection."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="wardgate-store")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `work(...)`, done in a thread with a healthy database connection.

        Raises:
            DatabaseError: the database cannot be used, besides whatever `work` raises.
        """

        def in_thread() -> T:
            close_old_connections()
            try:
                return work(*args, **kwargs)
            except DatabaseError:
                connection.close()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._threads, in_thread)

    async def open_session(self, session_id: bytes, opening: Opening) -> None:
        """Create the rows of a session that begins now."""
        await self.run(
            session_services.session_open, session_id=UUID(bytes=session_id), opening=opening, now=datetime.now(UTC)
        )

    async def end_session(self, session_id: bytes, reason: str) -> None:
        """Mark a session as ended."""
        await self.run(
            session_services.session_end, session_id=UUID(bytes=session_id), reason=reason, now=datetime.now(UTC)
        )

    async def introspect(self, identity: tokens.Identity, raw: bytes) -> Standing:
        """Return what the token's issuer says of it."""
        try:
            return await self.run(
                account_services.token_introspect,
                provider_id=UUID(identity.provider_id),
                raw=raw,
                expires_at=identity.expires_at,
                now=datetime.now(UTC),
            )
        except DatabaseError:
            return Standing.UNAVAILABLE

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PolicySource:
    """Keeps the current snapshot: reloaded when the bell rings, and looked after by polling.

    Versions that cannot be read for `stale_seconds` leave no usable policy: then nothing is allowed. The bell and the
    poll both come from the database, so no other service has to be there for a lock to be heard.

    Args:
        store: whose threads load; one of its own, so that nothing else makes a lock wait.
        on_change: called with each new snapshot, in the event loop.
    """

    def __init__(
        self,
        store: Store,
        *,
        poll_seconds: float,
        stale_seconds: float,
        on_change: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:
        self._store, self._poll_seconds, self._stale_seconds = store, poll_seconds, stale_seconds
        self._on_change = on_change
        self._snapshot = Snapshot(version=0)
        self._checked_at = float("-inf")
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def latest(self) -> Snapshot:
        """The newest snapshot that could be read, however old; good for saying no in the right words only."""
        return self._snapshot

    @property
    def current(self) -> Snapshot | None:
        """The snapshot in force; None when it can no longer be trusted to be the current one."""
        if time.monotonic() - self._checked_at > self._stale_seconds:
            return None
        return self._snapshot

    def ring(self) -> None:
        """Look at the version now."""
        self._bell.set()

    async def start(self) -> None:
        """Load the first snapshot and keep it current.

        Raises:
            DatabaseError: it cannot be read.
        """
        await self.refresh()
        self._task = asyncio.create_task(self._keep_current())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        """Load what differs from the current snapshot."""
        asked_at = time.monotonic()
        snapshot = await self._store.run(load_if_moved, self._snapshot)
        self._checked_at = asked_at
        if snapshot is not None:
            self._snapshot = snapshot
            self._on_change(snapshot)
            # Many changes in a row share the next load.
            await asyncio.sleep(_BETWEEN_LOADS_SECONDS)

    async def _keep_current(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._bell.wait(), self._poll_seconds)
            except TimeoutError:
                pass
            self._bell.clear()
            try:
                await self.refresh()
            except DatabaseError:
                logger.warning("the versions of policy and locks cannot be read")
            except Exception:
                # Anything else is a defect; the snapshot goes stale and the gateway denies, which is the safe end.
                logger.exception("the policy cannot be loaded")


def load_if_moved(known: Snapshot) -> Snapshot | None:
    """Return the current snapshot; None when nothing has moved since `known`.

    One query looks at both versions. One repeatable-read transaction reads everything that moved, so that no two tables
    are of different versions.
    """
    if _versions() == (known.version, known.revocations.version):
        return None
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        version, _ = _versions()
        # Locks name rows that belong to policy, such as groups, so they are read again when either has moved.
        snapshot = known if version == known.version else _policy(version)
        return replace(
            snapshot,
            revocations=revocations_in_force(now=datetime.now(UTC)),
            directory=directory_now(),
            stopped_sessions=stopped_sessions(),
        )


def _versions() -> tuple[int, int]:
    """Return the version of policy, and that of locks and revocations."""
    with connection.cursor() as cursor:
        cursor.execute(_VERSIONS)
        policy, revocations = cursor.fetchone()
    return policy, revocations


def _policy(version: int) -> Snapshot:
    rows = policy_rows()
    compiled: dict[int, Rule] = {}
    records_history = rows.needs_history()
    routes = {
        row.slug: _route(row, version, rows, compiled, records_history=records_history)
        for row in Connection.objects.filter(is_active=True).select_related("credential")
    }
    providers = {row.issuer: provider_value(row) for row in IdentityProvider.objects.filter(is_active=True)}
    own = settings.WARDGATE_PUBLIC_URL
    providers[own] = signing_provider(SigningKey.objects.all(), now=datetime.now(UTC), public_url=own)
    return Snapshot(version, routes, providers, own_issuer=own)


def _route(
    row: Connection, version: int, rows: PolicyRows, compiled: dict[int, Rule], *, records_history: bool
) -> Route:
    """Return the compiled route; what cannot be compiled or opened makes a route that refuses everything."""
    refusal: str | None = None
    upstream: addresses.Upstream | None = None
    policy: ConnectionPolicy | None = None
    header: tuple[bytes, vault.Secret] | None = None
    credential: Credential | None = getattr(row, "credential", None)
    try:
        upstream = addresses.parse_upstream_url(row.upstream_url)
        addresses.parse_networks(row.allowed_networks)
        literals: list[tuple[str, bytes]] = []
        if credential is not None:
            secret = _open(credential)
            header = vault.header_for(credential.kind, credential.header_name, secret)
            literals = _literals(credential, secret)
        policy = compile_connection(
            str(row.pk),
            grants=rows.grants,
            guardrails=rows.guardrails,
            patterns=rows.patterns,
            literals=literals,
            connection=connection_facts(row),
            tools=rows.tools.get(str(row.pk)),
            compiled=compiled,
        )
    except (addresses.UrlRefused, addresses.NetworkRefused):
        refusal = "upstream_not_usable"
    except (vault.VaultSealed, vault.CannotOpen, vault.CredentialRefused):
        refusal = "credential_not_usable"
    except PatternRefused as error:
        refusal = "policy_not_usable"
        logger.error("a rule or pattern of connection %s cannot be compiled: %s", row.slug, error.place)
    if refusal is not None:
        policy = _doors_only(row, rows)
        logger.error("connection %s refuses every call: %s", row.slug, refusal)
    switches = {
        "sampling": row.allows_sampling,
        "elicitation": row.allows_elicitation,
        "roots": row.allows_roots,
    }
    return Route(
        connection_id=row.pk,
        connection_key=str(row.pk),
        slug=row.slug,
        name=row.name,
        resource=f"{settings.WARDGATE_PUBLIC_URL}/mcp/{row.slug}",
        upstream=upstream,
        allowed_networks=tuple(row.allowed_networks),
        timeout_seconds=row.timeout_seconds,
        forbidden_capabilities=frozenset(name for name, is_on in switches.items() if not is_on),
        policy=policy,
        credential=header,
        credential_version=credential.version if credential is not None else 0,
        policy_version=version,
        refusal=refusal,
        records_history=records_history,
        taints=tuple(row.taints),
        tool_taints=rows.taints.get(str(row.pk), {}),
        pins_tools=row.pins_tools,
        catalogue=rows.catalogue.get(str(row.pk), {}) if row.pins_tools else {},
    )


def _doors_only(row: Connection, rows: PolicyRows) -> ConnectionPolicy | None:
    """Return who may know of a connection that refuses every call; None, and then nobody, when that is unclear, too."""
    try:
        return compile_connection(
            str(row.pk), grants=rows.grants, guardrails=[], patterns=[], connection=connection_facts(row)
        )
    except PatternRefused:
        return None


def _open(credential: Credential) -> vault.Secret:
    ring = vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    sealed = vault.Sealed(credential.key_id, bytes(credential.wrapped_key), bytes(credential.ciphertext))
    return vault.open_sealed(ring, sealed, aad=credential_aad(credential))


def _literals(credential: Credential, secret: vault.Secret) -> list[tuple[str, bytes]]:
    """Return what must never come back in an answer: the secret, and the form in which it is sent."""
    plain = secret.reveal()
    if credential.kind != Credential.Kind.BASIC:
        return [("credential", plain)]
    _, _, password = plain.partition(b":")
    return [("credential", plain), ("credential", password), ("credential", b64encode(plain))]
