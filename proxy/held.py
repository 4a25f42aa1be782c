"""Where a held call stands: the values that the data path and the database exchange about it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Standing:
    """One approval request, as the call that waits for it sees it. Times are epoch seconds, 0 when there is none."""

    request_id: UUID
    code: str
    state: str
    url: str
    rule: str
    waits_for: str
    expires_at: float
    opened_at: float = 0.0
    usable_until: float = 0.0
    decided_at: float = 0.0
    decided_by: str = ""
    reason: str = ""
    needs_poller: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may still come to a run."""
        return self.state in {"held", "approved"}


class Unreachable(Exception):
    """The database cannot be used."""


class CannotAsk(Exception):
    """Nobody can be asked about this call; `text` says why, for the caller."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code, self.text = code, text
