"""Fields of the forms of policy: weekly windows as lines, JSON with the place of what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from policies.engine.windows import DAYS

_LINE = re.compile(
    r"(?P<days>[a-z]{3}(?:[-,][a-z]{3})*)\s+(?P<from>[0-9]{1,2}:[0-9]{2})\s*-\s*(?P<to>[0-9]{1,2}:[0-9]{2})\s+(?P<zone>\S+)",
    re.IGNORECASE,
)
WINDOW_EXAMPLE = "mon-fri 08:00-18:00 Europe/Berlin"


def code_area(rows: int, placeholder: str = "") -> UnfoldAdminTextareaWidget:
    """Return a text area for something that programs read."""
    attributes = {"rows": rows, "spellcheck": "false", "autocapitalize": "off", "class": "font-mono"}
    return UnfoldAdminTextareaWidget(attrs={**attributes, **({"placeholder": placeholder} if placeholder else {})})


class JsonField(forms.CharField):
    """JSON of one type, with the line and column of what is wrong; nothing is an empty one."""

    def __init__(self, *, of: type, **options: Any) -> None:
        super().__init__(**{"required": False, "strip": False, **options})
        self._of = of

    def prepare_value(self, value: Any) -> Any:
        """Return the text to edit; an empty value is an empty text."""
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False) if value else ""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether what is written differs."""
        return bool((self.prepare_value(initial) or "") != (data or ""))

    def clean(self, value: Any) -> Any:
        """Return the value.

        Raises:
            ValidationError: it is no JSON, or of another type.
        """
        text = super().clean(value)
        if not text.strip():
            return self._of()
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValidationError("It is nested too deeply.", code="not_json") from None
        except json.JSONDecodeError as error:
            raise ValidationError(
                f"Line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}.", code="not_json"
            ) from None
        if not isinstance(found, self._of):
            what = "an object, such as {}" if self._of is dict else "a list, such as []"
            raise ValidationError(f"Write {what}.", code="wrong_type")
        return found


class WindowsField(forms.Field):
    """Weekly windows, one a line: days, from-to on the wall clock, and an IANA time zone."""

    widget = code_area(3, WINDOW_EXAMPLE)

    def prepare_value(self, value: Any) -> Any:
        """Return the lines to edit."""
        if isinstance(value, list):
            return "\n".join(_written(window) for window in value)
        return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether the lines differ."""
        return bool((self.prepare_value(initial) or "").split() != (data or "").split())

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        """Return the windows that were written.

        Raises:
            ValidationError: with every line that is none.
        """
        if isinstance(value, list):
            return value
        windows, problems = [], []
        for number, line in enumerate(str(value or "").splitlines(), start=1):
            if not line.strip():
                continue
            found = _LINE.fullmatch(line.strip())
            days = None if found is None else _days(found["days"].lower())
            if found is None or days is None:
                problems.append(ValidationError(f"Line {number}: write {WINDOW_EXAMPLE}.", code="bad_window"))
                continue
            clock = {"from": found["from"].zfill(5), "to": found["to"].zfill(5)}
            windows.append({"days": days, **clock, "zone": found["zone"]})
        if problems:
            raise ValidationError(problems)
        return windows


def _days(text: str) -> list[str] | None:
    """Return the days that `mon-wed,sat` stands for; None when it names none."""
    found: set[int] = set()
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(day in DAYS for day in ends):
            return None
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        found.update((first + step) % 7 for step in range((last - first) % 7 + 1))
    return [DAYS[day] for day in sorted(found)]


def _written(window: Any) -> str:
    if not isinstance(window, Mapping) or set(window) != {"days", "from", "to", "zone"}:
        return json.dumps(window, ensure_ascii=False)
    return f"{_runs(list(window['days']))} {window['from']}-{window['to']} {window['zone']}"


def _runs(days: list[str]) -> str:
    """Return days as short as they can be written: three or more in a row as a range."""
    if not all(day in DAYS for day in days):
        return ",".join(days)
    numbers = sorted({DAYS.index(day) for day in days})
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = []
    for run in runs:
        names = [DAYS[number] for number in run]
        parts.append(f"{names[0]}-{names[-1]}" if len(names) > 2 else ",".join(names))
    return ",".join(parts)
