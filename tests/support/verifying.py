"""The stand-alone verifier, imported from its one file, and exports to try it on."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from typing import Any

from tests.support.servers import ROOT

PATH = ROOT / "deploy" / "wardgate_verify.py"

_spec = importlib.util.spec_from_file_location("wardgate_verify", PATH)
assert _spec is not None and _spec.loader is not None
tool: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)


def verified(lines: Iterable[str], *, witnesses: Iterable[dict[str, Any]] = (), trusted: Iterable[str] = ()) -> Any:
    """Return the verifier's report of an export given as lines."""
    report = tool.Report()
    tool.verify_lines((line.encode() + b"\n" for line in lines), report, list(witnesses), list(trusted))
    return report


def first_problem(report: Any) -> dict[str, Any]:
    """Return the first problem of a report, as the verifier prints it with --json."""
    assert report.problems, "nothing was found"
    return dict(report.problems[0].as_dict())


def is_event(line: str) -> bool:
    """Tell whether a line of an export is an event."""
    return json.loads(line)["type"] == "event"
