"""How a change of policy comes into force: the policy tests pass, and the whole of it is kept as a version.

Every write of policy ends with `publish`, in its own transaction. When a test fails, the write is undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError

from accounts.models import User
from policies import documents
from policies.models import PolicyState, PolicyVersion
from policies.reading import document_now, failing_tests

_is_gathering: ContextVar[bool] = ContextVar("wardgate_policy_gathering", default=False)
_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who changes policy, by which way, and why."""

    author: User | None = None
    source: str = PolicyVersion.Source.SYSTEM
    comment: str = ""


@contextmanager
def gathering() -> Iterator[None]:
    """Let several writes be one version: inside, nothing is published, and whoever opens this publishes afterwards."""
    token = _is_gathering.set(True)
    try:
        yield
    finally:
        _is_gathering.reset(token)


def publish(by: Publisher | None, *, now: datetime) -> PolicyVersion | None:
    """Keep policy as it is now as a version, unless the newest one says the same; None inside `gathering`.

    Call it in the transaction of the change, after the last statement: the number is the one that the data path will
    record its calls with.

    Raises:
        ValidationError: policy tests fail; nothing of the change stays.
    """
    if _is_gathering.get():
        return None
    failing = failing_tests(now=now)
    if failing:
        shown = "; ".join(str(failure) for failure in failing[:_SHOWN_FAILURES])
        raise ValidationError(f"{len(failing)} policy test(s) would fail: {shown}.", code="policy_tests_fail")
    by = by or Publisher()
    document = document_now()
    digest = documents.digest(document)
    latest = PolicyVersion.objects.order_by("-number").first()
    if latest is not None and latest.digest == digest:
        return latest
    number = PolicyState.objects.values_list("version", flat=True).get(pk=1)
    return PolicyVersion.objects.create(
        number=number,
        document=document,
        digest=digest,
        source=by.source,
        author=by.author,
        author_name=by.author.get_username() if by.author is not None else "",
        comment=by.comment[:500],
        created_at=now,
    )
