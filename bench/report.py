"""What a run found, as a table for people and as JSON for comparison."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.load import Run
from bench.streams import FirstEvent

Results = dict[tuple[str, int], list[Run]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One figure and the limit that it has to keep."""

    what: str
    value: float
    limit: float
    is_minimum: bool
    unit: str

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.is_minimum else self.value <= self.limit

    def line(self) -> str:
        sign = ">=" if self.is_minimum else "<="
        mark = "ok  " if self.holds else "MISS"
        return f"{mark} {self.what:58} {self.value:9.3f} {self.unit:4} ({sign} {self.limit:g})"


def middle(runs: Sequence[Run], name: str) -> float:
    """Return the median of one figure over the rounds."""
    return statistics.median(getattr(run, name) for run in runs)


def table(results: Results) -> list[str]:
    """Return the lines of the table: one for each candidate and concurrency, medians over the rounds."""
    lines = [
        f"{'candidate':16} {'c':>3} {'rps':>8} {'p50 us':>8} {'p99 us':>8} {'CPU us':>8} {'PG us':>7} {'RSS MiB':>8}"
        f" {'foreign':>8} {'errors':>7}   rps by round"
    ]
    for (name, concurrency), runs in results.items():
        cpu = f"{middle(runs, 'cpu_us'):8.1f}" if middle(runs, "cpu_us") else f"{'-':>8}"
        memory = f"{middle(runs, 'rss_mib'):8.1f}" if middle(runs, "rss_mib") else f"{'-':>8}"
        database = f"{middle(runs, 'database_us'):7.1f}" if name == "wardgate" else f"{'-':>7}"
        lines.append(
            f"{name:16} {concurrency:3} {middle(runs, 'rps'):8.0f} {middle(runs, 'p50'):8.0f} "
            f"{middle(runs, 'p99'):8.0f} {cpu} {database} {memory} {middle(runs, 'foreign'):8.2f} "
            f"{sum(run.errors for run in runs):7}   {' '.join(f'{run.rps:.0f}' for run in runs)}"
        )
    return lines


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """Return the median over the rounds of our rate to theirs: what drifts between rounds hits both of one."""
    return statistics.median(one.rps / other.rps for one, other in zip(ours, theirs, strict=True))


def judge(results: Results, streams: Mapping[str, FirstEvent]) -> list[Judgement]:
    """Return what the budget asks of the gateway, as far as the run measured it."""
    found: list[Judgement] = []
    if ours := results.get(("wardgate", 16)):
        if peer := results.get(("fastmcp-shared", 16)):
            times = ratio(ours, peer)
            found.append(Judgement("requests/s against FastMCP, shared client, c=16", times, 12, True, "x"))
        if bare := results.get(("nginx", 16)):
            found.append(Judgement("requests/s against bare nginx, c=16", ratio(ours, bare), 1 / 14, True, "x"))
        cpu = middle(ours, "cpu_us")
        found.append(Judgement("CPU of the gateway for each call, c=16", cpu, 200, False, "us"))
    alone, without = results.get(("wardgate", 1)), results.get(("direct", 1))
    if alone and without:
        added = (middle(alone, "p50") - middle(without, "p50")) / 1000
        found.append(Judgement("p50 above direct, c=1", added, 1.5, False, "ms"))
    if "wardgate" in streams and "direct" in streams:
        late = (streams["wardgate"].first_p50 - streams["direct"].first_p50) / 1000
        found.append(Judgement("first event of a paced stream, later than direct", late, 1.0, False, "ms"))
    memory = [run.rss_mib for (name, _), runs in results.items() if name == "wardgate" for run in runs]
    if memory:
        found.append(Judgement("memory of the worker, at most", max(memory), 150, False, "MiB"))
    return found


def stream_lines(streams: Mapping[str, FirstEvent]) -> list[str]:
    """Return one line for each candidate of the stream measurement."""
    return [
        f"{name:16} first event p50 {found.first_p50:7.0f} us  p99 {found.first_p99:7.0f} us  "
        f"after idling {found.idle_p50:7.0f} us  "
        f"whole stream p50 {found.total_p50 / 1000:7.1f} ms  ({found.samples} streams of {found.events} events)"
        for name, found in streams.items()
    ]
