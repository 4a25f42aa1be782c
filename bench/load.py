"""Closed-loop load with wrk: one run of one candidate at one concurrency."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench.candidates import Candidate
from bench.machine import LOAD_CPU, Meter, resident_mib, tree, wait_until_quiet

FOREIGN_LIMIT = 0.12
"""A run is repeated, up to `TRIES` times, when strangers took more than this share of a core; the quietest counts."""
TRIES = 3


@dataclass(slots=True)
class Run:
    """What one run of wrk found. Latencies and CPU are in microseconds, `cpu_us` and `database_us` for each request."""

    rps: float
    p50: float
    p99: float
    requests: int
    errors: int
    cpu_us: float
    database_us: float
    rss_mib: float
    foreign: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


class Load:
    """Runs wrk with the kit's script and keeps count of every request that it made."""

    def __init__(self, script: Path, upstream: int, database: int | None) -> None:
        self._script, self._upstream, self._database = script, upstream, database
        self.made: dict[str, int] = {}
        self.in_flight: dict[str, int] = {}

    def run(self, candidate: Candidate, concurrency: int, seconds: float, *, tries: int = TRIES) -> Run:
        """Return the quietest of up to `tries` runs; the first one without strangers ends the search."""
        best: Run | None = None
        for _ in range(tries):
            wait_until_quiet()
            found = self._once(candidate, concurrency, seconds)
            if best is None or found.foreign < best.foreign:
                best = found
            if found.foreign < FOREIGN_LIMIT:
                break
        assert best is not None
        return best

    def _once(self, candidate: Candidate, concurrency: int, seconds: float) -> Run:
        groups: dict[str, list[psutil.Process]] = {
            "candidate": tree(candidate.pid),
            "upstream": tree(self._upstream),
            "database": tree(self._database),
        }
        command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{concurrency}", f"-d{seconds:g}s"]
        command += ["--timeout", "10s", "--latency", "-s", str(self._script), candidate.url]
        environment = {**os.environ, "BODY": candidate.body, "TOKEN": candidate.token}
        if not candidate.token:
            del environment["TOKEN"]
        with Meter(**groups) as meter:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=seconds + 40, check=False
            )
        match = re.search(r"RESULT (\{.*\})", done.stdout)
        if not match:
            raise SystemExit(f"wrk failed on {candidate.name}: {(done.stdout + done.stderr)[-500:]}")
        told = json.loads(match[1])
        requests = max(told["requests"], 1)
        self.made[candidate.name] = self.made.get(candidate.name, 0) + told["requests"]
        self.in_flight[candidate.name] = self.in_flight.get(candidate.name, 0) + concurrency
        return Run(
            rps=told["requests"] / (told["us"] / 1e6),
            p50=told["p50"],
            p99=told["p99"],
            requests=told["requests"],
            errors=told["non2xx"] + told["sockerr"] + told["timeout"],
            cpu_us=meter.seconds["candidate"] / requests * 1e6,
            database_us=meter.seconds["database"] / requests * 1e6,
            rss_mib=resident_mib(groups["candidate"]),
            foreign=meter.foreign,
        )
