"""Real clients whose calls are held for a human: how each ends, beside what is expected of it.

    python -m tests.slow.approval_clients [--seconds 5,30,70,330] [--clients TypeScript,Inspector] [--json FILE]

Every client is installed in an environment of its own, versions pinned, once; what cannot be installed is left out with
the reason. All of them wait side by side: the run takes little more than the longest time. For each client: a call that
is approved after each of the times, one that is denied, one whose request expires, one that the client takes back, and
one whose connection is cut. A call that ends before the decision is made again, with the same arguments. Checked in
each cell: the endings, the texts word for word, that the calls were one request, and that the upstream ran it once, or
never when it was refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_project.embedded import Postgres, Valkey
from tests.e2e.approval_clients.clients import CLIENTS, Client
from tests.e2e.approval_clients.table import markdown, shown
from tests.support.tools import ToolMissing

if TYPE_CHECKING:
    from tests.e2e.approval_clients.running import Measured

DENIED_SECONDS = 2.0
EXPIRED_SECONDS = 30
CANCELLED_SECONDS = 2.0
DROPPED_SECONDS = 10.0


def main() -> int:
    """Run, print the table, and return 0 when every cell is as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", default="5,30,70,330", help="after which times calls are approved")
    parser.add_argument("--clients", default="", help="parts of the names of the clients; all when it is left out")
    parser.add_argument("--json", type=Path, help="where the measurements are written to")
    options = parser.parse_args()
    seconds = [float(part) for part in options.seconds.split(",")]
    wanted = [part.lower() for part in options.clients.split(",") if part]
    chosen = [client for client in CLIENTS if not wanted or any(part in client.name.lower() for part in wanted)]
    with tempfile.TemporaryDirectory(prefix="wardgate-approval-clients-") as name:
        folder = Path(name)
        installed = [client for client in chosen if _is_installed(client, folder)]
        postgres, valkey = Postgres(folder, throwaway=True), Valkey(folder)
        try:
            os.environ.update(DATABASE_URL=postgres.start(), REDIS_URL=valkey.start())
            os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings.test"
            measured = _measure(installed, seconds, folder)
        finally:
            valkey.stop()
            postgres.stop()
    return _report(installed, seconds, measured, options.json)


def _is_installed(client: Client, folder: Path) -> bool:
    try:
        client.install(folder)
    except ToolMissing as error:
        print(f"left out: {client.name}: {error}", flush=True)
        return False
    return True


def _measure(clients: Sequence[Client], seconds: Sequence[float], folder: Path) -> list[Measured]:
    from tests.e2e.approval_clients.running import Cell, bench, measure

    cells = [Cell(client, "approved", each) for each in sorted(seconds, reverse=True) for client in clients]
    for client in clients:
        cells.append(Cell(client, "denied", DENIED_SECONDS))
        cells.append(Cell(client, "expired", EXPIRED_SECONDS))
        cells.append(Cell(client, "cancelled", CANCELLED_SECONDS))
        cells.append(Cell(client, "dropped", DROPPED_SECONDS))
    began = time.monotonic()
    with bench(folder, expires_seconds=EXPIRED_SECONDS) as table:
        measured = asyncio.run(measure(table, cells))
        print(f"{len(cells)} cells in {time.monotonic() - began:.0f} s\n", flush=True)
        log = table.gateway.log()
    if log:
        print(f"the gateway's log ends with:\n{log[-3000:]}\n")
    return measured


def _report(clients: Sequence[Client], seconds: Sequence[float], measured: Sequence[Measured], out: Path | None) -> int:
    columns: list[tuple[str, float]] = [("approved", each) for each in seconds]
    columns += [("denied", DENIED_SECONDS), ("expired", EXPIRED_SECONDS), ("cancelled", CANCELLED_SECONDS)]
    columns += [("dropped", DROPPED_SECONDS)]
    found = {(each.cell.client.name, each.cell.decision, each.cell.seconds): each for each in measured}
    heads = ["client", "version", *(f"{at:g} s" if what == "approved" else what for what, at in columns)]
    rows = []
    for client in clients:
        row = [client.name, client.version]
        row += [_cell(found[client.name, what, at]) for what, at in columns]
        rows.append(row)
    print(markdown(heads, rows))
    wrong = [each for each in measured if each.wrong]
    for each in wrong:
        print(f"\n{each.cell.id}: " + "; ".join(each.wrong))
        for ending in each.endings:
            print(f"    {ending.at:6.1f} s {ending.kind}: {ending.text}")
    executions = sum(each.executions for each in measured)
    print(f"\n{len(measured) - len(wrong)} of {len(measured)} cells as expected, {executions} executions")
    if out is not None:
        out.write_text(json.dumps(_document(measured), indent=1) + "\n")
    return 1 if wrong else 0


def _cell(measured: Measured) -> str:
    text = shown(measured.endings) or "-"
    if measured.noticed:
        text += f" ({measured.noticed})"
    return f"{text} ✗" if measured.wrong else text


def _document(measured: Sequence[Measured]) -> dict[str, Any]:
    cells = [
        {
            "client": each.cell.client.name,
            "version": each.cell.client.version,
            "decision": each.cell.decision,
            "seconds": each.cell.seconds,
            "endings": [{"kind": end.kind, "at": round(end.at, 2), "text": end.text} for end in each.endings],
            "requests": each.requests,
            "executions": each.executions,
            "noticed": each.noticed,
            "wrong": each.wrong,
        }
        for each in measured
    ]
    return {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "cells": cells}


if __name__ == "__main__":
    sys.exit(main())
