"""From a pack to the rows of its guardrails, and the proof that they do what the pack says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from .compile import GrantRow, GuardrailRow, compile_connection
from .exceptions import PatternRefused
from .facts import ConnectionFacts, Facts, History, ToolFacts
from .guardrail_packs import GuardrailPack, PackCase, Parameter
from .narrowing import Narrowing
from .rules import Call, Kind, decide
from .windows import zone_named

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,4})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_KINDS: Mapping[str, Kind] = {"tools/call": "tool", "resources/read": "resource", "prompts/get": "prompt"}


@dataclass(frozen=True, slots=True)
class Failed:
    """A case of a pack that did not end as the pack says."""

    case: PackCase
    effect: str
    rule: str


def values_of(pack: GuardrailPack, given: Mapping[str, object]) -> dict[str, str]:
    """Return the value of each parameter of `pack`, the default where `given` has none.

    Raises:
        PatternRefused: at the parameter that is unknown or wrong.
    """
    known = {parameter.name: parameter for parameter in pack.parameters}
    for name in given:
        if name not in known:
            raise PatternRefused(str(name)[:40], f"there is no such parameter; there are {', '.join(known) or 'none'}")
    return {name: _value(parameter, given.get(name)) for name, parameter in known.items()}


def _value(parameter: Parameter, given: object) -> str:
    if given is None or given == "":
        return parameter.default
    text = str(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else ""
    if parameter.kind == "number" and _NUMBER.fullmatch(text) is None:
        raise PatternRefused(parameter.name, "write a number, such as 100")
    if parameter.kind == "zone" and zone_named(text) is None:
        raise PatternRefused(parameter.name, "the zone is not in the IANA database; write one such as Europe/Berlin")
    if parameter.kind == "name" and _NAME.fullmatch(text) is None:
        raise PatternRefused(parameter.name, "write the name of an argument")
    return text


def rows_of(
    pack: GuardrailPack, values: Mapping[str, str], *, scope: str = "", is_observed: bool = False
) -> list[GuardrailRow]:
    """Return the rows of `pack`; `scope` is put behind the names, so that a pack can be installed at several places."""
    ending = f" ({scope})" if scope else ""
    return [
        GuardrailRow(
            id=f"{pack.id}:{number}",
            name=f"{rule.name}{ending}",
            effect=rule.effect,
            methods=rule.methods,
            names=rule.names,
            annotations=rule.annotations,
            condition=Template(rule.condition).safe_substitute(values),
            reason=rule.reason,
            is_observed=is_observed,
        )
        for number, rule in enumerate(pack.rules)
    ]


@dataclass(frozen=True, slots=True)
class _Anybody:
    issuer: str = "https://idp.example"
    subject: str = "anybody"
    groups: frozenset[str] | None = frozenset()
    narrowing: Narrowing | None = None


def failures(pack: GuardrailPack, values: Mapping[str, str] | None = None) -> list[Failed]:
    """Return the cases of `pack` that its rules do not decide as the pack says; with its defaults there are none."""
    rows = rows_of(pack, values_of(pack, values or {}))
    found = ((case, *_decided(case, rows)) for case in pack.cases)
    return [
        Failed(case, effect, rule)
        for case, effect, rule in found
        if effect != case.effect or (case.rule and rule != case.rule)
    ]


def _decided(case: PackCase, rows: list[GuardrailRow]) -> tuple[str, str]:
    caller = _Anybody()
    policy = compile_connection(
        "c",
        grants=[
            GrantRow(
                "g",
                "c",
                principal=(caller.issuer, caller.subject),
                tools=("*",),
                prompts=("*",),
                resources=("*",),
            )
        ],
        guardrails=rows,
        patterns=(),
        connection=ConnectionFacts("c", "c"),
        tools={case.tool: ToolFacts(case.annotations, case.labels)},
    )
    facts = Facts(case.now, arguments=case.arguments, history=History(case.history))
    verdict = decide(policy, caller, Call(case.method, _KINDS[case.method], case.tool), now=case.now, facts=facts)
    return verdict.effect, verdict.rule
