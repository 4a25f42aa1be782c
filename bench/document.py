"""Writes the newest result into docs/performance.md: `python -m bench.document [--profile FILE] [--pure FILE]`.

FILE is what `bench/run.py --profile` or `bench.steps.pure` printed. Only what stands between the page's markers is
written anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"


def bold(name: str) -> str:
    """Return our own name in bold."""
    return f"**{name}**" if name == "wardgate" else name


def table(*lines: tuple[str, ...]) -> list[str]:
    """Return a Markdown table; the first line is its head."""
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return [rows[0], "|" + "---|" * len(lines[0]), *rows[1:]]


def runs(found: list[dict[str, Any]]) -> list[str]:
    """Return the table of rates, latencies and costs."""
    rows = [("", "c", "requests/s", "p50 us", "p99 us", "CPU us", "PostgreSQL us", "RSS MiB")]
    for run in found:
        name, rounds = run["candidate"], run["rounds"]

        def figure(what: str, shown: bool = True, rounds: list[dict[str, float]] = rounds) -> str:
            return f"{statistics.median(one[what] for one in rounds):,.0f}" if shown else "-"

        is_process = name != "direct"
        ours = name == "wardgate"
        cells = [figure("rps"), figure("p50"), figure("p99"), figure("cpu_us", is_process)]
        cells += [figure("database_us", ours), figure("rss_mib", is_process)]
        rows.append((bold(name), str(run["concurrency"]), *cells))
    return table(*rows)


def judged(found: list[dict[str, Any]]) -> list[str]:
    """Return the table of limits."""
    rows = [("judged", "value", "limit", "")]
    for one in found:
        value, limit = f"{one['value']:.4g} {one['unit']}", f"at most {one['limit']:g} {one['unit']}"
        if "nginx" in one["what"]:
            value, limit = f"1/{1 / one['value']:.1f}", f"at least 1/{1 / one['limit']:.0f}"
        elif one["unit"] == "x":
            value, limit = f"{one['value']:.1f} times", f"at least {one['limit']:g} times"
        rows.append((one["what"], value, limit, "holds" if one["holds"] else "**missed**"))
    return table(*rows)


def results(path: Path) -> list[str]:
    """Return everything that a result file holds, for people."""
    result = json.loads(path.read_text())
    streams = [("first event of a paced stream", "p50 us", "p99 us", "after idling, p50 us")]
    streams += [
        (
            bold(name),
            f"{one['first_p50_us']:,.0f}",
            f"{one['first_p99_us']:,.0f}",
            f"{one['first_after_idling_us']:,.0f}",
        )
        for name, one in result["streams"].items()
    ]
    record = result["record"]
    return [
        f"`bench/results/{path.name}`: medians of {result['rounds']} rounds of {result['seconds']:g} s.",
        f"{result['machine']}.",
        "",
        *runs(result["runs"]),
        "",
        *table(*streams),
        "",
        *judged(result["judged"]),
        "",
        f"The record afterwards: {record['answered']:,} calls answered, {record['intents']:,} intents, "
        f"{record['outcomes']:,} outcomes (what is",
        f"more was under way when the load ended), {record['events']:,} events in unbroken chains; "
        + ("; ".join(result["faults"]) or "no errors."),
    ]


def profile(path: Path) -> list[str]:
    """Return the steps of a call."""
    lines = path.read_text().splitlines()
    cpu = next(line for line in lines if "us of CPU for each call" in line).split(", ")[1].split()[0]
    start = next(place for place, line in enumerate(lines) if line.endswith("  step")) + 1
    steps = [line.split(None, 1) for line in lines[start : lines.index("", start)]]
    return [
        f"`python3 bench/run.py --profile`, concurrency 16, {cpu} us of CPU for each call. A sampler in the process",
        "counts the Python stack for each tick of CPU time; system calls and C libraries belong to the function that",
        "called them.",
        "",
        *table(("step", "us"), *((name, cost) for cost, name in steps)),
    ]


def pure(path: Path) -> list[str]:
    """Return the single steps."""
    steps = [line.split(None, 1)[1].rsplit(None, 2) for line in path.read_text().splitlines() if line]
    return table(("step", "us"), *((name.strip(), cost) for name, cost, _ in steps))


def replace(page: str, name: str, lines: list[str]) -> str:
    """Return the page with what is between the markers of `name` replaced."""
    head, _, rest = page.partition(f"<!-- {name} -->")
    _, _, tail = rest.partition(f"<!-- /{name} -->")
    return "\n".join([f"{head}<!-- {name} -->", *lines, f"<!-- /{name} -->"]) + tail


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--pure", type=Path)
    options = parser.parse_args()
    page = replace(PAGE.read_text(), "results", results(max(RESULTS.glob("20*.json"))))
    if options.profile:
        page = replace(page, "profile", profile(options.profile))
    if options.pure:
        page = replace(page, "pure", pure(options.pure))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
