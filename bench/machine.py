"""The machine under measurement: who uses its cores, and for how long.

The figures of a run are only worth something when nobody else worked meanwhile. `Meter` therefore tells, besides the
CPU seconds of the processes it was given, the share of the two cores that strangers took.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

CANDIDATE_CPU, LOAD_CPU = 0, 1
"""The candidate has a core of its own; the load generator and the upstream share the other. Databases float."""


def tree(pid: int | None) -> list[psutil.Process]:
    """Return the process and all its descendants; nothing when it is gone."""
    if pid is None:
        return []
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return user and system time that the processes have used."""
    total = 0.0
    for process in processes:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


def resident_mib(processes: Iterable[psutil.Process]) -> float:
    """Return the resident memory of the processes, in MiB."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def _busy() -> dict[str, tuple[int, int]]:
    """Return (busy, all) ticks of the two cores that the benchmark uses."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in {f"cpu{CANDIDATE_CPU}", f"cpu{LOAD_CPU}"}:
            ticks = [int(field) for field in fields[:8]]
            found[name] = (sum(ticks) - ticks[3] - ticks[4], sum(ticks))
    return found


def _load(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> float:
    """Return how many cores were busy on average between two readings."""
    return sum((after[k][0] - before[k][0]) / max(after[k][1] - before[k][1], 1) for k in before)


def wait_until_quiet(limit: float = 0.2, at_most: float = 6.0) -> None:
    """Wait until the two cores are nearly idle; a machine that never is gets measured all the same."""
    deadline = time.monotonic() + at_most
    while time.monotonic() < deadline:
        before = _busy()
        time.sleep(0.2)
        if _load(before, _busy()) < limit:
            return


class Meter:
    """Measures CPU between `__enter__` and `__exit__`, by name of a group of processes.

    Waited-for children of this process (the load generator) are counted as `children`.
    """

    def __init__(self, **groups: list[psutil.Process]) -> None:
        self._groups = groups
        self.seconds: dict[str, float] = {}
        self.elapsed = self.foreign = 0.0

    def __enter__(self) -> Meter:
        self._before = {name: cpu_seconds(processes) for name, processes in self._groups.items()}
        self._own, self._ticks, self._started = os.times(), _busy(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed, ticks, own = time.monotonic() - self._started, _busy(), os.times()
        for name, processes in self._groups.items():
            self.seconds[name] = cpu_seconds(processes) - self._before[name]
        self.seconds["children"] = own[2] + own[3] - self._own[2] - self._own[3]
        ours = sum(self.seconds.values()) + own[0] + own[1] - self._own[0] - self._own[1]
        self.foreign = _load(self._ticks, ticks) - ours / self.elapsed
