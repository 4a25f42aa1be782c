"""The demo does what the gateway tells its clients to do: it tries again, and not for ever."""

from __future__ import annotations

import pytest
from django.core.management.base import CommandError

from gateway_project.demo.tour import Seen
from gateway_project.management.commands import demo
from proxy.errors import FAILURES

pytestmark = pytest.mark.django_db


class Visit:
    """A tour that fails for the first `failures` times."""

    def __init__(self, failures: int, reason: str) -> None:
        self.failures, self.reason, self.tries = failures, reason, 0

    def __call__(self) -> tuple[str, list[Seen]]:
        self.tries += 1
        if self.tries <= self.failures:
            raise BaseExceptionGroup("tour", [ExceptionGroup("session", [RuntimeError(self.reason)])])
        return "2025-11-25", []


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PAUSE_SECONDS", 0)


BUSY = FAILURES["record_unavailable"].text


def test_a_refusal_that_says_to_try_again_is_tried_again() -> None:
    visit = Visit(2, BUSY)
    assert demo._taken("bob", visit)[1:] == ("2025-11-25", [])
    assert visit.tries == 3


def test_it_gives_up_after_three_times_with_what_the_gateway_said() -> None:
    visit = Visit(3, BUSY)
    with pytest.raises(CommandError, match="did not answer bob: NOT EXECUTED"):
        demo._taken("bob", visit)
    assert visit.tries == 3


def test_any_other_failure_is_told_at_once() -> None:
    visit = Visit(1, "the server is not there")
    with pytest.raises(CommandError, match="did not answer bob: the server is not there"):
        demo._taken("bob", visit)
    assert visit.tries == 1
