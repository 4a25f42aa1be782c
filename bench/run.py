"""Measure the gateway beside the bare upstream, nginx and FastMCP's proxy, in one run.

    python3 bench/run.py [--quick] [--rounds 5] [--secs 2] [--only direct,wardgate] [--profile]

Needs the project's virtual environment with its development tools, wrk, nginx, a C compiler and taskset, and the kit of
measuring tools (`--kit`). This file only finds the environment; `bench.compare` does the work.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"

if __name__ == "__main__":
    if not PYTHON.exists():
        raise SystemExit(
            "The benchmark needs the project's environment: run `python3 run.py test` once, it makes .venv."
        )
    command = [str(PYTHON), "-m", "bench.compare", *sys.argv[1:]]
    os.execve(PYTHON, command, {**os.environ, "PYTHONPATH": str(ROOT)})
