"""Tokens as an attacker, a careless vendor or a confused client would send them: threats A1 and A6 to A10."""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from accounts import services, verifying
from accounts.directory_groups import groups_of
from accounts.jwks import KeySource
from accounts.keys import decode_segment, key_set, load_object, twin_signature
from accounts.revocations import Revocations, RevokedRow, compile_revocations
from accounts.tokens import Identity, Rejected, peek, verify
from policies.engine.globs import Globs
from policies.engine.masking import Masker
from policies.engine.rules import Call, ConnectionPolicy, Grant, Rule, decide
from policies.engine.verdicts import Deny, Effect
from proxy.identity import Authenticator, Unauthenticated
from tests.support.idp import ABSENT, Issuer, encoded, signed, signing_key
from tests.support.presets import NOW, OTHER_TENANT, RESOURCE, SIGNER, TENANT, provider, token

ATTACKER = signing_key("RS256", "attacker")


@contextmanager
def no_network(monkeypatch: pytest.MonkeyPatch):
    """Count what is asked of any other machine, and let none of it happen."""
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        asked.append(arguments)
        raise OSError("the network is not asked")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", refuse)
        patched.setattr(socket, "create_connection", refuse)
        yield asked


def judged(key: str, raw: bytes, **changes: Any) -> Identity | Rejected:
    return verify(raw, provider=provider(key, **changes), keys=SIGNER.keys(), now=NOW, audience=RESOURCE)


def code(key: str, raw: bytes, **changes: Any) -> str:
    verdict = judged(key, raw, **changes)
    return verdict.code if isinstance(verdict, Rejected) else "accepted"


@pytest.mark.django_db
def test_no_key_that_a_token_brings_or_names_is_ever_fetched_or_used():
    """A1. The honeypot would be asked by any verifier that follows a header."""
    issuer, honeypot = Issuer(), Issuer(name="attacker")
    with issuer.serving() as url, honeypot.serving() as bait:
        row = services.provider_save(
            name="Local", issuer=url, allowed_networks=["127.0.0.0/8"], now=datetime(2026, 3, 1, tzinfo=UTC)
        )
        jwk = ATTACKER.as_dict(private=False)
        baits: list[dict[str, Any]] = [
            {"jku": f"{bait}/jwks"},
            {"x5u": f"{bait}/cert.pem"},
            {"jwk": jwk},
            {"x5c": ["MIIB"]},
            {"kid": f"{bait}/jwks"},
            {"kid": f"../../{bait}"},
            {"kid": "' OR 1=1 --"},
            {"jku": f"{bait}/jwks", "kid": "RS256-attacker"},
            {"jku": f"{url}@{bait.removeprefix('http://')}/jwks"},
            {"crit": ["jku"], "jku": f"{bait}/jwks"},
            {"x5t#S256": "AAAA", "x5u": bait},
            {"iss": bait, "jwk": jwk},
        ]
        for member in baits:
            header = {"alg": "RS256", "typ": "at+jwt", "kid": "RS256-1", **member}
            raw = signed(header, issuer.claims(aud=RESOURCE), ATTACKER, "RS256").encode()
            verdict = verifying.verified(raw, audience=RESOURCE, now=time.time())
            assert isinstance(verdict, Rejected), member
        elsewhere = signed({"alg": "RS256"}, issuer.claims(iss=bait, aud=RESOURCE), ATTACKER, "RS256").encode()
        assert isinstance(verifying.verified(elsewhere, audience=RESOURCE, now=time.time()), Rejected)
        honest = issuer.token(aud=RESOURCE).encode()
        assert isinstance(verifying.verified(honest, audience=RESOURCE, now=time.time()), Identity)
        verifying.flush_keys(str(row.pk))
    assert honeypot.requests.total() == 0
    assert issuer.requests["/jwks"] <= 2


@pytest.mark.parametrize("size", [64 * 1024, 1024 * 1024, 16 * 1024 * 1024, 50 * 1024 * 1024])
def test_a_giant_token_costs_neither_time_nor_memory(size):
    """A6. At most 2 ms of CPU and 20 MiB for each of a hundred."""
    bodies = [b"a" * size, b"." * size, b"eyJhbGciOiJSUzI1NiJ9." + b"A" * size + b".AAAA"]
    for raw in bodies:
        tracemalloc.start()
        verdict = peek(raw)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(verdict, Rejected)
        assert verdict.code == "token_too_long"
        assert most < 20 * 1024 * 1024
        began = time.process_time()
        for _ in range(100):
            peek(raw)
        assert (time.process_time() - began) / 100 < 0.002


@dataclass
class Snapshot:
    """What authentication needs of the policy."""

    providers: dict[str, Any]
    version: int = 1
    revocations: Revocations = field(default_factory=Revocations)
    directory: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def signer(self, identity: Identity) -> str:
        return identity.issuer


def test_ten_thousand_tokens_that_begin_alike_are_ten_thousand_callers():
    """A7. The cache is asked twice for each, 64 at a time, and never gives one caller another one's identity."""
    issuer = Issuer("https://idp.example", audience=RESOURCE)
    snapshot = Snapshot({issuer.issuer: issuer.provider(pinned_jwks=issuer.jwks())})
    nobody_failed = SimpleNamespace(check_failures=lambda address: None, fail=lambda address, code: None)
    source = KeySource(lambda *_: asyncio.sleep(0), time.monotonic)
    authenticator = Authenticator(
        source, cache_seconds=30, token_bytes=16_384, introspector=SimpleNamespace(), failures=nobody_failed
    )
    key = issuer.signing["ES256"]
    header = encoded({"alg": "ES256", "typ": "at+jwt", "kid": key.kid, "filling": "x" * 200})
    claims = issuer.claims()
    expected = {}
    for number in range(10_000):
        raw = signed(_decoded(header), {**claims, "sub": f"s-{number}"}, key, "ES256").encode()
        expected[raw] = f"s-{number}"
    assert len({raw[:200] for raw in expected}) == 1

    async def ask(raw: bytes) -> str:
        found = await authenticator.authenticate({b"authorization": b"Bearer " + raw}, RESOURCE, snapshot, "192.0.2.1")
        return found.subject

    async def all_of_them() -> int:
        wrong = 0
        raws = list(expected)
        for start in range(0, len(raws), 64):
            some = raws[start : start + 64]
            for found in (await asyncio.gather(*map(ask, some)), await asyncio.gather(*map(ask, some))):
                wrong += sum(subject != expected[raw] for subject, raw in zip(found, some, strict=True))
        return wrong

    assert asyncio.run(all_of_them()) == 0


def _decoded(segment: bytes) -> dict[str, Any]:
    return load_object(decode_segment(segment))


async def test_a_token_for_one_connection_is_not_remembered_for_another():
    """A7. The same bytes at another connection are judged anew, because the audience is another one."""
    issuer = Issuer("https://idp.example", audience=RESOURCE)
    snapshot = Snapshot({issuer.issuer: issuer.provider(pinned_jwks=issuer.jwks())})
    nobody_failed = SimpleNamespace(check_failures=lambda address: None, fail=lambda address, code: None)
    authenticator = Authenticator(
        KeySource(lambda *_: asyncio.sleep(0), time.monotonic),
        cache_seconds=30,
        token_bytes=16_384,
        introspector=SimpleNamespace(),
        failures=nobody_failed,
    )
    headers = {b"authorization": b"Bearer " + issuer.token().encode()}
    assert (await authenticator.authenticate(headers, RESOURCE, snapshot, "192.0.2.1")).subject == "alice"
    with pytest.raises(Unauthenticated, match="token_audience"):
        await authenticator.authenticate(headers, "https://gateway.example/mcp/billing", snapshot, "192.0.2.1")


# A8. Two tokens that share what must not make them one: (preset, one, other). None of them merges with the other.
PAIRS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("same e-mail, other object", "entra", {"email": "ceo@acme.example"}, {"oid": "o-2", "email": "ceo@acme.example"}),
    ("same user name", "entra", {"preferred_username": "ceo"}, {"oid": "o-2", "preferred_username": "ceo"}),
    ("same upn", "entra", {"upn": "ceo@acme.example"}, {"oid": "o-2", "upn": "ceo@acme.example"}),
    ("same pairwise subject", "entra", {"sub": "p"}, {"oid": "o-2", "sub": "p"}),
    ("other tenant's object of one id", "entra", {}, {"tid": OTHER_TENANT}),
    ("other tenant's issuer", "entra", {}, {"iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"}),
    ("issuer of every tenant", "entra", {}, {"iss": "https://login.microsoftonline.com/common/v2.0"}),
    ("issuer of the old version", "entra", {}, {"iss": f"https://sts.windows.net/{TENANT}/"}),
    ("no tenant at all", "entra", {}, {"tid": ABSENT}),
    ("verified e-mail", "google", {"email_verified": True}, {"sub": "105", "email_verified": True}),
    (
        "a login that was given away",
        "okta",
        {"sub": "alice@acme.example"},
        {"sub": "alice@acme.example", "uid": "00u2"},
    ),
    ("the subject in another case", "auth0", {"sub": "auth0|abc"}, {"sub": "auth0|ABC"}),
]


@pytest.mark.parametrize(("key", "one", "other"), [pair[1:] for pair in PAIRS], ids=[pair[0] for pair in PAIRS])
def test_what_two_tokens_share_never_makes_them_one_principal(key, one, other):
    first = judged(key, token(key, **one))
    second = judged(key, token(key, **other))
    assert isinstance(first, Identity)
    if isinstance(second, Identity):
        assert (first.issuer, first.subject) != (second.issuer, second.subject)
    else:
        assert second.code in {"token_tenant", "token_issuer", "token_claim_missing"}


@pytest.mark.django_db
def test_no_privilege_is_carried_over_by_an_e_mail():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    first = services.principal_seen(
        issuer="https://a.example", subject="1", email="ceo@acme.example", kind="human", address="", client="", now=now
    )
    second = services.principal_seen(
        issuer="https://b.example", subject="2", email="ceo@acme.example", kind="human", address="", client="", now=now
    )
    assert first.pk != second.pk
    third = services.principal_seen(
        issuer="https://a.example", subject="3", email="ceo@acme.example", kind="human", address="", client="", now=now
    )
    assert third.pk not in {first.pk, second.pk}


OVERAGE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://attacker.example/groups"}},
}
UNKNOWN: list[tuple[str, str, dict[str, Any]]] = [
    ("entra overage", "entra", {"groups": ABSENT, **OVERAGE}),
    ("entra overage beside old groups", "entra", {"groups": ["sre"], **OVERAGE}),
    (
        "entra overage that points inside",
        "entra",
        {**OVERAGE, "_claim_sources": {"src1": {"endpoint": "http://169.254.169.254/"}}},
    ),
    ("entra hasgroups", "entra", {"groups": ABSENT, "hasgroups": True}),
    ("entra hasgroups as a text", "entra", {"groups": ["sre"], "hasgroups": "true"}),
    ("entra names without sources", "entra", {"groups": ["sre"], "_claim_names": {}}),
    ("google", "google", {}),
    ("google cloud", "gcp", {}),
]


@pytest.mark.parametrize(("key", "claims"), [case[1:] for case in UNKNOWN], ids=[case[0] for case in UNKNOWN])
def test_unknown_groups_let_nobody_in_and_nothing_is_fetched(monkeypatch, key, claims):
    """A9. A grant or a rule to allow for a group does not count, a rule to deny for a group does."""
    with no_network(monkeypatch) as asked:
        identity = judged(key, token(key, **claims))
        assert isinstance(identity, Identity), identity
        assert identity.groups is None
        everything = Globs.compile(["*"])
        groups = [(identity.issuer, name) for name in ("sre", "group-1", "Operator")]
        of_groups = tuple(
            Grant(name, None, (issuer, name), everything, everything, everything) for issuer, name in groups
        )
        allow = Rule("a", "a", Effect.ALLOW, everything, everything, groups=frozenset(groups))
        deny = Rule("d", "d", Effect.DENY, everything, everything, groups=frozenset(groups))
        call = Call("tools/call", "tool", "get_order")
        nothing = Masker.compile([])
        by_group = ConnectionPolicy(of_groups, (allow,), nothing)
        assert isinstance(decide(by_group, identity, call, now=NOW), Deny)
        own = Grant("own", (identity.issuer, identity.subject), None, everything, everything, everything)
        assert isinstance(decide(ConnectionPolicy((own,), (deny,), nothing), identity, call, now=NOW), Deny)
        assert groups_of({}, identity) is None
    assert asked == []


# A10. Genuine tokens of the same issuer, made for something else.
OTHERS: list[tuple[str, str, dict[str, Any], str]] = [
    ("entra ID token", "entra", {"nonce": "n", "aud": "client-1"}, "token_audience"),
    ("entra ID token for the gateway's client", "entra", {"nonce": "n"}, "token_type"),
    ("entra ID token of a hybrid flow", "entra", {"c_hash": "h"}, "token_type"),
    ("entra token for Graph", "entra", {"aud": "https://graph.microsoft.com"}, "token_audience"),
    ("entra token bound to a device", "entra", {"cnf": {"kid": "x", "xms_ksl": "sw"}}, "token_bound"),
    ("okta ID token", "okta", {"aud": "client-1", "nonce": "n"}, "token_audience"),
    ("okta ID token with the API's audience", "okta", {"at_hash": "h"}, "token_type"),
    ("google login", "google", {"at_hash": "h", "nonce": "n"}, "token_type"),
    ("google token for another client", "google", {"aud": "other.apps.googleusercontent.com"}, "token_audience"),
    ("keycloak ID token", "keycloak", {"typ": "ID"}, "token_type"),
    ("keycloak refresh token", "keycloak", {"typ": "Refresh"}, "token_type"),
    ("keycloak offline token", "keycloak", {"typ": "Offline"}, "token_type"),
    ("keycloak logout token", "keycloak", {"typ": "Logout", "events": {}}, "token_type"),
    ("keycloak token for its account console", "keycloak", {"aud": "account"}, "token_audience"),
    ("auth0 ID token", "auth0", {"aud": "client-1"}, "token_audience"),
    ("github token for a registry", "github-actions", {"aud": "https://github.com/acme"}, "token_audience"),
    ("github token for PyPI", "github-actions", {"aud": "pypi"}, "token_audience"),
    (
        "kubernetes token for the API server",
        "kubernetes",
        {"aud": ["https://kubernetes.default.svc"]},
        "token_audience",
    ),
    ("gitlab token for a vault", "gitlab-ci", {"aud": "https://vault.acme.example"}, "token_audience"),
    (
        "another environment's keycloak",
        "keycloak",
        {"iss": "https://sso-test.acme.example/realms/main"},
        "token_issuer",
    ),
    ("another realm", "keycloak", {"iss": "https://sso.acme.example/realms/test"}, "token_issuer"),
    ("a security event", "entra", {"events": {"x": {}}}, "token_type"),
]


@pytest.mark.parametrize(("key", "claims", "expected"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS])
def test_a_genuine_token_for_something_else_is_not_accepted(key, claims, expected):
    assert code(key, token(key, **claims)) == expected


@pytest.mark.parametrize(
    "typ", ["id+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "application/okta-internal-at+jwt"]
)
@pytest.mark.parametrize("key", ["entra", "okta", "keycloak", "auth0"])
def test_a_token_that_calls_itself_something_else_is_not_accepted(key, typ):
    assert code(key, token(key, header_type=typ)) == "token_type"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_token_that_was_revoked_by_its_digest_does_not_come_back_in_its_other_spelling(algorithm):
    """An ECDSA signature (r, s) has a twin (r, n - s) that verifies as well, and anybody can compute it."""
    issuer = Issuer("https://idp.example", audience=RESOURCE, clock=lambda: NOW)
    keys = key_set({"keys": [signing_key(algorithm).as_dict(private=False)]}, algorithms={algorithm})
    rules: Any = {"provider": issuer.provider(algorithms=frozenset({algorithm})), "keys": keys, "now": NOW}
    raw = issuer.token(algorithm=algorithm, jti=ABSENT).encode()
    message, _, segment = raw.rpartition(b".")
    twin = message + b"." + encoded(twin_signature(algorithm, decode_segment(segment)))
    first, second = (verify(spelling, audience=RESOURCE, **rules) for spelling in (raw, twin))
    assert isinstance(first, Identity)
    assert isinstance(second, Identity)
    assert (first.token_digest, first.twin_digest) == (second.twin_digest, second.token_digest)
    revoked = RevokedRow(
        kind="digest", issuer="", value=sha256(raw).hexdigest(), issued_until=None, expires_at=NOW + 600.0
    )
    revocations = compile_revocations(1, [], [revoked])
    assert revocations.refusal(first, None, NOW) is not None
    assert revocations.refusal(second, None, NOW) is not None


def test_the_corpora_are_as_large_as_they_are_said_to_be():
    assert (len(PAIRS), len(UNKNOWN)) == (12, 8)
    assert len(OTHERS) >= 20
