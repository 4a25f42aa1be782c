"""The comparison itself: what the suite writes is read completely, and one changed verdict is a difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.suite import Report, differences, read_report

ENTRIES = [
    {"id": "tools-list", "name": "ToolsList", "status": "SUCCESS"},
    {"id": "tools-list", "name": "ToolsList", "status": "SUCCESS"},
    {"id": "priming", "name": "Priming", "status": "WARNING", "errorMessage": "no priming event"},
    {"id": "traffic", "name": "Traffic", "status": "INFO"},
]


def written(folder: Path, entries: list[dict[str, str]], stamp: str = "2026-11-21T10-20-40-426Z") -> Report:
    scenario = folder / f"server-tools-list-{stamp}"
    scenario.mkdir(parents=True)
    (scenario / "checks.json").write_text(json.dumps(entries))
    return read_report(folder)


def test_every_verdict_is_read_and_logged_traffic_is_not(tmp_path: Path) -> None:
    report = written(tmp_path, ENTRIES)
    assert report.counts() == {"SUCCESS": 2, "WARNING": 1}
    assert report.complaints() == "tools-list / priming: WARNING: no priming event"


def test_two_runs_with_the_same_verdicts_agree_whenever_they_ran(tmp_path: Path) -> None:
    first = written(tmp_path / "first", ENTRIES)
    second = written(tmp_path / "second", ENTRIES[::-1], stamp="2026-11-22T00-00-00-000Z")
    assert differences(first, second) == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(ENTRIES[1:], id="a missing check of two with the same id"),
        pytest.param([{**ENTRIES[0], "status": "FAILURE"}, *ENTRIES[1:]], id="another verdict"),
        pytest.param([*ENTRIES, {"id": "more", "name": "More", "status": "SUCCESS"}], id="an added check"),
        pytest.param([], id="no check at all"),
    ],
)
def test_one_changed_verdict_is_a_difference(tmp_path: Path, changed: list[dict[str, str]]) -> None:
    direct = written(tmp_path / "direct", ENTRIES)
    assert differences(direct, written(tmp_path / "gateway", changed))
