"""The engine's answer to one call: allow, hold or deny, with the rule that decided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Effect(StrEnum):
    """What a matching rule asks for, in order of precedence: the first one that any rule asks for wins."""

    DENY = "deny"
    HOLD = "hold"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may run. `rule` is a guardrail's name, or "grant"; `attributes` are what of the call decided."""

    rule: str
    reason: str = ""
    attributes: tuple[str, ...] = ()
    effect: ClassVar[Effect] = Effect.ALLOW


@dataclass(frozen=True, slots=True)
class Hold:
    """The call waits for a human; silence is a denial."""

    rule: str
    reason: str
    attributes: tuple[str, ...] = ()
    effect: ClassVar[Effect] = Effect.HOLD


@dataclass(frozen=True, slots=True)
class Deny:
    """The call does not run, and the upstream sees nothing of it."""

    rule: str
    reason: str
    attributes: tuple[str, ...] = ()
    effect: ClassVar[Effect] = Effect.DENY


Verdict = Allow | Hold | Deny
