"""Runs uvicorn with a sampler in the process: `python -m bench.sampled OUTPUT [uvicorn's arguments]`.

A timer that counts CPU time alone (ITIMER_PROF) interrupts the process for each tick of the kernel's clock that it has
worked, and the Python stack is counted. Time in which another process holds the core is not seen, which a sampler from
outside cannot tell apart. A signal is served when a Python function begins or a loop turns: the time of a C function (a
system call, RE2, SHA-256) belongs to the function that called it or to the next one it calls, and what the event loop
does between two callbacks to the next callback.

The first SIGUSR2 begins the sampling, the second one ends it and writes OUTPUT: JSON, a list of [stack, count], each
stack innermost first, each frame as `file: function`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL_SECONDS = 0.001

_samples: Counter[tuple[CodeType, ...]] = Counter()
_is_running = False


def _sample(_: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        stack.append(frame.f_code)
        frame = frame.f_back
    _samples[tuple(stack)] += 1


def _toggle(_: int, __: FrameType | None) -> None:
    global _is_running
    _is_running = not _is_running
    signal.setitimer(signal.ITIMER_PROF, *([INTERVAL_SECONDS] * 2 if _is_running else [0]))
    if not _is_running:
        found = [[[_place(code) for code in stack], count] for stack, count in _samples.items()]
        unfinished = OUTPUT.with_suffix(".new")
        unfinished.write_text(json.dumps(found))
        unfinished.rename(OUTPUT)


def _place(code: CodeType) -> str:
    path = code.co_filename.removeprefix(f"{Path.cwd()}/")
    for mark in ("site-packages/", f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/"):
        path = path.rpartition(mark)[2]
    return f"{path}: {code.co_qualname}"


if __name__ == "__main__":
    OUTPUT = Path(sys.argv.pop(1))
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR2, _toggle)
    from uvicorn.main import main

    main()
