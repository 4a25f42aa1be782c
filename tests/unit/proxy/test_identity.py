"""The authenticator: what is remembered of a token, for how long, and what makes it look again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from accounts.directory_groups import Directory
from accounts.introspection import Introspector
from accounts.jwks import KeySource
from accounts.revocations import LockRow, Revocations, RevokedRow, compile_revocations
from accounts.tokens import Identity, Provider
from proxy.identity import Authenticator, DirectoryGroups, Locked, Unauthenticated, with_directory
from proxy.limits import TooMany
from tests.support.idp import Issuer, encoded, signed

RESOURCE = "https://gateway.example/mcp/orders"
ADDRESS = "192.0.2.1"


@dataclass
class World:
    """A snapshot that a test changes, and an authenticator that looks at it."""

    issuer: Issuer = field(default_factory=lambda: Issuer(audience=RESOURCE))
    version: int = 1
    revocations: Revocations = field(default_factory=lambda: compile_revocations(1, [], []))
    directory: Directory = field(default_factory=dict)
    is_blocked: bool = False
    failed: list[str] = field(default_factory=list)
    fetched: int = 0

    def __post_init__(self) -> None:
        self.providers: dict[str, Provider] = {}
        self.accept()
        self.authenticator = Authenticator(
            KeySource(self._fetch, time.monotonic),
            cache_seconds=30,
            token_bytes=16_384,
            introspector=Introspector(self._introspect, every_seconds=60, outage_seconds=300),
            failures=self,
        )

    def accept(self, **changes: Any) -> None:
        """Accept the issuer's tokens; the policy version moves."""
        pinned = self.issuer.jwks()
        self.providers = {self.issuer.issuer: self.issuer.provider(pinned_jwks=pinned, **changes)}
        self.version += 1

    def lock(self, *locks: LockRow, revoked: tuple[RevokedRow, ...] = ()) -> None:
        """Put these in force; the version of locks moves."""
        self.revocations = compile_revocations(self.revocations.version + 1, locks, revoked)

    def signer(self, identity: Identity) -> str:
        return identity.issuer

    def check_failures(self, address: str) -> None:
        if self.is_blocked:
            raise TooMany("too_many_failures", 1)

    def fail(self, address: str, code: str) -> None:
        self.failed.append(code)

    async def who(self, token: str, resource: str = RESOURCE) -> Identity:
        headers = {b"authorization": b"Bearer " + token.encode()} if token else {}
        return await self.authenticator.authenticate(headers, resource, self, ADDRESS)

    async def refusal(self, token: str, resource: str = RESOURCE) -> str:
        """Return the code with which `token` is refused, empty when it is not."""
        try:
            await self.who(token, resource)
        except Unauthenticated as error:
            return error.code
        except Locked as error:
            return error.stopped.code
        except TooMany as error:
            return error.code
        return ""

    async def _fetch(self, url: str, networks: tuple[str, ...]) -> bytes:
        raise AssertionError("the keys are pinned")

    async def _introspect(self, identity: Identity, raw: bytes) -> Any:
        raise AssertionError("the provider does not ask for it")


def locked(subject: str = "alice", *, ends_at: float | None = None, issuer: str = "https://idp.example") -> LockRow:
    return LockRow("l1", "principal", issuer, subject, "", "", "", "", ends_at)


async def test_a_remembered_token_is_bound_to_the_policy_version() -> None:
    world = World()
    token = world.issuer.token()
    assert await world.who(token) is await world.who(token)
    world.accept(algorithms=frozenset({"ES256"}))
    assert await world.refusal(token) == "token_algorithm"


async def test_a_provider_that_is_gone_takes_its_remembered_tokens_along() -> None:
    world = World()
    token = world.issuer.token()
    await world.who(token)
    world.providers, world.version = {}, world.version + 1
    assert await world.refusal(token) == "token_issuer"


async def test_a_remembered_token_is_stopped_by_the_next_version_of_locks() -> None:
    world = World()
    token = world.issuer.token()
    await world.who(token)
    world.lock(locked())
    assert await world.refusal(token) == "locked"
    assert await world.refusal(token) == "locked"
    world.lock(locked("bob"))
    assert await world.refusal(token) == ""


async def test_a_lock_that_ends_by_itself_lets_the_remembered_token_pass() -> None:
    world = World()
    token = world.issuer.token()
    world.lock(locked(ends_at=time.time() + 60))
    assert await world.refusal(token) == "locked"
    world.lock(locked(ends_at=time.time() - 1))
    assert await world.refusal(token) == ""


async def test_a_revoked_token_reads_as_an_invalid_one() -> None:
    world = World()
    token = world.issuer.token(jti="t-1")
    await world.who(token)
    world.lock(revoked=(RevokedRow("token_id", world.issuer.issuer, "t-1", None, time.time() + 60),))
    with pytest.raises(Unauthenticated) as caught:
        await world.who(token)
    assert caught.value.code == "token_revoked"
    assert caught.value.identity is not None


async def test_a_token_for_one_connection_is_not_remembered_for_another() -> None:
    world = World()
    token = world.issuer.token()
    assert await world.refusal(token) == ""
    assert await world.refusal(token, RESOURCE + "-other") == "token_audience"


async def test_groups_of_the_directory_follow_it_while_the_token_is_remembered() -> None:
    world = World()
    world.accept(uses_directory=True, missing_groups_are_unknown=True)
    token = world.issuer.token(**{"_claim_names": {"groups": "x"}})
    key = (world.issuer.issuer, "alice")
    assert (await world.who(token)).groups is None
    world.directory = {key: frozenset({"sre"})}
    world.lock()
    assert (await world.who(token)).groups == {"sre"}
    world.directory = {key: frozenset()}
    world.lock()
    assert (await world.who(token)).groups == frozenset()
    told = replace(await world.who(world.issuer.token()), groups=frozenset({"own"}))
    assert with_directory(told, world) is told
    assert isinstance(with_directory(replace(told, groups=None), world).groups, DirectoryGroups)


async def test_ten_thousand_tokens_that_begin_alike_are_ten_thousand_callers() -> None:
    world = World()
    key = world.issuer.signing["ES256"]
    header = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    claims = {"padding": "x" * 200, **world.issuer.claims()}
    tokens = [signed(header, {**claims, "sub": f"user-{number}"}, key, "ES256") for number in range(10_000)]
    assert len({token[:200] for token in tokens}) == 1
    for _ in range(2):
        turn = iter(range(10_000))

        async def run(turn: Any = turn) -> None:
            for number in turn:
                assert (await world.who(tokens[number])).subject == f"user-{number}"

        await asyncio.gather(*(run() for _ in range(64)))


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.identity._CACHE_ENTRIES", 10)
    world = World()
    for number in range(30):
        await world.who(world.issuer.token(sub=f"user-{number}", algorithm="ES256"))
    assert len(world.authenticator._cache) == 10


class TestFailures:
    @pytest.mark.parametrize(
        ("token", "code"),
        [
            ("", "token_missing"),
            ("x y", "token_malformed"),
            ("x.y.z", "token_malformed"),
            ("a" * 20_000, "token_too_long"),
        ],
    )
    async def test_are_noted_and_not_looked_at_once_there_are_too_many(self, token: str, code: str) -> None:
        world = World()
        assert await world.refusal(token) == code
        assert world.failed == [code]
        world.is_blocked = True
        assert await world.refusal(token) == "too_many_failures"
        assert world.failed == [code]

    async def test_of_others_do_not_stop_a_token_that_was_verified_before(self) -> None:
        world = World()
        known, new = world.issuer.token(), world.issuer.token(sub="new")
        await world.who(known)
        world.is_blocked = True
        assert await world.refusal(known) == ""
        world.version += 1
        assert await world.refusal(known) == ""
        assert await world.refusal(new) == "too_many_failures"

    async def test_are_not_the_callers_when_the_issuer_is_away(self) -> None:
        world = World()
        world.providers = {world.issuer.issuer: world.issuer.provider(jwks_url="https://idp.example/jwks")}
        world.version += 1
        assert await world.refusal(world.issuer.token()) == "keys_unavailable"
        assert world.failed == []

    async def test_count_a_forged_signature_as_one(self) -> None:
        world = World()
        head, body, _ = world.issuer.token().split(".")
        assert await world.refusal(f"{head}.{body}.{encoded(b'x' * 256).decode()}") == "token_signature"
        assert world.failed == ["token_signature"]
