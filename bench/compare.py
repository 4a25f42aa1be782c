"""Measure the gateway beside the bare upstream, nginx and FastMCP's proxy; `bench/run.py` starts it.

Everything it makes is below bench/.work; the figures go to bench/results/<date>.json. docs/performance.md says what is
measured and why.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from bench import candidates, evidence, profiling, report
from bench.candidates import Candidate, NotReady
from bench.load import Load, Run
from bench.streams import FirstEvent, first_events
from gateway_project.embedded import EmbeddedError, Postgres, Valkey

ROOT = Path(__file__).resolve().parents[1]
WORK, RESULTS = ROOT / "bench" / ".work", ROOT / "bench" / "results"
KIT = ROOT.parent / "shared" / "bench-kit"
FASTMCP = "fastmcp~=4.1.0"
CONCURRENCIES = (1, 16, 64)
TURN_SECONDS = 1800
TOOLS = {"wrk": "wrk", "nginx": "nginx-light", "cc": "gcc libc6-dev", "taskset": "util-linux"}
MAIL_OF_THE_UPSTREAM = "user5@example.com"


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one round of 2 s and fewer streams: a look, not a measurement"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=2, help="length of one run of wrk")
    parser.add_argument("--conc", default=",".join(map(str, CONCURRENCIES)), help="concurrencies, comma-separated")
    parser.add_argument("--streams", type=int, default=200, help="streams for each candidate; 0 leaves them out")
    parser.add_argument("--only", help="candidates, comma-separated: direct, nginx, fastmcp-shared, wardgate")
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the measuring tools")
    parser.add_argument("--profile", action="store_true", help="show where the CPU of a call goes, and stop")
    parser.add_argument("--no-write", action="store_true", help="do not write bench/results")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.secs, chosen.streams = 1, 2, min(chosen.streams, 40)
    chosen.only = set(chosen.only.split(",")) if chosen.only else {"direct", "nginx", "fastmcp-shared", "wardgate"}
    if chosen.profile:
        chosen.only = {"wardgate"}
    return chosen


def require(kit: Path, only: set[str]) -> None:
    """Stop with one sentence when something that the run needs is missing."""
    if not (kit / "upstream.c").is_file():
        raise SystemExit(f"The kit of measuring tools is not at {kit}: name its folder with --kit.")
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # nginx is there, and a normal user's PATH does not name it
    needed = {name: package for name, package in TOOLS.items() if name != "nginx" or "nginx" in only}
    missing = [package for name, package in needed.items() if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"Missing tools: apt-get install {' '.join(missing)}")
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("The benchmark needs two cores: one for the candidate, one for the load.")
    ports = (candidates.UPSTREAM_PORT, candidates.NGINX_PORT, candidates.FASTMCP_PORT, candidates.GATEWAY_PORT)
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise SystemExit(f"Port {port} is in use; the benchmark needs {', '.join(map(str, ports))}.") from None


def take_turn() -> IO[str]:
    """Wait until no other benchmark runs on this machine, and return the lock; it holds as long as it is open."""
    lock = (Path(tempfile.gettempdir()) / "wardgate-bench.lock").open("w")
    deadline = time.monotonic() + TURN_SECONDS
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise SystemExit("Another benchmark has been running on this machine for too long.") from None
            if not told:
                say("waiting for another benchmark on this machine")
                told = True
            time.sleep(1)
        else:
            return lock


def build_upstream(kit: Path) -> Path:
    """Compile the kit's upstream and return the program."""
    program = WORK / "upstream"
    subprocess.run(["cc", "-O2", "-o", str(program), str(kit / "upstream.c")], check=True)
    return program


def fastmcp_python() -> Path:
    """Return the Python of an environment with FastMCP, made the first time."""
    folder = WORK / "fastmcp"
    python = folder / "bin" / "python"
    marker = folder / "installed"
    if not marker.exists():
        say("installing FastMCP into an environment of its own (once)")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", FASTMCP, "uvloop"], check=True)
        marker.touch()
    return python


def say(text: str) -> None:
    """Tell what is going on; the tables go to standard output as well."""
    print(text, flush=True)


@contextlib.contextmanager
def gateway() -> Iterator[tuple[Candidate, Postgres, str]]:
    """Give the gateway over an empty durable PostgreSQL of its own, migrated and seeded, not started yet."""
    shutil.rmtree(WORK / "database", ignore_errors=True)
    postgres, valkey = Postgres(WORK / "database"), Valkey(WORK / "valkey")
    try:
        origin = f"http://127.0.0.1:{candidates.GATEWAY_PORT}"
        environment = {
            "DJANGO_SETTINGS_MODULE": "gateway_project.settings.base",
            "DATABASE_URL": postgres.start(),
            "REDIS_URL": valkey.start(),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "WARDGATE_MASTER_KEYS": "bench:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "WARDGATE_PUBLIC_URL": origin,
            "LOG_LEVEL": "WARNING",
        }
        seeded = subprocess.run(
            [sys.executable, "-m", "bench.seed", origin, f"http://127.0.0.1:{candidates.UPSTREAM_PORT}/mcp"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        token = json.loads(seeded.stdout.splitlines()[-1])["token"]
        yield candidates.wardgate(ROOT, sys.executable, environment, token), postgres, environment["DATABASE_URL"]
    finally:
        valkey.stop()
        postgres.stop()


def measure(chosen: argparse.Namespace, live: list[Candidate], load: Load) -> report.Results:
    """Measure every candidate once at every concurrency, in turn, round after round."""
    results: report.Results = {}
    for candidate in live:
        load.run(candidate, 16, 1, tries=1)  # warm-up
    for number in range(1, chosen.rounds + 1):
        for concurrency in map(int, chosen.conc.split(",")):
            for candidate in live:
                found: Run = load.run(candidate, concurrency, chosen.secs)
                results.setdefault((candidate.name, concurrency), []).append(found)
                say(f"  round {number} c={concurrency:<3} {candidate.name:16} {found.rps:8.0f} requests/s")
    return dict(sorted(results.items(), key=lambda item: item[0][1]))


def main() -> int:
    """Run the benchmark; the exit status tells whether every limit holds and the record is complete."""
    chosen = options()
    with take_turn():
        return run(chosen)


def run(chosen: argparse.Namespace) -> int:
    """Run the benchmark while nobody else does."""
    require(chosen.kit, chosen.only)
    logs = WORK / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    kit = chosen.kit.resolve()
    with contextlib.ExitStack() as stack:
        live: list[Candidate] = []
        upstream = candidates.upstream(build_upstream(kit))
        postgres: Postgres | None = None
        database_url = ""
        if "direct" in chosen.only:
            live.append(candidates.direct())
        if "nginx" in chosen.only:
            live.append(candidates.nginx(kit, WORK, shutil.which("nginx") or "nginx"))
        if "fastmcp-shared" in chosen.only:
            live.append(candidates.fastmcp(kit, fastmcp_python()))
        if "wardgate" in chosen.only:
            say("starting PostgreSQL (durable) and Valkey, migrating, seeding")
            ours, postgres, database_url = stack.enter_context(gateway())
            if chosen.profile:
                profiling.prepare(ours, WORK / "stacks.json")
            live.append(ours)
        for candidate in [upstream, *live]:
            stack.callback(candidate.stop)
            candidate.start(logs)
            answer = candidate.wait_until_ready(logs)
            if candidate.name == "wardgate" and (MAIL_OF_THE_UPSTREAM in answer or "[MASKED" not in answer):
                raise NotReady(f"wardgate does not mask: {answer[:600]}")
        load = Load(kit / "post.lua", upstream.pid or 0, postgres.pid if postgres else None)
        if chosen.profile:
            say("\n".join(profiling.profile(live[-1], load, WORK / "stacks.json")))
            return 0
        results = measure(chosen, live, load)
        streams: dict[str, FirstEvent] = {}
        streaming = [candidate for candidate in live if candidate.name != "fastmcp-shared"]
        if chosen.streams:
            say(f"  {chosen.streams} paced streams through each of {', '.join(c.name for c in streaming)}")
            streams = first_events(streaming, chosen.streams)
        record = None
        if database_url:
            say("  reading the record back")
            streamed = streams["wardgate"].calls if streams else 0
            # One more call made the candidate ready.
            record = evidence.examine(
                database_url, answered=load.made["wardgate"] + streamed + 1, in_flight=load.in_flight["wardgate"]
            )
    return conclude(chosen, results, streams, record)


def conclude(
    chosen: argparse.Namespace,
    results: report.Results,
    streams: dict[str, FirstEvent],
    record: evidence.Evidence | None,
) -> int:
    """Print the tables, write the file and return the exit status."""
    judgements = report.judge(results, streams)
    say("\n" + "\n".join(report.table(results)))
    say("\n" + "\n".join(report.stream_lines(streams)))
    say("\n" + "\n".join(judgement.line() for judgement in judgements))
    faults = [
        f"{name} c={c}: {errors} errors"
        for (name, c), runs in results.items()
        if (errors := sum(r.errors for r in runs))
    ]
    if record is not None:
        faults += record.faults
        say(
            f"record: {record.answered} calls answered, {record.intents} intents, {record.outcomes} outcomes, "
            f"{record.events} events in an unbroken chain"
        )
    for fault in faults:
        say(f"FAULT {fault}")
    if not chosen.no_write and not chosen.quick:
        RESULTS.mkdir(exist_ok=True)
        now = datetime.now(UTC)
        path = RESULTS / f"{now:%Y-%m-%d-%H%M}.json"
        path.write_text(json.dumps(as_json(now, chosen, results, streams, judgements, record, faults), indent=1) + "\n")
        say(f"written to {path.relative_to(ROOT)}")
    return 0 if not faults and all(judgement.holds for judgement in judgements) else 1


def machine() -> str:
    """Say on what the figures were taken, as far as it matters."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    how = "with" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else "without"
    return (
        f"{len(models)} cores ({models[0].partition(': ')[2] if models else platform.machine()}), "
        f"CPython {platform.python_version()} built {how} profile-guided optimisation, uvloop {version('uvloop')}"
    )


def as_json(
    now: datetime,
    chosen: argparse.Namespace,
    results: report.Results,
    streams: dict[str, FirstEvent],
    judgements: list[report.Judgement],
    record: evidence.Evidence | None,
    faults: list[str],
) -> dict[str, object]:
    """Return everything that the run found."""
    return {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": chosen.rounds,
        "seconds": chosen.secs,
        "runs": [
            {"candidate": name, "concurrency": concurrency, "rounds": [run.as_dict() for run in runs]}
            for (name, concurrency), runs in results.items()
        ],
        "streams": {
            name: {
                "first_p50_us": round(found.first_p50, 1),
                "first_p99_us": round(found.first_p99, 1),
                "first_after_idling_us": round(found.idle_p50, 1),
                "samples": found.samples,
            }
            for name, found in streams.items()
        },
        "judged": [
            {"what": one.what, "value": round(one.value, 4), "limit": one.limit, "unit": one.unit, "holds": one.holds}
            for one in judgements
        ],
        "record": None
        if record is None
        else {
            "answered": record.answered,
            "intents": record.intents,
            "outcomes": record.outcomes,
            "events": record.events,
        },
        "faults": faults,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotReady, EmbeddedError) as error:
        raise SystemExit(str(error)) from None
