"""Real clients whose calls are held: a short version of `python -m tests.slow.approval_clients`, four SDKs, seconds."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.approval_clients.clients import CLIENTS
from tests.e2e.approval_clients.running import Cell, Measured, bench, measure
from tests.support.tools import ToolMissing, find_node

pytestmark = pytest.mark.slow

EXPIRES_SECONDS = 4
SHORT, LONG = 2.0, 20.0
"""For how many seconds a client says that it waits, in `X-Approval-Wait`; in all, if it comes back in legs."""

IN_PYTHON, IN_NODE = ["Python SDK 1", "Python SDK 2"], ["TypeScript SDK 1", "TypeScript SDK 2, auto"]
SDKS = [*IN_PYTHON, *(pytest.param(name, marks=pytest.mark.needs_node) for name in IN_NODE)]
IN_ONE_GO = [*IN_PYTHON, *(pytest.param(name, marks=pytest.mark.needs_node) for name in ["TypeScript SDK 1"])]
Table = dict[tuple[str, str], Measured]


def _has_node() -> bool:
    try:
        find_node()
    except ToolMissing:
        return False
    return True


def _waiting(seconds: float) -> dict[str, str]:
    return {"X-Approval-Wait": f"{seconds:g}"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Play every cell, side by side."""
    names = {*IN_PYTHON, *(IN_NODE if _has_node() else [])}
    cells = {}
    for client in (client for client in CLIENTS if client.name in names):
        cells[client.name, "held to the end"] = Cell(client, "approved", 2.5, _waiting(LONG), held=LONG)
        if client.name != "TypeScript SDK 2, auto":
            cells[client.name, "repeated"] = Cell(client, "approved", 3.0, _waiting(SHORT), held=SHORT)
        cells[client.name, "denied"] = Cell(client, "denied", 0.5)
        cells[client.name, "expired"] = Cell(client, "expired", EXPIRES_SECONDS)
        cells[client.name, "cancelled"] = Cell(client, "cancelled", 0.5)
    with bench(tmp_path_factory.mktemp("approval-clients"), expires_seconds=EXPIRES_SECONDS) as held:
        measured = asyncio.run(measure(held, list(cells.values())))
    return dict(zip(cells, measured, strict=True))


@pytest.mark.parametrize("sdk", SDKS)
def test_a_held_client_gets_the_answer_of_the_one_run_when_its_call_is_approved(sdk: str, table: Table) -> None:
    measured = table[sdk, "held to the end"]
    assert measured.wrong == []
    assert [ending.kind for ending in measured.endings] == ["result"]
    assert measured.executions == 1


@pytest.mark.parametrize("sdk", IN_ONE_GO)
def test_a_client_that_waits_no_longer_is_told_so_and_the_same_call_gets_the_answer_of_the_one_run(
    sdk: str, table: Table
) -> None:
    measured = table[sdk, "repeated"]
    *before, last = [ending.kind for ending in measured.endings]
    # How often it is told depends on how busy the machine is.
    assert (set(before), last) == ({"pending"}, "result"), measured.wrong
    assert (measured.requests, measured.executions) == (1, 1)


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("decision", ["denied", "expired"])
def test_a_client_reads_word_for_word_what_became_of_a_call_that_does_not_run(
    sdk: str, decision: str, table: Table
) -> None:
    measured = table[sdk, decision]
    assert measured.wrong == []
    assert [ending.kind for ending in measured.endings] == [decision]
    assert measured.executions == 0


@pytest.mark.parametrize("sdk", SDKS)
def test_a_call_that_its_client_takes_back_runs_once_and_only_for_somebody_who_waits(sdk: str, table: Table) -> None:
    measured = table[sdk, "cancelled"]
    assert measured.wrong == []
    assert measured.noticed == measured.cell.client.cancel
