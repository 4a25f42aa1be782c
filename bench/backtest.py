"""Times a back-test of recorded calls, and writes `bench/results/backtest.json`.

    DATABASE_URL=... python -m bench.backtest [calls]

The database has to be empty; it is migrated and filled first. The policy has 300 guardrails, of which every third has a
condition over arguments (one of them reads SQL), 40 groups with grants; the calls are of 200 callers on 4 connections,
with arguments of some 300 bytes, every tenth of them masked somewhere. Run with `--history`, a rule counts earlier
calls, too.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings.base")
RESULTS = Path(__file__).parent / "results" / "backtest.json"
CALLS, GUARDRAILS, GROUPS, CALLERS = 100_000, 300, 40, 200
LIMIT_SECONDS = 60.0


def main() -> None:
    """Fill the database, run the back-test, print and write the figures; exit with 1 when it took too long."""
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    found = measure(numbers[0] if numbers else CALLS, has_history="--history" in sys.argv)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    if not numbers:
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept["with history" if found["history"] else "without history"] = found
        RESULTS.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    sys.exit(0 if found["seconds"] < LIMIT_SECONDS else 1)


def measure(calls: int, *, has_history: bool) -> dict[str, Any]:
    """Return what a back-test of `calls` recorded calls took."""
    from policies import services
    from policies.models import BackTest
    from policies.reading import document_now
    from tests.support.recorded_calls import START

    fill(calls)
    document = document_now()
    document["guardrails"] = [*document["guardrails"], *drafted(has_history=has_history)]
    now = START + timedelta(days=30)
    test = services.back_test_start(document=document, since=START, until=now, now=now)
    began, used = time.perf_counter(), time.process_time()
    services.back_test_run(back_test_id=test.pk, now=now)
    seconds = time.perf_counter() - began
    test = BackTest.objects.get(pk=test.pk)
    assert test.state == BackTest.State.DONE, test.failure
    return {
        "calls": test.calls_done,
        "history": has_history,
        "seconds": round(seconds, 2),
        "calls_per_second": round(test.calls_done / seconds),
        "cpu_seconds": round(time.process_time() - used, 2),
        "most_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "differences": test.differences_total,
        "groups": len(test.differences),
        "cannot_be_told": test.not_replayable,
    }


def fill(calls: int) -> None:
    """Write policy and `calls` recorded calls."""
    from accounts.models import Group, IdentityProvider
    from connections.models import Connection
    from policies.services import Publisher, document_apply
    from tests.support.recorded_calls import ISSUER, START, Recorded, Who

    connections = [
        Connection.objects.create(slug=f"c{number}", name=f"C{number}", upstream_url="https://c.example.com/mcp")
        for number in range(4)
    ]
    provider = IdentityProvider.objects.create(name="Bench", issuer=ISSUER)
    for number in range(GROUPS):
        Group.objects.create(provider=provider, name=f"g{number}")
    document_apply(document=_policy(), by=Publisher(), now=START)
    chance = random.Random(7)
    who = [
        Who(f"user-{number}", frozenset(f"g{chance.randrange(GROUPS)}" for _ in range(5))) for number in range(CALLERS)
    ]
    with Recorded() as record:
        for _ in range(calls):
            is_masked = chance.random() < 0.1
            arguments = {
                "amount": chance.randrange(1000),
                "to": "[MASKED:email]" if is_masked else f"team{chance.randrange(9)}",
                "query": f"SELECT name FROM orders WHERE id = {chance.randrange(50)}",
                "note": "n" * chance.randrange(200),
            }
            record.call(
                chance.choice(who), chance.choice(connections), f"tool_{chance.randrange(60)}", arguments,
                hits={"email": 1} if is_masked else None, answer_bytes=chance.randrange(5000), seconds=20,
            )  # fmt: skip


def drafted(*, has_history: bool) -> list[dict[str, Any]]:
    """Return the guardrails that only the draft has."""
    found: list[dict[str, Any]] = [
        {"name": "limit", "effect": "hold", "names": ["tool_1*"], "condition": "args.amount > 900"},
        {"name": "partner", "effect": "deny", "names": ["tool_2*"], "condition": 'args.to == "team3"'},
        {"name": "sql", "effect": "deny", "names": ["tool_3"], "condition": '"pay" in sql.tables(args.query)'},
    ]  # fmt: skip
    if has_history:
        found.append(
            {"name": "rate", "effect": "deny", "names": ["tool_4*"], "condition": 'session.rate("tool_4*", 3600) > 3'}
        )
    return found


def _policy() -> dict[str, Any]:
    grants = [
        {"labels": [], "connection": f"c{number % 4}", "group": {"provider": "Bench", "name": f"g{group}"},
         "tools": ["tool_*"]}
        for group in range(GROUPS) for number in range(4)
    ]  # fmt: skip
    guardrails = []
    for number in range(GUARDRAILS):
        entry: dict[str, Any] = {
            "name": f"rule {number:03}",
            "effect": ("deny", "hold", "allow")[number % 3],
            "methods": ["tools/call"],
            "names": [f"svc{number}.*", f"*.delete{number}"] if number % 3 else ["tool_*"],
            "connection": f"c{number % 4}",
        }
        if number % 3 == 0:
            entry |= {"condition": f"args.amount == {10_000 + number}", "names": [f"tool_{number % 60}"]}
        guardrails.append(entry)
    return {"grants": grants, "guardrails": guardrails}


if __name__ == "__main__":
    main()
