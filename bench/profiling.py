"""Where the CPU of one call goes: the stacks that `bench.sampled` counts, folded by module and function."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

from bench.candidates import Candidate
from bench.load import Load

SECONDS, CONCURRENCY = 15, 16
WAIT_SECONDS = 10
SHOWN = 40
STEPS = {
    "event loop": ("asyncio/runners",),
    "HTTP server (uvicorn, its task and locks)": ("uvicorn/", "asyncio/", "_weakrefset"),
    "gate, headers, JSON, message": (
        "proxy/gate", "proxy/app", "proxy/protocol/headers", "proxy/protocol/json_strict", "json/",
        "proxy/protocol/mcp", "proxy/protocol/messages", "proxy/session_refs", "gateway_project/asgi", "proxy/wiring",
    ),
    "identity": ("proxy/identity", "accounts/"),
    "policy": ("policies/engine/rules", "policies/engine/globs", "policies/engine/verdicts"),
    "masking (the answer and the recorded request)": ("policies/engine/", "re2/"),
    "record: events, hash chain, statement": ("proxy/recorder", "proxy/journal", "sessions/", "psycopg"),
    "upstream connection": ("proxy/upstream", "connections/"),
    "relay, exchange, reply": ("proxy/",),
}  # fmt: skip
"""Steps of a call by the beginning of a module's path; the first that fits counts."""


def prepare(candidate: Candidate, output: Path) -> None:
    """Make the candidate run with the sampler in it."""
    output.unlink(missing_ok=True)
    place = candidate.command.index("uvicorn")
    candidate.command[place - 1 : place + 1] = ["-m", "bench.sampled", str(output)]


def profile(candidate: Candidate, load: Load, output: Path) -> list[str]:
    """Return the tables, by module and by function, in microseconds of CPU for each call at concurrency 16."""
    pid = candidate.pid
    assert pid is not None
    load.run(candidate, CONCURRENCY, 1, tries=1)
    quiet = load.run(candidate, CONCURRENCY, 3)
    os.kill(pid, signal.SIGUSR2)
    load.run(candidate, CONCURRENCY, SECONDS, tries=1)
    os.kill(pid, signal.SIGUSR2)
    deadline = time.monotonic() + WAIT_SECONDS
    while not output.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"The sampler did not write {output}.")
        time.sleep(0.1)
    return [
        f"{quiet.rps:.0f} requests/s, {quiet.cpu_us:.1f} us of CPU for each call; the shares below are of that",
        *_tables(json.loads(output.read_text()), quiet.cpu_us),
    ]


def _tables(stacks: list[tuple[list[str], int]], cpu_us: float) -> list[str]:
    by_module: Counter[str] = Counter()
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for stack, count in stacks:
        by_module[stack[0].partition(": ")[0]] += count
        own[stack[0]] += count
        for frame in set(stack):
            inclusive[frame] += count
    by_step: Counter[str] = Counter()
    for module, count in by_module.items():
        fitting = (step for step, begins in STEPS.items() if module.startswith(begins))
        by_step[next(fitting, "constructors of values, and the rest")] += count
    total = max(sum(by_module.values()), 1)

    def lines(title: str, counted: Counter[str], most: int) -> list[str]:
        return ["", f"{'us/call':>8}  {title}"] + [
            f"{count / total * cpu_us:8.1f}  {name}" for name, count in counted.most_common(most)
        ]

    return [
        f"{total} samples",
        *lines("step", by_step, SHOWN),
        *lines("module (innermost Python frame)", by_module, SHOWN),
        *lines("function, its own time", own, SHOWN),
        *lines("function, with everything that it calls", inclusive, SHOWN + 30),
    ]
