"""A workload's token is exchanged at the gateway for one of minutes, and that opens one door and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.gateway import BEARER, LiveGateway
from tests.support.servers import ROOT, wait_until
from tests.support.upstream import ScriptedUpstream

from .calls import ACCEPT, rpc, tool

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
LOAD_SECONDS = 4.0
CALLERS = 3


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    connections = [{"slug": slug, "upstream_url": upstream.url, "credential": BEARER} for slug in ("orders", "wiki")]
    grants = [{"connection": slug, "group": "sre", "tools": ["*"]} for slug in ("orders", "wiki")]
    return {"connections": connections, "grants": grants}


@pytest.fixture(scope="module")
def gateway_environment() -> dict[str, str]:
    return {"WARDGATE_EXCHANGES_PER_MINUTE": "100000", "WARDGATE_ADDRESS_DOOR_REQUESTS_PER_SECOND": "0"}


def ask(gateway: LiveGateway, *, tools: str = "", slug: str = "orders", **claims: Any) -> httpx.Response:
    """Exchange a token that the issuer made for the token endpoint."""
    form = {
        "grant_type": EXCHANGE,
        "subject_token": gateway.token(**{"aud": f"{gateway.origin}/oauth/token", **claims}),
        "subject_token_type": ACCESS_TOKEN,
        "resource": gateway.url(slug),
        **({"tools": tools} if tools else {}),
    }
    return httpx.post(f"{gateway.origin}/oauth/token", data=form, timeout=15)


def exchanged(gateway: LiveGateway, **asked: Any) -> str:
    answer = ask(gateway, **asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def call(gateway: LiveGateway, token: str, message: dict[str, Any], slug: str = "orders") -> httpx.Response:
    headers = {**ACCEPT, "authorization": f"Bearer {token}"}
    return httpx.post(gateway.url(slug), json=message, headers=headers, timeout=15)


def is_fine(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.json()["result"]["content"][0]["text"] == "fine"


def manage(gateway: LiveGateway, *arguments: str) -> None:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=gateway.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module", autouse=True)
def _first_key(live_gateway: LiveGateway) -> None:
    """Let the gateway learn of its first key, which signs as soon as it is there."""
    token = exchanged(live_gateway)
    wait_until(
        lambda: call(live_gateway, token, rpc("ping")).status_code != 401, seconds=5, what="the first signing key"
    )


def test_the_tool_that_is_left_passes_and_is_recorded_as_the_original_principals(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    token = exchanged(live_gateway, tools="get_*")
    assert is_fine(call(live_gateway, token, tool("get_order")))
    [row] = live_gateway.sql(
        "SELECT p.issuer, p.subject FROM gateway_sessions_session s JOIN accounts_principal p ON p.id = s.principal_id "
        "ORDER BY s.started_at DESC LIMIT 1"
    )
    assert (row["issuer"], row["subject"]) == (live_gateway.issuer.issuer, "alice")
    assert token not in str(upstream.seen[-1])


def test_who_acts_for_whom_is_in_the_record_and_who_was_seen_from_where(live_gateway: LiveGateway) -> None:
    act = {"sub": "planner", "act": {"sub": "scheduler"}}
    token = exchanged(live_gateway, sub="delegate", act=act, tools="get_*")
    assert is_fine(call(live_gateway, token, tool("get_order")))
    told = [event["body"] for event in live_gateway.events("%") if event["body"].get("actors")]
    assert told and all(body["actors"] == ["planner", "scheduler"] for body in told)
    assert told[-1]["narrowing"] == {"connection": "orders", "tools": ["get_*"]}

    def seen() -> Any:
        return live_gateway.sql("SELECT * FROM accounts_principal WHERE subject = 'delegate'")[0]

    wait_until(lambda: seen()["last_seen"] is not None, seconds=10, what="the principal's last_seen")
    assert seen()["last_address"] == "127.0.0.1"
    assert "httpx" in seen()["last_client"]


def test_every_other_tool_is_refused_though_the_principal_may_call_it(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    token = exchanged(live_gateway, tools="get_*")
    before = len(upstream.seen)
    answer = call(live_gateway, token, tool("delete_order"))
    assert "blocked by policy" in answer.text
    assert len(upstream.seen) == before
    assert is_fine(
        httpx.post(
            live_gateway.url("orders"),
            json=tool("delete_order"),
            headers={**live_gateway.headers(), **ACCEPT},
            timeout=15,
        )
    )


def test_every_other_connection_is_closed_though_the_principal_may_use_it(
    live_gateway: LiveGateway, upstream: ScriptedUpstream
) -> None:
    token = exchanged(live_gateway, tools="get_*")
    before = len(upstream.seen)
    answer = call(live_gateway, token, tool("get_order"), slug="wiki")
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert len(upstream.seen) == before


def test_what_is_exchanged_is_not_taken_at_a_connection_and_the_other_way_round(live_gateway: LiveGateway) -> None:
    for_the_endpoint = live_gateway.token(aud=f"{live_gateway.origin}/oauth/token")
    assert call(live_gateway, for_the_endpoint, rpc("ping")).status_code == 401
    assert ask(live_gateway, aud=live_gateway.url("orders")).json()["error"] == "invalid_request"
    assert ask(live_gateway, aud=[live_gateway.url("orders")]).status_code == 400


def test_a_lock_on_the_principal_stops_what_was_given_out(live_gateway: LiveGateway) -> None:
    token = exchanged(live_gateway, sub="mallory")
    assert is_fine(call(live_gateway, token, tool("get_order")))
    live_gateway.sql(
        "INSERT INTO accounts_lock (id, kind, principal_id, token, agent, reason, source, created_at) "
        "SELECT gen_random_uuid(), 'principal', id, '', '', 'incident', 'console', now() "
        "FROM accounts_principal WHERE subject = 'mallory'"
    )
    wait_until(
        lambda: not is_fine_or_none(call(live_gateway, token, tool("get_order"))), seconds=5, what="the lock to hold"
    )
    assert ask(live_gateway, sub="mallory").status_code == 400


def is_fine_or_none(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and "fine" in answer.text


def test_withdrawing_a_key_refuses_what_it_signed_and_new_tokens_are_good(live_gateway: LiveGateway) -> None:
    token = exchanged(live_gateway)
    assert is_fine(call(live_gateway, token, tool("get_order")))
    [key] = live_gateway.sql("SELECT kid FROM accounts_signingkey WHERE signs_from <= now() AND signs_until > now()")
    manage(live_gateway, "signing_keys", "--withdraw", key["kid"])
    wait_until(
        lambda: call(live_gateway, token, tool("get_order")).status_code == 401, seconds=5, what="the key to be gone"
    )
    assert is_fine(call(live_gateway, exchanged(live_gateway), tool("get_order")))


def test_no_call_is_refused_while_the_signing_key_changes_under_load(live_gateway: LiveGateway) -> None:
    manage(live_gateway, "signing_keys", "--rotate")
    over = threading.Event()

    def work(caller: int) -> tuple[int, list[str], set[str]]:
        done, wrong, kids = 0, [], set()
        held = exchanged(live_gateway)
        while not over.is_set():
            fresh = exchanged(live_gateway, tools="get_*")
            kids.add(fresh.split(".")[0])
            for token in (fresh, held):
                answer = call(live_gateway, token, tool("get_order"))
                done += 1
                if not is_fine(answer):
                    wrong.append(f"{answer.status_code} {answer.text[:200]}")
        return done, wrong, kids

    with ThreadPoolExecutor(CALLERS) as pool:
        futures = [pool.submit(work, caller) for caller in range(CALLERS)]
        try:
            time.sleep(LOAD_SECONDS / 2)
            # The ten minutes that the next key is published ahead have passed.
            live_gateway.sql(
                "UPDATE accounts_signingkey SET signs_from = LEAST(signs_from, now()), "
                "signs_until = CASE WHEN signs_from > now() THEN signs_until ELSE now() END "
                "WHERE published_until > now()"
            )
            time.sleep(LOAD_SECONDS / 2)
        finally:
            over.set()
        results = [future.result(timeout=30) for future in futures]
    assert [wrong for _, wrong, _ in results if wrong] == []
    assert sum(done for done, _, _ in results) > 20
    assert len(set.union(*(kids for _, _, kids in results))) == 2
