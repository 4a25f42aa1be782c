"""All that is due becomes recordings: what the task and the command `compact_recordings` both do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from uuid import UUID

from . import recordings
from .models import Recording
from .recordings import Progress, RecordingFailed

logger = logging.getLogger(__name__)

_AT_ONCE = 20_000
_FAILURES = 20
"""After so many in a row the storage is thought to be away, and the rest waits for the next run."""


@dataclass(slots=True)
class Made:
    """What a run did. `raw_bytes` is before compression, `size` what the files have."""

    sealed: int = 0
    failed: int = 0
    events: int = 0
    raw_bytes: int = 0
    size: int = 0

    @property
    def ratio(self) -> float:
        """How many bytes became one."""
        return self.raw_bytes / self.size if self.size else 0.0


def compact_all(
    *,
    now: datetime,
    seconds: float,
    progress: Callable[[str], Progress] | None = None,
    sealed: Callable[[Recording], None] | None = None,
) -> Made:
    """Seal what is due, the oldest first, for about so many seconds; what fails is left for the next run.

    Args:
        now: what is due at this moment.
        seconds: no recording is begun later.
        progress: given a name, returns whom to tell how many events of it are written.
        sealed: told of every recording.
    """
    ends_at = time.monotonic() + seconds
    made = Made()
    recordings.recordings_clear()
    in_a_row = 0
    for of_what, compact in _due(now):
        if time.monotonic() >= ends_at or in_a_row == _FAILURES:
            break
        try:
            row = compact(progress(of_what) if progress else None)
        except RecordingFailed as error:
            in_a_row += 1
            made.failed += 1
            logger.warning("a recording was not sealed", extra={"of": of_what, "reason": str(error)})
            continue
        in_a_row = 0
        if row is not None:
            made.sealed += 1
            made.events += row.events
            made.raw_bytes += row.raw_bytes
            made.size += row.size
            if sealed:
                sealed(row)
    return made


def _due(now: datetime) -> Iterator[tuple[str, Callable[[Progress | None], Recording | None]]]:
    """Yield what to seal, by name; ids only, for rows change while others are sealed."""
    for session_id in list(recordings.sessions_due(now=now).values_list("pk", flat=True)[:_AT_ONCE]):
        yield str(session_id), partial(_session, session_id, now)
    for month in recordings.months_due(now=now):
        yield f"{month:%Y-%m}", partial(_month, month, now)


def _session(session_id: UUID, now: datetime, told: Progress | None) -> Recording | None:
    return recordings.session_compact(session_id=session_id, now=now, progress=told)


def _month(month: date, now: datetime, told: Progress | None) -> Recording | None:
    return recordings.month_compact(month=month, now=now, progress=told)
