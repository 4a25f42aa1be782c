"""The held calls' door to the database: requests, claims and the patience of clients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import orjson
from django.db import DatabaseError

from accounts.exceptions import DomainError
from accounts.vault import CannotOpen
from policies import services
from policies.approval_reading import requests_moved, standing_values, task_values
from policies.engine import binding
from policies.engine.verdicts import Hold
from policies.models import ApprovalRequest
from policies.services import HeldCall
from proxy.held import CannotAsk, Standing, Unreachable
from proxy.held_tasks import TaskState
from proxy.ports import Call
from proxy.recorder import unpacked
from proxy.store import Store

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claim:
    """One run that this call may start: the use that its intent consumes, and the bytes that were approved."""

    use_id: UUID
    code: str
    body: bytes = field(repr=False)


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

    async def open(self, call: Call, hold: Hold, bound: bytes) -> Standing:
        """Open the request of a held call, or join the open one.

        Raises:
            CannotAsk: there are too many, or the call cannot be kept.
            Unreachable: the database cannot be used.
            MaskFailed: the arguments cannot be masked.
            NotCanonical: the arguments have no canonical form.
        """
        arguments = dict(call.facts(0.0).arguments or {})
        masked = call.policy.masker.mask(orjson.dumps({"arguments": arguments}))
        identity, session = call.identity, call.ref.session
        held = HeldCall(
            issuer=identity.issuer,
            subject=identity.subject,
            client_id=identity.client_id or "",
            client_name=call.client[0],
            client_version=call.client[1],
            user_agent=call.agent,
            address=call.address,
            connection_id=call.route.connection_id,
            session_id=UUID(bytes=session),
            call_id=UUID(bytes=call.call_id),
            method=call.method,
            name=call.name or "",
            arguments=orjson.loads(masked.value)["arguments"],
            masked_count=sum(dict(masked.hits).values()),
            arguments_sha256=sha256(binding.canonical(arguments)).digest(),
            binding=bound,
            body=call.outbound,
            rule_name=hold.rule,
            why=hold.reason,
            attributes=hold.attributes,
            policy_version=call.route.policy_version,
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
        moved = await self.moved({standing.request_id}, frozenset())
        return moved[0] if moved else standing

    async def moved(self, asked: Collection[UUID], waiting: Collection[UUID]) -> list[Standing]:
        """Return where the requests `asked` for stand, and those of `waiting` that have moved lately."""
        found = await self._run(requests_moved, asked=asked, waiting=waiting, now=datetime.now(UTC))
        return [self._standing(values) for values in found]

    async def waiting(self, requests: Collection[UUID]) -> None:
        """Note that clients wait for these requests right now."""
        await self._run(services.requests_waiting, request_ids=requests, now=datetime.now(UTC))

    async def claim(self, request_id: UUID, bound: bytes, call_id: bytes) -> Claim | None:
        """Claim one run; None when there is none to have.

        Raises:
            Unreachable: the database cannot be used.
        """
        try:
            claimed = await self._run(
                services.use_claim,
                request_id=request_id,
                binding=bound,
                call_id=UUID(bytes=call_id),
                instance_id=self._instance_id,
                now=datetime.now(UTC),
            )
        except (CannotOpen, DomainError):
            return None
        return None if claimed is None else Claim(claimed.use_id, claimed.code, claimed.body)

    async def release(self, use_id: UUID) -> None:
        """Give a claim back of which nothing has left."""
        await self._run(services.use_release, use_id=use_id, now=datetime.now(UTC))

    async def withdraw(self, code: str, call: Call) -> None:
        """Take the request of `call`'s own principal back; one that has ended stays as it is."""
        await self._run(_withdrawn, code, call.identity.issuer, call.identity.subject)

    async def task(self, code: str) -> tuple[TaskState | None, str]:
        """Return the state of a task, and what was called."""
        found = await self._run(task_values, code=code)
        if found is None:
            return None, ""
        what, values = found.pop("name"), found.pop("standing")
        message = found.pop("message")
        packed = None if message is None else unpacked(message)
        return TaskState(standing=self._standing(values), message=packed, **found), what

    async def kept(self, request_id: UUID) -> tuple[bytes, bytes] | None:
        """Return the session and the bytes of an approved call; None when they cannot be opened."""
        try:
            return await self._run(services.request_kept, request_id=request_id)
        except (CannotOpen, DomainError):
            return None

    async def reconcile(self) -> None:
        """Settle the claims of processes that have ended."""
        await self._run(services.uses_reconcile, now=datetime.now(UTC))

    async def patience(self, call: Call) -> float | None:
        """Return for how long this kind of client is held, when that was learned or set; seconds."""
        return await self._run(services.patience_of, now=datetime.now(UTC), **_client(call))

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
        "client_name": call.client[0],
        "user_agent": call.agent,
    }
