"""What an approval is bound to: one SHA-256 over everything that must be the same when the call runs. Pure.

Arguments are compared in their canonical form (RFC 8785), so that the order of members and the spelling of a number or
a string make no other call. An integer is written with all its digits, also beyond what a double holds: two calls that
differ in the last digit are two calls.

Source: RFC 8785 (JSON Canonicalization Scheme); SECURITY row H1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from .rules import ConnectionPolicy

_DOMAIN: Final = b"wardgate.approval.v1\0"
_ESCAPES: Final = {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    **{code: f"\\u{code:04x}" for code in range(0x20)},
    0x08: "\\b",
    0x09: "\\t",
    0x0A: "\\n",
    0x0C: "\\f",
    0x0D: "\\r",
}


class NotCanonical(ValueError):
    """The value has no canonical form: a number that is not finite, a lone surrogate, a type that JSON has not."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Who asks for what, under what. Every member counts."""

    issuer: str
    subject: str
    client_id: str
    connection: str
    upstream: str
    credential_version: int
    method: str
    name: str
    definition: str
    policy: bytes


def digest(bound: Bound, arguments: Any) -> bytes:
    """Return what an approval of this call is bound to.

    Raises:
        NotCanonical: the arguments have no canonical form.
    """
    parts = [
        bound.issuer.encode(),
        bound.subject.encode(),
        bound.client_id.encode(),
        bound.connection.encode(),
        bound.upstream.encode(),
        str(bound.credential_version).encode(),
        bound.method.encode(),
        bound.name.encode(),
        bound.definition.encode(),
        bound.policy,
        canonical(arguments),
    ]
    total = sha256(_DOMAIN)
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


def canonical(value: Any) -> bytes:
    """Return the canonical form of a JSON value.

    Raises:
        NotCanonical: it has none.
    """
    try:
        return _written(value).encode()
    except (UnicodeEncodeError, RecursionError):
        raise NotCanonical("the value cannot be written as JSON") from None


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise NotCanonical("the name of a member is no text")
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_written(name)}:{_written(value[name])}" for name in names) + "}"
    raise NotCanonical(f"{type(value).__name__} is no JSON")


def _number(value: float) -> str:
    """Write a double as ECMAScript does (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(value):
        raise NotCanonical("a number is not finite")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    shown = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{shown}e{'+' if power > 0 else '-'}{abs(power)}"


def fingerprint(policy: ConnectionPolicy) -> bytes:
    """Return a digest of everything in a compiled policy that a decision about its connection depends on."""
    grants = sorted(
        repr(
            (
                grant.principal,
                grant.group,
                [globs.comparable for globs in (grant.tools, grant.prompts, grant.resources)],
                grant.valid_from,
                grant.valid_until,
                grant.windows,
                grant.networks,
                grant.condition.source if grant.condition else "",
            )
        )
        for grant in policy.grants
    )
    rules = sorted(
        repr(
            (
                rule.name,
                rule.effect.value,
                rule.methods.comparable,
                rule.names.comparable,
                sorted(rule.principals),
                sorted(rule.groups),
                rule.annotations,
                rule.condition.source if rule.condition else "",
                rule.is_observed,
            )
        )
        for rule in policy.rules
    )
    tools = sorted(f"{name}={facts!r}" for name, facts in policy.tools.items())
    return sha256("\n".join([*grants, "", *rules, "", repr(policy.connection), *tools]).encode()).digest()
