"""The two threads of a gateway process that keep checkpoints coming and their copies leaving.

They need the database and nothing else: with Celery and Redis away the record is signed all the same. Every gateway
process runs them; an advisory lock, held by a thread's own database session, says which one works. Whoever lost that
session has lost the lock and begins anew, and two that work at once do no harm: a checkpoint's number is written once,
and a sink takes a checkpoint twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, connection

from accounts.exceptions import DomainError

from . import checkpoint_keys, partitions, shipping
from .checkpoints import Chain, CheckpointsDamaged, Due, Outrun, chain_load, checkpoint_write_if_due

logger = logging.getLogger(__name__)

_CHECKPOINT_LOCK = 0x57474350
_SHIPPING_LOCK = 0x57475348
_BUSY_SECONDS = 0.25
_IDLE_SECONDS = 1.0
_STOP_SECONDS = 5.0
_TEND_EVERY = timedelta(hours=1)
_SAY_AGAIN = timedelta(minutes=1)


class Turns:
    """A thread that does `turn` again and again while it holds an advisory lock; what fails is logged and tried again.

    Args:
        name: of the thread.
        lock: the key of the advisory lock.
        turn: returns whether there may be more to do at once. Called with the time.
        begin: called before the first turn after the lock was won.
        clock: returns the time.
    """

    def __init__(
        self,
        name: str,
        lock: int,
        turn: Callable[[datetime], bool],
        *,
        begin: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime],
    ) -> None:
        self._name, self._lock, self._turn, self._begin, self._clock = name, lock, turn, begin, clock
        self._stopped = threading.Event()
        self._held_by: object | None = None
        self._said: tuple[str, datetime] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def leads(self) -> bool:
        """Whether this process does the work."""
        return self._held_by is not None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do one last turn if it is ours to do, and end; returns after some seconds at the latest."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = self._once()
        if self.leads:
            self._once()
        connection.close()

    def _once(self) -> float:
        try:
            if not self._holds():
                return _IDLE_SECONDS
            return _BUSY_SECONDS if self._turn(self._clock()) else _IDLE_SECONDS
        except (DatabaseError, InterfaceError) as error:
            self._say(f"{self._name} waits for the database ({type(error).__name__})", logging.WARNING)
        except DomainError as error:
            self._say(f"{self._name} cannot go on: {error}", logging.CRITICAL)
        except Exception as error:
            self._say(f"{self._name} failed: {type(error).__name__}", logging.CRITICAL)
        self._held_by = None
        connection.close()
        return _IDLE_SECONDS

    def _holds(self) -> bool:
        """Tell whether this thread's session has the lock, and try to get it."""
        connection.ensure_connection()
        if self._held_by is not None and self._held_by is connection.connection:
            return True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [self._lock])
            (is_ours,) = cursor.fetchone()
        self._held_by = connection.connection if is_ours else None
        if is_ours:
            self._begin()
        return bool(is_ours)

    def _say(self, text: str, level: int) -> None:
        now = self._clock()
        if self._said is None or self._said[0] != text or now - self._said[1] > _SAY_AGAIN:
            self._said = (text, now)
            logger.log(level, text)


class Checkpointer:
    """Keeps checkpoints coming, the months of events ahead, and the key from growing old.

    Args:
        due: when a checkpoint is written.
        key_days: age at which the key is replaced.
        clock: returns the time.
    """

    def __init__(self, due: Due, *, key_days: int, clock: Callable[[], datetime]) -> None:
        self._due, self._key_age = due, timedelta(days=key_days).total_seconds()
        self._chain: Chain | None = None
        self._tended_at: datetime | None = None
        self.turns = Turns("checkpoints", _CHECKPOINT_LOCK, self._turn, begin=self._forget, clock=clock)

    def start(self) -> None:
        """Begin."""
        self.turns.start()

    def stop(self) -> None:
        """End; what is not covered yet is covered first, if this process is the one that does it."""
        self._due = Due(1, 0, self._due.idle_seconds)
        self.turns.stop()

    def _forget(self) -> None:
        self._chain = None

    def _turn(self, now: datetime) -> bool:
        chain = self._chain or chain_load()
        # Kept only when nothing went wrong: what a failed turn left in memory may be ahead of the database.
        self._chain = None
        if self._tended_at is None or now - self._tended_at > _TEND_EVERY:
            self._tend(now)
            self._tended_at = now
        try:
            checkpoint = checkpoint_write_if_due(chain=chain, due=self._due, now=now)
        except Outrun:
            return True
        except CheckpointsDamaged:
            logger.critical("no more checkpoints are signed on top of a record that was changed")
            raise
        self._chain = chain
        return chain.has_news or checkpoint is not None

    def _tend(self, now: datetime) -> None:
        age = checkpoint_keys.present_key_age(now=now)
        if age is not None and age > self._key_age:
            checkpoint_keys.checkpoint_key_rotate(now=now)
        try:
            partitions.partitions_tend(now=now)
        except DatabaseError:
            # Without its month an event goes to the default partition, so this can wait.
            logger.exception("the partitions of the next months cannot be made")


class Shipper:
    """Delivers checkpoints to their sinks.

    Args:
        clock: returns the time.
    """

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="wardgate-sink")
        self.turns = Turns("shipping", _SHIPPING_LOCK, self._turn, clock=clock)

    def start(self) -> None:
        """Begin."""
        self.turns.start()

    def stop(self) -> None:
        """Deliver what is waiting if sinks take it at once, and end."""
        self.turns.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _turn(self, now: datetime) -> bool:
        return shipping.checkpoints_ship(pool=self._pool, now=now) >= shipping.BATCH
