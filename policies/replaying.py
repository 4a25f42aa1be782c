"""Recorded calls decided again, by other policy: what a back-test asks for each call.

It asks the engine the question that the data path asked, with what the record says of it: who called, from where and
when, with which arguments, after what. What the record does not say is never guessed. Arguments are recorded masked, so
a rule that looks at a masked one may match or not; the verdict is only told when it is the same either way. What a
caller did before is built up again from the calls in their order, as the policy under test would have let them through.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final, cast

import orjson

from sessions.recorded import Answered, Caller, Decided

from .engine.facts import Facts, History, Past
from .engine.reads import arguments_read
from .engine.rules import Call, ConnectionPolicy, Decision, Grant, Kind, Observed, Rule, decision
from .engine.verdicts import Effect
from .rehearsal import Rehearsal, Somebody, kind_of

CALLER_UNKNOWN: Final = "caller_not_recorded"
_CLAIMS = re.compile(r"\bidentity\s*\.\s*claims\b")
ARGUMENTS_MASKED: Final = "arguments_masked"
REQUEST_UNREADABLE: Final = "request_unreadable"
HISTORY_UNKNOWN: Final = "history_not_recorded"
CONNECTION_GONE: Final = "connection_gone"
OUTSIDE_POLICY: Final = frozenset({"unknown-tool", "tool-review", "locked", "connection_locked", "token_revoked"})
"""Rules by which calls are denied whatever policy says: the catalogue, and locks."""

_CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
_PLANS, _ANSWERS = 50_000, 100_000
_VALUES, _VALUE_CHARACTERS = 50, 4096


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a narrowed token left of its caller's access."""

    connection: str
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What policy says of a recorded call; `why` says why that cannot be told, and then there is no effect."""

    effect: str = ""
    rule: str = ""
    why: str = ""
    observed: tuple[Observed, ...] = ()


@dataclass(slots=True)
class _Done:
    """An earlier call, like `facts.Past`; the size of its answer is learnt later."""

    at: float
    connection: str
    name: str
    labels: tuple[str, ...]
    values: Mapping[str, str]
    bytes: int = 0


@dataclass(slots=True)
class _Lately:
    """What one caller did lately, and which arguments of it are not known."""

    calls: deque[_Done] = field(default_factory=deque)
    blurred_until: float = 0.0


@dataclass(frozen=True, slots=True)
class HistoryBounds:
    """How far back a history goes: seconds, and calls."""

    seconds: float
    calls: int


@dataclass(slots=True)
class _Plan:
    """All that is the same for the calls of one caller to one name: who it is, which rules speak, what they look at."""

    policy: ConnectionPolicy
    somebody: Somebody
    asked: Call
    rules: tuple[Rule, ...]
    looks_at: frozenset[str]
    is_timed: bool
    why: str = ""
    judged: Judged | None = None
    answers: dict[bytes, Judged] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether nothing but caller and name decides."""
        return not self.is_timed and not self.looks_at

    @property
    def depends_on_arguments_alone(self) -> bool:
        """Whether besides them only the arguments decide."""
        return not self.is_timed and self.looks_at == {"args"}


class Replayer:
    """Decides recorded calls by the policy of a rehearsal; give it calls in the order of the record.

    Args:
        rehearsal: the policy under test.
        taints: by connection slug, the labels that calls of any of its tools leave behind.
        replacements: by masking pattern, what stands for what it hit, where that is not the default.
        bounds: of the history that rules look at.
    """

    def __init__(
        self,
        rehearsal: Rehearsal,
        *,
        taints: Mapping[str, tuple[str, ...]],
        replacements: Mapping[str, str],
        bounds: HistoryBounds,
    ) -> None:
        self._rehearsal, self._taints, self._bounds = rehearsal, taints, bounds
        self._replacements = replacements
        self._plans: dict[tuple[str, str, str, str, str, str | None, Kind | None], _Plan] = {}
        self._answers_count = 0
        self._variants: dict[tuple[str, frozenset[str], bool], ConnectionPolicy] = {}
        self._read: dict[str, frozenset[str] | None] = {}
        self._lately: dict[tuple[str, str, str], _Lately] = {}
        self._unsure: dict[tuple[str, str], float] = {}
        self._open: dict[Any, _Done] = {}
        rows = rehearsal.rows
        self.needs_history = rows.needs_history()
        conditions = [*(row.condition for row in rows.guardrails), *(row.condition for row in rows.grants)]
        self.needs_requests = self.needs_history or any("args" in text or "client" in text for text in conditions)
        self._counts_values = any("distinct" in text for text in conditions)

    def prime(self, call: Decided) -> None:
        """Take a call from before the time under test into the history, as it was decided then."""
        if self.needs_history and call.verdict != Effect.DENY:
            self._add(call, _kind(call), _request(call))

    def answered(self, answer: Answered) -> None:
        """Take the size of an answer into the history."""
        done = self._open.pop(answer.call_id, None)
        if done is not None:
            done.bytes = answer.bytes

    def judge(self, call: Decided) -> Judged:
        """Return what the policy says of `call`, and take the call into the history unless it is denied.

        Raises:
            CaseRefused: the policy of the connection does not compile.
        """
        if call.connection not in self._rehearsal.connections:
            return Judged(why=CONNECTION_GONE)
        plan = self._plan(call)
        if plan.judged is not None:
            judged = plan.judged
        elif plan.why:
            judged = Judged(why=plan.why)
        elif plan.is_settled:
            judged = plan.judged = _judged(decision(plan.policy, plan.somebody, plan.asked, Facts(call.at)))
        else:
            judged = self._asked(plan, call)
        # A call of which it cannot be told went on as it did then.
        if self.needs_history and plan.asked.kind is not None and (judged.effect or call.verdict) != Effect.DENY:
            self._add(call, plan.asked.kind, _request(call))
        return judged

    def _plan(self, call: Decided) -> _Plan:
        caller = call.caller
        kind = _kind(call)
        key = (call.connection, caller.tag, caller.issuer, caller.subject, call.method, call.name, kind)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
                self._answers_count = 0
            plan = self._plans[key] = self._made(call, kind)
        return plan

    def _made(self, call: Decided, kind: Kind | None) -> _Plan:
        policy = self._rehearsal.policy_of(call.connection)
        somebody = _somebody(call.caller)
        asked = Call(call.method, kind, call.name)
        spoken, matching = policy.guardrail(asked)
        rules = () if spoken is not None else policy.about(somebody, asked, matching)
        grants = policy.grants_of(somebody)
        conditions = [*(rule.condition for rule in rules), *(grant.condition for grant in grants)]
        uses = frozenset(name for condition in conditions if condition is not None for name in condition.uses)
        is_timed = "request" in uses or any(
            grant.valid_from is not None or grant.valid_until is not None or grant.windows for grant in grants
        )
        looks_at = uses & {"args", "client", "session"}
        if any(grant.networks.networks for grant in grants):
            looks_at |= {"address"}
        why = "" if call.caller.is_known or not _asks_who(policy.grants, matching) else CALLER_UNKNOWN
        if any(condition is not None and _CLAIMS.search(condition.source) for condition in conditions):
            # The record does not hold the claims of tokens.
            why = CALLER_UNKNOWN
        return _Plan(policy, somebody, asked, rules, looks_at, is_timed, why)

    def _asked(self, plan: _Plan, call: Decided) -> Judged:
        request = _request(call) if plan.looks_at & {"args", "client"} else {}
        arguments = _arguments(request, plan.asked.kind)
        if arguments is None:
            return Judged(why=REQUEST_UNREADABLE)
        masked = self._masked(call, arguments) if "args" in plan.looks_at else frozenset()
        answers = _answers(request)
        memo = b""
        if plan.depends_on_arguments_alone and masked is not None and not masked and not answers:
            memo = orjson.dumps(arguments, option=orjson.OPT_NON_STR_KEYS)
            if (known := plan.answers.get(memo)) is not None:
                return known
        history, unsure = self._history(plan, call)
        unknown = self._unknown(plan, masked, unsure)
        facts = Facts(call.at, call.caller.address, *_client(request), arguments, history, answers)
        if unknown:
            return self._either_way(plan, facts, unknown, unsure=unsure)
        judged = _judged(decision(plan.policy, plan.somebody, plan.asked, facts))
        if memo:
            self._remember(plan, memo, judged)
        return judged

    def _remember(self, plan: _Plan, memo: bytes, judged: Judged) -> None:
        if self._answers_count >= _ANSWERS:
            for other in self._plans.values():
                other.answers.clear()
            self._answers_count = 0
        plan.answers[memo] = judged
        self._answers_count += 1

    # What is not known.

    def _masked(self, call: Decided, arguments: Mapping[str, Any]) -> frozenset[str] | None:
        """Return the names of the arguments that are masked in the record; None when it may be any."""
        hits = call.request_hits
        if hits is not None and not hits:
            return frozenset()
        patterns = self._replacements.keys() if hits is None else hits
        marks = {f"[MASKED:{name}]" for name in patterns} | {
            self._replacements[name] for name in patterns if self._replacements.get(name)
        }
        if hits is None:
            marks.add("[MASKED:")
        found: set[str] = set()
        for name, value in arguments.items():
            if any(mark in name for mark in marks):
                return None
            if _holds(value, marks):
                found.add(name)
        if hits and not found and not _holds(_outside(call), marks):
            return None
        return frozenset(found)

    def _unknown(self, plan: _Plan, masked: frozenset[str] | None, unsure: bool) -> frozenset[str]:
        """Return the ids of the rules of which it is not known whether they match."""
        found: set[str] = set()
        for rule in plan.rules:
            condition = rule.condition
            if condition is None:
                continue
            if condition.needs_arguments and masked != frozenset():
                read = self._arguments_read(condition.source)
                if read is None or masked is None or read & masked:
                    found.add(rule.id)
            if unsure and condition.needs_history:
                found.add(rule.id)
        return frozenset(found)

    def _arguments_read(self, source: str) -> frozenset[str] | None:
        if source not in self._read:
            self._read[source] = arguments_read(source)
        return self._read[source]

    def _either_way(self, plan: _Plan, facts: Facts, unknown: frozenset[str], *, unsure: bool) -> Judged:
        """Return the verdict when it is the same whether the rules `unknown` match or not.

        Of everything that these rules may do, one end is that all that deny or hold deny, for a condition that fails
        does, and none allows; the other is that none denies or holds and all allow. Verdicts lie in between.
        """
        strict = decision(self._variant(plan, unknown, is_strict=True), plan.somebody, plan.asked, facts)
        loose = decision(self._variant(plan, unknown, is_strict=False), plan.somebody, plan.asked, facts)
        if strict.verdict.effect is loose.verdict.effect:
            return Judged(loose.verdict.effect.value, loose.verdict.rule, observed=loose.observed)
        return Judged(why=HISTORY_UNKNOWN if unsure else ARGUMENTS_MASKED)

    def _variant(self, plan: _Plan, unknown: frozenset[str], *, is_strict: bool) -> ConnectionPolicy:
        key = (plan.policy.connection.slug, unknown, is_strict)
        found = self._variants.get(key)
        if found is None:
            rules: list[Rule] = []
            for rule in plan.policy.rules:
                if rule.id not in unknown:
                    rules.append(rule)
                elif not rule.is_observed and (rule.effect is Effect.ALLOW) is not is_strict:
                    effect = Effect.DENY if is_strict else Effect.ALLOW
                    rules.append(replace(rule, condition=None, effect=effect))
            found = self._variants[key] = replace(plan.policy, rules=tuple(rules))
        return found

    # What happened before.

    def _history(self, plan: _Plan, call: Decided) -> tuple[History | None, bool]:
        """Return what the caller did before, and whether that is not surely all of it."""
        if "session" not in plan.looks_at or plan.asked.kind is None:
            return None, False
        caller = call.caller
        lately = self._lately.get(_whose(caller))
        unsure = call.at < self._unsure.get((caller.issuer, caller.subject), 0.0)
        if lately is None:
            return History(), unsure
        self._forget(lately, call.at)
        unsure = unsure or (self._counts_values and call.at < lately.blurred_until)
        if len(lately.calls) > self._bounds.calls:
            return None, unsure
        return History(cast("Sequence[Past]", lately.calls)), unsure

    def _add(self, call: Decided, kind: Kind | None, request: Any) -> None:
        if kind is None:
            return
        caller = call.caller
        if not caller.is_known:
            self._unsure[caller.issuer, caller.subject] = call.at + self._bounds.seconds
            return
        lately = self._lately.setdefault(_whose(caller), _Lately())
        self._forget(lately, call.at)
        arguments = _arguments(request, kind)
        if arguments is None or self._masked(call, arguments) != frozenset():
            lately.blurred_until = call.at + self._bounds.seconds
        done = _Done(call.at, call.connection, call.name or "", self._labels(call, kind), self._values(arguments or {}))
        lately.calls.append(done)
        # One more than the bound is enough to know that it is exceeded.
        if len(lately.calls) > self._bounds.calls + 1:
            lately.calls.popleft()
        if len(self._open) >= _PLANS:
            self._open.clear()
        self._open[call.call_id] = done

    def _forget(self, lately: _Lately, now: float) -> None:
        oldest = now - self._bounds.seconds
        while lately.calls and lately.calls[0].at < oldest:
            lately.calls.popleft()

    def _labels(self, call: Decided, kind: Kind) -> tuple[str, ...]:
        own: tuple[str, ...] = ()
        if kind == "tool" and call.connection in self._rehearsal.connections:
            connection_id, _ = self._rehearsal.connections[call.connection]
            own = self._rehearsal.rows.taints.get(connection_id, {}).get(call.name or "", ())
        return tuple(sorted({*self._taints.get(call.connection, ()), *own}))

    def _values(self, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        if not self._counts_values:
            return {}
        found: dict[str, str] = {}
        for name, value in arguments.items():
            if len(found) == _VALUES:
                break
            if isinstance(value, str | int | float | bool) and len(name) <= 128:
                text = f"{type(value).__name__}:{value}"[:_VALUE_CHARACTERS]
                found[name] = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return found


def _judged(found: Decision) -> Judged:
    return Judged(found.verdict.effect.value, found.verdict.rule, observed=found.observed)


def _whose(caller: Caller) -> tuple[str, str, str]:
    return caller.issuer, caller.subject, caller.client_id


def _kind(call: Decided) -> Kind | None:
    request = call.request() if call.method == "completion/complete" else None
    params = request.get("params") if isinstance(request, dict) else None
    return kind_of(call.method, params if isinstance(params, dict) else {})


def _somebody(caller: Caller) -> Somebody:
    return Somebody(
        issuer=caller.issuer,
        subject=caller.subject,
        groups=caller.groups,
        kind=caller.kind,
        client_id=caller.client_id,
        actors=caller.actors,
        audiences=caller.audiences,
        narrowing=None if caller.narrowing is None else Narrowed(*caller.narrowing),
    )


def _asks_who(grants: Sequence[Grant], rules: Sequence[Rule]) -> bool:
    """Tell whether more than issuer and subject of a caller may decide."""
    if any(grant.group is not None or not grant.is_plain for grant in grants):
        return True
    return any(
        rule.groups or (rule.condition is not None and rule.condition.uses & {"identity", "client", "request"})
        for rule in rules
    )


def _request(call: Decided) -> Any:
    """Return the request; one without a body, such as a GET, is empty, and one that cannot be read is None."""
    return call.request() if call.payload is not None or call.is_payload_left else {}


def _arguments(request: Any, kind: Kind | None) -> Mapping[str, Any] | None:
    """Return the arguments as the data path takes them from a request; None when the request cannot be read."""
    if not isinstance(request, dict):
        return None
    if "id" not in request or "method" not in request:
        return {}
    params = request.get("params", {})
    if not isinstance(params, dict):
        return {}
    found = params.get("arguments", {}) if kind in {"tool", "prompt"} else params
    return found if isinstance(found, dict) else {}


def _answers(request: Any) -> Mapping[str, Any]:
    """Return what the client answers to questions of the tool (MCP 2026-07-28)."""
    params = request.get("params") if isinstance(request, dict) else None
    found = params.get("inputResponses") if isinstance(params, dict) else None
    return found if isinstance(found, dict) else {}


def _client(request: Any) -> tuple[str, str]:
    """Return name and version that the client gives itself in the request."""
    params = request.get("params") if isinstance(request, dict) else None
    if not isinstance(params, dict):
        return "", ""
    meta = params.get("_meta")
    info = (meta.get(_CLIENT_INFO) if isinstance(meta, dict) else None) or params.get("clientInfo")
    if not isinstance(info, dict):
        return "", ""
    name, version = (value if isinstance(value := info.get(key), str) else "" for key in ("name", "version"))
    return name, version


def _outside(call: Decided) -> Any:
    """Return what a request says besides its arguments."""
    request = call.request()
    if not isinstance(request, dict) or not isinstance(request.get("params"), dict):
        return request
    return {**request, "params": {name: value for name, value in request["params"].items() if name != "arguments"}}


def _holds(value: Any, marks: set[str]) -> bool:
    """Tell whether any text in `value` holds one of `marks`."""
    if isinstance(value, str):
        return any(mark in value for mark in marks)
    if isinstance(value, dict):
        return any(_holds(name, marks) or _holds(inner, marks) for name, inner in value.items())
    if isinstance(value, list):
        return any(_holds(inner, marks) for inner in value)
    return False
