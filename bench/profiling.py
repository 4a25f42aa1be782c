"""Where the CPU of one call goes: py-spy samples the gateway under load, and its stacks are folded by module.

py-spy reads the process from outside (it needs the right to trace it: root, or kernel.yama.ptrace_scope = 0) and costs
the gateway nothing. A sample belongs to the innermost Python frame; what C code does (sockets, OpenSSL, RE2, libpq) is
counted where it is called from, and the event loop's own work where the loop was started.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.candidates import Candidate
from bench.load import Load

ROOT = Path(__file__).resolve().parents[1]
SAMPLES_PER_SECOND, SECONDS, CONCURRENCY = 250, 8, 16
SHOWN = 40


def profile(candidate: Candidate, load: Load, work: Path) -> list[str]:
    """Return the tables, by module and by function, in microseconds of CPU for each call at concurrency 16."""
    program = _py_spy(work)
    quiet = load.run(candidate, CONCURRENCY, 3)
    stacks = work / "stacks.txt"
    command = [program, "record", "--pid", str(candidate.pid), "--format", "raw", "--output", str(stacks)]
    command += [
        "--rate",
        str(SAMPLES_PER_SECOND),
        "--duration",
        str(SECONDS),
        "--nonblocking",
        "--function",
        "--threads",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as sampler:
        load.run(candidate, CONCURRENCY, SECONDS, tries=1)
        told, _ = sampler.communicate(timeout=60)
    if sampler.returncode != 0:
        raise SystemExit(f"py-spy failed: {told[-500:]}")
    return [
        f"{quiet.rps:.0f} requests/s, {quiet.cpu_us:.1f} us of CPU for each call; the shares below are of that",
        *_tables(stacks.read_text().splitlines(), quiet.cpu_us),
    ]


def _py_spy(work: Path) -> str:
    found = shutil.which("py-spy")
    if found:
        return found
    folder = work / "py-spy"
    program = folder / "bin" / "py-spy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", "py-spy"], check=True)
    return str(program)


def _tables(stacks: list[str], cpu_us: float) -> list[str]:
    by_module: Counter[str] = Counter()
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if not frame.startswith(("thread (", "process "))]
        if not frames:
            continue
        by_module[_module(frames[-1])] += int(count)
        own[_place(frames[-1])] += int(count)
        for frame in {_place(frame) for frame in frames}:
            inclusive[frame] += int(count)
    total = max(sum(by_module.values()), 1)

    def lines(title: str, counted: Counter[str], most: int) -> list[str]:
        return ["", f"{'us/call':>8}  {title}"] + [
            f"{count / total * cpu_us:8.1f}  {name}" for name, count in counted.most_common(most)
        ]

    return [
        *lines("module (innermost Python frame)", by_module, SHOWN),
        *lines("function, its own time", own, SHOWN),
        *lines("function, with everything that it calls", inclusive, SHOWN + 20),
    ]


def _place(frame: str) -> str:
    """Return `file: function` with the path as short as it stays clear."""
    name, _, path = frame.partition(" (")
    path = re.sub(r":\d+\)?$|\)$", "", path).removeprefix(f"{ROOT}/")
    for mark in ("site-packages/", "lib/python3.11/", "lib/python3.12/", "lib/python3.13/"):
        path = path.rpartition(mark)[2]
    return f"{path}: {name}" if path else name


def _module(frame: str) -> str:
    return _place(frame).partition(": ")[0]
