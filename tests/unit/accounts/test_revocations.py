from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.revocations import (
    LATE_SECONDS,
    NOTHING_REVOKED,
    LockRow,
    RevokedRow,
    compile_revocations,
)
from accounts.tokens import Identity

NOW = 1_000_000.0
ISSUER = "https://idp.example"
GATEWAY = "https://gateway.example"
ORDERS = UUID(int=7)
DIGEST = bytes(range(32))

ALICE = Identity(
    issuer=ISSUER,
    subject="alice",
    groups=frozenset({"sre"}),
    expires_at=int(NOW) + 300,
    display_name="Alice",
    email="",
    client_id="claude",
    token_digest=DIGEST,
    provider_id="p1",
    token_id="t-1",
    audiences=frozenset(),
    issued_at=int(NOW) - 10,
    session_id="s-1",
    actors=("broker", "robot"),
)


def lock(kind: str, *, ends_at: float | None = None, id: str = "l1", **target: str) -> LockRow:
    empty = dict.fromkeys(("issuer", "subject", "group", "connection_id", "token", "agent"), "")
    return LockRow(id=id, kind=kind, ends_at=ends_at, **{**empty, **target})


def revoked(
    kind: str, value: str, *, issuer: str = ISSUER, issued_until: float | None = None, expires_at: float = NOW + 60
) -> RevokedRow:
    return RevokedRow(kind, issuer, value, issued_until, expires_at)


LOCKS_ON_ALICE = [
    lock("principal", issuer=ISSUER, subject="alice"),
    lock("group", issuer=ISSUER, group="sre"),
    lock("provider", issuer=ISSUER),
    lock("agent", agent="claude"),
    lock("agent", agent="robot"),
]
LOCKS_ON_HER_TOKEN = [
    lock("token", token=DIGEST.hex()),
    lock("token", token=DIGEST.hex().upper()),
    lock("token", issuer=ISSUER, token="t-1"),
]
REVOCATIONS_OF_HER_TOKEN = [
    revoked("digest", DIGEST.hex(), issuer=""),
    revoked("token_id", "t-1"),
    revoked("session", "s-1"),
    revoked("subject", "alice", issued_until=NOW),
    revoked("subject", "alice", issued_until=NOW - 10),
    revoked("subject", "alice"),
]
ABOUT_OTHERS: list[LockRow | RevokedRow] = [
    lock("principal", issuer="https://other.example", subject="alice"),
    lock("principal", issuer=ISSUER, subject="bob"),
    lock("group", issuer="https://other.example", group="sre"),
    lock("group", issuer=ISSUER, group="support"),
    lock("provider", issuer="https://other.example"),
    lock("token", token="00" * 32),
    lock("token", issuer="https://other.example", token="t-1"),
    lock("agent", agent="alice"),
    lock("agent", agent="codex"),
    revoked("digest", "00" * 32, issuer=""),
    revoked("token_id", "t-1", issuer="https://other.example"),
    revoked("token_id", "t-2"),
    revoked("session", "s-1", issuer="https://other.example"),
    revoked("session", "t-1"),
    revoked("subject", "alice", issued_until=NOW - 11),
    revoked("subject", "alice", issuer="https://other.example"),
    revoked("sessionless", "alice", issued_until=NOW),
]


def stopped(*rows: LockRow | RevokedRow, identity: Identity = ALICE, now: float = NOW, **rest: Any) -> Any:
    compiled = compile_revocations(
        1, [row for row in rows if isinstance(row, LockRow)], [row for row in rows if isinstance(row, RevokedRow)]
    )
    return compiled.refusal(identity, rest.pop("connection", ORDERS), now, **rest)


def test_without_locks_nobody_is_stopped() -> None:
    assert NOTHING_REVOKED.refusal(ALICE, ORDERS, NOW) is None
    assert not compile_revocations(1, [], []).stops_callers


@pytest.mark.parametrize("row", LOCKS_ON_ALICE, ids=lambda row: f"{row.kind} {row.agent}")
def test_a_lock_stops_whom_it_names_until_it_ends(row: LockRow) -> None:
    found = stopped(row)
    assert (found.code, found.lock_id) == ("locked", "l1")
    assert stopped(row._replace(ends_at=NOW + 1)).code == "locked"
    assert stopped(row._replace(ends_at=NOW)) is None


@pytest.mark.parametrize("row", LOCKS_ON_HER_TOKEN)
def test_a_lock_on_a_token_reads_as_a_revocation(row: LockRow) -> None:
    assert stopped(row).code == "token_revoked"


@pytest.mark.parametrize("row", REVOCATIONS_OF_HER_TOKEN)
def test_a_revoked_token_is_refused_until_it_cannot_verify_any_more(row: RevokedRow) -> None:
    assert stopped(row).code == "token_revoked"
    assert stopped(row, now=row.expires_at + LATE_SECONDS - 1).code == "token_revoked"
    assert stopped(row, now=row.expires_at + LATE_SECONDS) is None


@pytest.mark.parametrize("row", ABOUT_OTHERS)
def test_what_is_about_somebody_else_stops_nobody(row: LockRow | RevokedRow) -> None:
    assert stopped(row) is None


def test_a_token_without_a_session_ends_with_any_session_of_its_subject() -> None:
    row = revoked("sessionless", "alice", issued_until=NOW)
    assert stopped(row, identity=replace(ALICE, session_id="")).code == "token_revoked"


def test_a_caller_of_unknown_groups_is_stopped_by_a_lock_on_any_group_of_the_issuer() -> None:
    unknown = replace(ALICE, groups=None)
    assert stopped(lock("group", issuer=ISSUER, group="anything"), identity=unknown).code == "locked"
    assert stopped(lock("group", issuer="https://other.example", group="sre"), identity=unknown) is None
    assert stopped(lock("group", issuer=ISSUER, group="anything", ends_at=NOW - 1), identity=unknown) is None


def test_a_token_of_the_gateway_is_stopped_under_its_own_issuer_and_under_the_original_one() -> None:
    given_out = revoked("token_id", "t-1", issuer=GATEWAY)
    assert stopped(given_out) is None
    assert stopped(given_out, signed_by=GATEWAY).code == "token_revoked"
    for row in (revoked("session", "s-1"), revoked("subject", "alice"), *LOCKS_ON_ALICE):
        assert stopped(row, signed_by=GATEWAY) is not None


def test_a_locked_connection_stops_everybody_there_and_nobody_elsewhere() -> None:
    row = lock("connection", connection_id=str(ORDERS))
    assert stopped(row).code == "connection_locked"
    assert stopped(row, connection=UUID(int=8)) is None
    assert stopped(row, connection=None) is None
    assert stopped(row._replace(ends_at=NOW)) is None


def test_a_callers_own_stop_is_told_before_that_of_the_connection() -> None:
    assert stopped(lock("connection", connection_id=str(ORDERS)), LOCKS_ON_ALICE[0]).code == "locked"


@pytest.mark.parametrize("kind", ["", "planet"])
def test_a_row_that_is_not_understood_leaves_no_value_to_work_with(kind: str) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        compile_revocations(1, [lock(kind)], [])
    with pytest.raises(ValueError, match="unknown kind"):
        compile_revocations(1, [], [revoked(kind, "x")])


@given(st.lists(st.none() | st.floats(NOW - 5, NOW + 5), min_size=1), st.floats(NOW - 6, NOW + 6))
def test_of_several_locks_the_longest_counts(ends: list[float | None], now: float) -> None:
    rows = [lock("provider", issuer=ISSUER, ends_at=end) for end in ends]
    assert (stopped(*rows, now=now) is not None) == any(end is None or now < end for end in ends)


@given(st.permutations([*ABOUT_OTHERS, LOCKS_ON_ALICE[0]]))
def test_the_order_of_rows_does_not_matter(rows: list[LockRow | RevokedRow]) -> None:
    assert stopped(*rows).code == "locked"
