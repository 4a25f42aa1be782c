"""One attempt after the other: what is counted is counted before the next attempt is judged.

django-axes looks at the failures, then the password is computed for a third of a second, then the failure is written.
Attempts that arrive together would all be judged before the first of them counts. So an attempt holds its account and
its address while it is judged, on all processes (advisory locks of PostgreSQL, manual section 13.3.5), and a process
judges only a few at once: whoever sends a thousand logins takes neither its processor nor its database connections.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import OperationalError, connection, transaction
from django.http import HttpRequest

from accounts.client_address import address_of
from accounts.exceptions import DomainError

MAX_AT_ONCE: Final = 4
"""Attempts that one process judges or lets wait, at the same time."""
WAIT_MILLISECONDS: Final = 2_000

_places = threading.BoundedSemaphore(MAX_AT_ONCE)


class Busy(DomainError):
    """Too many attempts are judged at this moment. Nothing was judged, and nothing counts as a failure."""

    code = "login_busy"

    def __init__(self) -> None:
        super().__init__("Too many logins are being checked at this moment. Try again.")


@contextmanager
def alone(request: HttpRequest, username: str) -> Iterator[None]:
    """Hold the account `username` and the address of `request` until the attempt is judged and written.

    Raises:
        Busy: others hold them for longer than `WAIT_MILLISECONDS`, or this process has enough to judge.
    """
    if not _places.acquire(blocking=False):
        raise Busy
    try:
        with transaction.atomic():
            _hold(f"account\x00{username}", f"address\x00{address_of(request)}")
            yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == "55P03":
            raise Busy from None
        raise
    finally:
        _places.release()


def _hold(*names: str) -> None:
    # In one order, so that two attempts never wait for each other.
    keys = sorted(
        int.from_bytes(hashlib.sha256(f"wardgate login\x00{name}".encode()).digest()[:8], signed=True) for name in names
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {WAIT_MILLISECONDS}")
        for key in keys:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])
