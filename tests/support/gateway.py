"""A real gateway process for a test: its own database, policy from a seed, tokens that it accepts.

    @pytest.fixture(scope="module")
    def gateway_seed(upstream):
        return {
            "connections": [{"slug": "orders", "upstream_url": upstream.url, "credential": BEARER}],
            "grants": [{"connection": "orders", "group": "sre", "tools": ["get_*"]}],
        }

    def test_something(live_gateway):
        httpx.post(live_gateway.url("orders"), headers=live_gateway.headers(groups=["sre"]), ...)

`live_gateway` lives as long as the module that asks for it. A test that needs one of its own, because it kills it or
starts it with other settings, asks for `start_gateway` and calls it. What a seed may say is in `tests.support.seed`.
"""

from __future__ import annotations

import copy
import json
import os
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import zstandard
from psycopg.rows import dict_row

from sessions import chain
from tests.support import seeding
from tests.support.database import fresh_database
from tests.support.idp import Issuer
from tests.support.servers import ROOT, Server, free_port, wait_until
from tests.support.upstream import ScriptedUpstream, scripted_upstream

AUDIENCE = "wardgate-tests"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISSUER = "https://idp.test.example"
UPSTREAM_SECRET = "upstream-secret-7Jq4"
BEARER = {"kind": "bearer", "secret": UPSTREAM_SECRET}
UVICORN_OPTIONS = [
    "--loop",
    "uvloop",
    "--http",
    "proxy.http_protocol:GatewayProtocol",
    "--no-access-log",
    "--timeout-graceful-shutdown",
    "3",
]
OUTCOMES = frozenset(
    f"gateway:call:{state}"
    for state in ("completed", "upstream_error", "not_sent", "aborted_by_client", "outcome_unknown")
)
"""The events of which every allowed call gets exactly one."""

Seed = Mapping[str, list[dict[str, Any]]]
Row = dict[str, Any]
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class LiveGateway:
    """One gateway process, its database and its issuer.

    Args:
        dsn: `postgres://` URL of a migrated database.
        folder: for the log.
        environment: settings that differ from the defaults, such as WARDGATE_POLICY_POLL_MILLISECONDS.
        port: where it listens; a free one when None.
        application: what uvicorn serves.
    """

    def __init__(
        self,
        *,
        dsn: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        application: str = "gateway_project.asgi:application",
    ) -> None:
        self.dsn = dsn
        self.port = port or free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.issuer = Issuer(ISSUER, audience=AUDIENCE)
        self.environment = self._environment(environment or {})
        command = [sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1"]
        command += ["--port", str(self.port), *UVICORN_OPTIONS]
        self.server = Server(
            command,
            port=self.port,
            log=folder / "gateway.log",
            environment=self.environment,
            ready_path="/readyz",
        )

    def url(self, slug: str) -> str:
        """Return the URL under which a client reaches the connection."""
        return f"{self.origin}/mcp/{slug}"

    def token(self, sub: str = "alice", groups: list[str] | None = None, **claims: Any) -> str:
        """Return an access token that the gateway accepts, unless `claims` spoil it."""
        return self.issuer.token(sub=sub, groups=["sre"] if groups is None else groups, **claims)

    def headers(self, sub: str = "alice", groups: list[str] | None = None, **claims: Any) -> dict[str, str]:
        """Return the Authorization header with such a token."""
        return {"Authorization": f"Bearer {self.token(sub, groups, **claims)}"}

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the running process."""
        assert self.server.process is not None, "the gateway was not started"
        return self.server.process

    def start(self, *, wait: bool = True) -> None:
        """Start the process; with `wait`, return once it is ready."""
        self.server.start(wait=wait)

    def stop(self) -> None:
        """End the process politely."""
        self.server.stop()

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self.server.kill()

    def restart(self) -> None:
        """Stop the process and start it again, on the same port and database."""
        self.server.restart()

    def log(self) -> str:
        """Return what the process has printed."""
        return self.server.output()

    def seed(self, document: Seed) -> None:
        """Save more rows; the running process learns of them as it does of any change of policy."""
        seeding.fill(self.environment, document)

    def sql(self, query: str, *parameters: Any) -> list[Row]:
        """Run one statement on the gateway's database and return its rows."""
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def events(self, name: str = "%") -> list[Row]:
        """Return the record in order: the rows of `gateway_sessions_event`, decoded, whose name is like `name`.

        `body` is an object, `payload` the recorded message as bytes or None.
        """
        rows = self.sql("SELECT * FROM gateway_sessions_event WHERE name LIKE %s ORDER BY id", name)
        for row in rows:
            row["body"] = json.loads(row["body"])
            row["payload"] = _unpacked(row["payload"])
        return rows

    def calls(self) -> list[dict[str, Any]]:
        """Return every call of the record in order, as `{"method", "name", "events": [names], "rows": [rows]}`."""
        calls: dict[Any, dict[str, Any]] = {}
        for row in self.events():
            if row["call_id"] is None:
                continue
            call = calls.setdefault(row["call_id"], {"method": None, "name": None, "events": [], "rows": []})
            call["method"] = call["method"] or row["body"].get("method")
            call["name"] = call["name"] or row["body"].get("name")
            call["events"].append(row["name"])
            call["rows"].append(row)
        return list(calls.values())

    def chains(self) -> dict[UUID, chain.Intact | chain.Broken]:
        """Return, for each gateway process that wrote into this database, whether its chain of events verifies."""
        stored: dict[UUID, list[chain.Stored]] = {}
        for row in self.sql("SELECT * FROM gateway_sessions_event ORDER BY instance_id, seq"):
            entry = chain.Entry(
                seq=row["seq"],
                at_us=(row["at"] - EPOCH) // timedelta(microseconds=1),
                session=row["session_id"].bytes if row["session_id"] else chain.NOTHING,
                call=row["call_id"].bytes if row["call_id"] else chain.NOTHING,
                name=row["name"],
                body=row["body"].encode(),
                payload=row["payload"],
            )
            stored.setdefault(row["instance_id"], []).append(chain.Stored(entry, row["prev_hash"], row["hash"]))
        return {instance: chain.verify(instance.bytes, events) for instance, events in stored.items()}

    def wait_for_outcomes(self, *, seconds: float = 10.0) -> list[dict[str, Any]]:
        """Return `calls()` once every intent has its outcome; an answer may reach the client a moment earlier.

        Raises:
            TimeoutError: a call stays open for `seconds`.
        """

        def are_all_closed() -> bool:
            opened = [call for call in self.calls() if "gateway:call:intent" in call["events"]]
            return all(OUTCOMES & set(call["events"]) for call in opened)

        wait_until(are_all_closed, seconds=seconds, what="an outcome for every intent")
        return self.calls()

    def _environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "gateway_project.settings.test",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.dsn,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "WARDGATE_MASTER_KEYS": f"test:{b64encode(secrets.token_bytes(32)).decode()}",
            "WARDGATE_CHANNEL_PREFIX": f"wardgate-test-{secrets.token_hex(6)}",
            "WARDGATE_PUBLIC_URL": self.origin,
            "WARDGATE_POLICY_POLL_MILLISECONDS": "100",
            # The test database runs without fsync: it survives no power cut, and no test needs it to.
            "WARDGATE_REQUIRE_DURABLE_DATABASE": "false",
            "LOG_LEVEL": "WARNING",
            **changes,
        }

    def provider_seed(self) -> dict[str, Any]:
        """Return the entry of the issuer whose tokens `token` makes."""
        return {"name": "Test", "issuer": ISSUER, "pinned_jwks": self.issuer.jwks(), "audiences": [AUDIENCE]}


StartGateway = Callable[..., LiveGateway]


@contextmanager
def gateway_running(seed: Seed, folder: Path, **options: Any) -> Iterator[LiveGateway]:
    """Run a gateway until the block ends; its issuer is added to the seed's providers.

    `options` are LiveGateway's; without a `dsn` it gets a database of its own.
    """
    with ExitStack() as stack:
        dsn = options.pop("dsn", None) or stack.enter_context(fresh_database())
        gateway = LiveGateway(dsn=dsn, folder=folder, **options)
        document = copy.deepcopy(dict(seed))
        document["providers"] = [gateway.provider_seed(), *document.get("providers", [])]
        gateway.seed(document)
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.stop()


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    """Run one upstream for the module, for its seed to lead to."""
    with scripted_upstream() as server:
        yield server


@pytest.fixture
def clean_upstream(upstream: ScriptedUpstream) -> None:
    """Let the upstream of the module have seen nothing when a test begins, and answer as it does without a script."""
    upstream.clear()


@pytest.fixture(scope="module")
def gateway_seed() -> Seed:
    """Return what `live_gateway` is seeded with; a module defines its own fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def gateway_environment() -> dict[str, str]:
    """Return the settings with which `live_gateway` differs from the defaults; a module may define its own."""
    return {}


@pytest.fixture(scope="module")
def live_gateway(
    gateway_seed: Seed, gateway_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveGateway]:
    """Run one gateway for the module, seeded with `gateway_seed`."""
    folder = tmp_path_factory.mktemp("gateway")
    with gateway_running(gateway_seed, folder, environment=gateway_environment) as gateway:
        yield gateway


@pytest.fixture
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Return a function that starts a gateway for this test alone: `start_gateway(seed, environment=..., port=...)`."""
    with ExitStack() as stack:

        def start(seed: Seed, **options: Any) -> LiveGateway:
            return stack.enter_context(gateway_running(seed, tmp_path_factory.mktemp("gateway"), **options))

        yield start


def _unpacked(payload: bytes | None) -> bytes | None:
    if payload is not None and payload.startswith(_ZSTD_MAGIC):
        return zstandard.ZstdDecompressor().decompress(payload)
    return payload
