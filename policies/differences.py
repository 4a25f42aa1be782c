"""The tables of back-tests and of unused access, for people and for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.http import HttpResponse

from .least_privilege import Line
from .models import BackTest
from .replaying import (
    ARGUMENTS_MASKED,
    CALLER_UNKNOWN,
    CONNECTION_GONE,
    HISTORY_UNKNOWN,
    REQUEST_UNREADABLE,
)
from .tally import MAX_EXAMPLES

COLUMNS: Final = (
    "before", "before_rule", "after", "after_rule", "connection", "method", "name", "issuer", "subject", "count",
)  # fmt: skip
REASONS: Final = {
    ARGUMENTS_MASKED: "a rule looks at arguments that are masked in the record",
    CALLER_UNKNOWN: "the record does not say in which groups the caller was",
    HISTORY_UNKNOWN: "a rule looks at earlier calls that the record does not tell whole",
    REQUEST_UNREADABLE: "the recorded request cannot be read",
    CONNECTION_GONE: "the connection is gone or not active",
    "event_unreadable": "the event cannot be read",
}
"""What is said of calls that could not be judged, by the reason of `replaying`."""

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Counted:
    """A count with its words."""

    words: str
    count: int


def changed_verdicts(test: BackTest) -> list[tuple[str, str, int]]:
    """Return how many calls go from which verdict to which other one, the most first."""
    pairs = [(*key.split(" ", 1), count) for key, count in test.summary.get("verdicts", {}).items()]
    found = [(before, after, count) for before, after, count in pairs if before != after]
    return sorted(found, key=lambda entry: (-entry[2], entry[0], entry[1]))


def reasons(test: BackTest) -> list[Counted]:
    """Return why calls could not be judged, in words."""
    found = [Counted(REASONS.get(code, code), count) for code, count in test.summary.get("reasons", {}).items()]
    return sorted(found, key=lambda entry: -entry.count)


def observed(test: BackTest) -> list[tuple[str, str, int]]:
    """Return what observed rules would have done: effect, rule, how often."""
    pairs = [(*key.split(" ", 1), count) for key, count in test.summary.get("observed", {}).items()]
    return sorted(((effect, rule, count) for effect, rule, count in pairs), key=lambda entry: (-entry[2], entry[1]))


def rows_of(test: BackTest, *, change: str = "") -> list[dict[str, Any]]:
    """Return the groups of differences, or those of one change, such as `allow deny`."""
    rows: list[dict[str, Any]] = test.differences
    return [row for row in rows if not change or f"{row['before']} {row['after']}" == change]


def when(at: float) -> datetime:
    """Return a moment of a row."""
    return datetime.fromtimestamp(at, UTC)


def as_csv(test: BackTest) -> HttpResponse:
    """Return the whole table, with the ids of the example calls."""
    header = [*COLUMNS, *(f"example_{number}" for number in range(1, MAX_EXAMPLES + 1))]
    rows = ([*(row[name] for name in COLUMNS), *(one["call"] for one in row["examples"])] for row in test.differences)
    return csv_response(f"back-test-{test.pk}.csv", header, rows)


def unused_csv(lines: Iterable[Line]) -> HttpResponse:
    """Return lines of a report on unused access as CSV."""
    header = ("holder", "connection", "granted", "used", "calls", "last_used", "unused")
    rows = (
        [
            line.title,
            line.connection,
            len(line.granted),
            len(line.used),
            line.calls,
            "" if line.last_used is None else line.last_used.isoformat(),
            " ".join(line.unused),
        ]
        for line in lines
    )
    return csv_response("unused-access.csv", header, rows)


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> HttpResponse:
    """Return a CSV file whose cells no spreadsheet takes for formulas: names in it come from strangers."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    writer = csv.writer(response)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return response


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
