"""The held calls' door to the database: requests, claims and the patience of clients."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.db import DatabaseError

from accounts.exceptions import DomainError
from accounts.vault import CannotOpen
from policies import services
from policies.approval_errors import PolicyMoved
from policies.approval_reading import (
    has_run,
    requests_moved,
    run_values,
    session_is_over,
    standing_values,
    task_values,
    under_way,
)
from policies.engine import binding
from policies.engine.verdicts import Hold
from policies.models import ApprovalRequest
from policies.services import HeldCall
from proxy.held import CannotAsk, Standing, Unreachable
from proxy.held_tasks import TaskState
from proxy.ports import Call
from proxy.protocol import json_strict, mcp
from proxy.recorder import unpacked
from proxy.store import Store

P = ParamSpec("P")
T = TypeVar("T")
_NOTED_AT_ONCE = 500
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL character in JSON, which PostgreSQL keeps in no text."""


class Moved(Exception):
    """Policy or locks in the database are newer than those under which the run was looked at."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One run that this call may start: the use that its intent consumes, and the bytes that were approved."""

    use_id: UUID
    code: str
    body: bytes = field(repr=False)


def asked_for(call: Call) -> dict[str, Any]:
    """Return what is asked for, as an approver is shown it: the arguments, and whatever else the message says.

    Answers to what the upstream had asked, and its `requestState`, are part of what runs; `_meta` is not, nor is our
    own state with which a client comes back.
    """
    message = call.message
    params = message.params if isinstance(message, mcp.Request) else {}
    ours = {"_meta", "name", "arguments"} if call.kind in {"tool", "prompt"} else {"_meta"}
    more = {name: value for name, value in params.items() if name not in ours and value != {}}
    if call.continues:
        more.pop("requestState", None)
    if call.kind not in {"tool", "prompt"}:
        return more
    arguments = dict(call.facts(0.0).arguments or {})
    return {"arguments": arguments, **more} if more else arguments


class ApprovalStore:
    """Asks the services of approvals, each time in a thread of `store`.

    Args:
        store: whose threads are used.
        instance_id: of this gateway process.
        public_url: where people reach the console.
    """

    def __init__(self, store: Store, *, instance_id: UUID, public_url: str) -> None:
        self._store, self._instance_id, self._public_url = store, instance_id, public_url

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._store.run(work, *args, **kwargs)
        except DatabaseError:
            raise Unreachable from None

    async def open(self, call: Call, hold: Hold, bound: bytes, vehicle: str) -> Standing:
        """Open the request of a held call, or join the open one.

        Raises:
            CannotAsk: there are too many, or the call cannot be kept.
            Unreachable: the database cannot be used.
            MaskFailed: the arguments cannot be masked.
            NotCanonical: the arguments have no canonical form.
        """
        arguments = asked_for(call)
        masked = call.policy.masker.mask(json_strict.encode({"arguments": arguments}))
        if _NUL.search(masked.value):
            raise binding.NotCanonical("a NUL character cannot be kept")
        identity, session = call.identity, call.ref.session
        held = HeldCall(
            issuer=identity.issuer,
            subject=identity.subject,
            client_id=identity.client_id or "",
            client_name=call.program[0],
            client_version=call.program[1],
            user_agent=call.agent,
            address=call.address,
            connection_id=call.route.connection_id,
            session_id=UUID(bytes=session),
            call_id=UUID(bytes=call.call_id),
            method=call.method,
            name=call.name or "",
            arguments=json.loads(masked.value)["arguments"],
            masked_count=sum(dict(masked.hits).values()),
            arguments_sha256=sha256(binding.canonical(arguments)).digest(),
            binding=bound,
            body=call.outbound,
            rule_name=hold.rule,
            why=hold.reason,
            attributes=hold.attributes,
            policy_version=call.route.policy_version,
            vehicle=vehicle,
        )
        try:
            return await self._run(self._opened, held)
        except DomainError as error:
            raise CannotAsk(error.code, str(error)) from None

    def _opened(self, held: HeldCall) -> Standing:
        request = services.request_open(held=held, now=datetime.now(UTC))
        return self._standing(standing_values(request))

    async def look(self, standing: Standing) -> Standing:
        """Return where the request stands now."""
        moved = await self.moved({standing.request_id}, frozenset(), 0.0)
        return moved[0] if moved else standing

    async def moved(self, asked: Collection[UUID], waiting: Collection[UUID], since: float = 0.0) -> list[Standing]:
        """Return where the requests `asked` for stand, and those of `waiting` that moved after `since` (epoch)."""
        moment = datetime.fromtimestamp(since, UTC)
        found = await self._run(requests_moved, asked=asked, waiting=waiting, since=moment)
        return [self._standing(values) for values in found]

    async def note_waiting(self, requests: Collection[UUID]) -> None:
        """Note that clients wait for these requests right now; some at a time, so that others get a thread between."""
        ids = list(requests)
        for start in range(0, len(ids), _NOTED_AT_ONCE):
            some = ids[start : start + _NOTED_AT_ONCE]
            await self._run(services.requests_waiting, request_ids=some, now=datetime.now(UTC))

    async def find(self, request_id: UUID) -> Standing | None:
        """Return where a request stands; None when there is none."""
        found = await self.moved({request_id}, frozenset())
        return found[0] if found else None

    async def claim(self, request_id: UUID, bound: bytes, call: Call, versions: tuple[int, int]) -> Claim | None:
        """Claim one run, looked at under these `versions` of policy and locks; None when there is none to have.

        Raises:
            Moved: policy or locks are newer.
            Unreachable: the database cannot be used.
        """
        try:
            claimed = await self._run(
                services.run_claim,
                request_id=request_id,
                binding=bound,
                call_id=UUID(bytes=call.call_id),
                session_id=UUID(bytes=call.ref.session),
                instance_id=self._instance_id,
                versions=versions,
                now=datetime.now(UTC),
            )
        except PolicyMoved:
            raise Moved from None
        except (CannotOpen, DomainError):
            return None
        return None if claimed is None else Claim(claimed.use_id, claimed.code, claimed.body)

    async def release(self, use_id: UUID) -> None:
        """Give a claim back of which nothing has left."""
        await self._run(services.use_release, use_id=use_id, now=datetime.now(UTC))

    async def run(self, request_id: UUID, call_id: bytes) -> TaskState | None:
        """Return what became of the run of this call, or else of the newest one of its request."""
        values = await self._run(run_values, request_id=request_id, call_id=UUID(bytes=call_id))
        return None if values is None else self._task(values)

    async def has_run(self, call_id: bytes) -> bool:
        """Return whether a run was claimed for this very call."""
        return await self._run(has_run, call_id=UUID(bytes=call_id))

    async def is_over(self, session: bytes) -> bool:
        """Return whether the session has ended."""
        return await self._run(session_is_over, session_id=UUID(bytes=session))

    async def under_way(self, bound: bytes) -> Standing | None:
        """Return the request under which an equal call runs, or has run for a client that was gone, if any does."""
        values = await self._run(under_way, binding=bound, now=datetime.now(UTC))
        return None if values is None else self._standing(values)

    async def owe(self, call_id: bytes) -> None:
        """Note that the client of this call was gone when its answer came."""
        await self._run(services.run_owe, call_id=UUID(bytes=call_id))

    async def paid(self, request_id: UUID) -> None:
        """Note that the answer of the request's run has reached a client."""
        await self._run(services.run_pay, request_id=request_id)

    async def begin_legs(self, request_id: UUID) -> UUID:
        """Begin to count the legs of a client that comes back to its call."""
        return await self._run(services.legs_begin, request_id=request_id, now=datetime.now(UTC))

    async def begin_leg(self, legs: UUID, leg: int) -> bool:
        """Begin a leg; False when it was begun before, or is not the next."""
        return await self._run(services.leg_begin, legs_id=legs, leg=leg, now=datetime.now(UTC))

    async def knock(self, text: str) -> None:
        """Tell all gateway processes."""
        await self._run(services.knock, text=text)

    async def withdraw(self, code: str, call: Call) -> None:
        """Take the request of `call`'s own principal back; one that has ended stays as it is."""
        await self._run(_withdrawn, code, call.identity.issuer, call.identity.subject)

    async def task(self, code: str) -> tuple[TaskState | None, str]:
        """Return the state of a task, and what was called."""
        found = await self._run(task_values, code=code)
        if found is None:
            return None, ""
        what = found.pop("name")
        return self._task(found), what

    def _task(self, values: dict[str, Any]) -> TaskState:
        standing, message = values.pop("standing"), values.pop("message")
        packed = None if message is None else unpacked(message)
        return TaskState(standing=self._standing(standing), message=packed, **values)

    async def kept(self, request_id: UUID) -> tuple[bytes, bytes] | None:
        """Return the session and the bytes of an approved call; None when they cannot be opened."""
        try:
            return await self._run(services.request_kept, request_id=request_id)
        except (CannotOpen, DomainError):
            return None

    async def reconcile(self) -> None:
        """Settle the claims of processes that have ended."""
        await self._run(services.uses_reconcile, now=datetime.now(UTC))

    async def patience(self, call: Call, kind: str) -> float | None:
        """Return for how long this client, one of `kind`, is held, when that was learned or set; seconds."""
        return await self._run(services.patience_of, kind=kind, **_client(call))

    async def gave_up(self, call: Call, held_seconds: float) -> None:
        """Note that the client left after `held_seconds` without an answer."""
        await self._run(services.patience_learn, held_seconds=held_seconds, now=datetime.now(UTC), **_client(call))

    def _standing(self, values: Mapping[str, Any]) -> Standing:
        return Standing(url=f"{self._public_url}/approvals/{values['code']}/", **values)


def _withdrawn(code: str, issuer: str, subject: str) -> None:
    request = ApprovalRequest.objects.filter(code=code, principal__issuer=issuer, principal__subject=subject).first()
    if request is not None:
        with contextlib.suppress(DomainError):
            services.request_withdraw(
                request_id=request.pk, principal_id=request.principal_id, reason="taken back", now=datetime.now(UTC)
            )


def _client(call: Call) -> dict[str, Any]:
    return {
        "issuer": call.identity.issuer,
        "subject": call.identity.subject,
        "connection_id": call.route.connection_id,
        "client_name": call.program[0],
        "user_agent": call.agent,
    }
