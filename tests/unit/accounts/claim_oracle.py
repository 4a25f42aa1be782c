"""What a token's claims must lead to, worked out from the documents alone: nothing of the code under test is used here.

The rules, in the order in which the first failure counts: `docs/identity.md`, "What is checked". The provider that they
are for accepts tokens for at most an hour with 30 s of leeway, of tenant t-1, for the client c-1, whose owner is acme.
"""

from __future__ import annotations

from typing import Any

ISSUER = "https://idp.example"
RESOURCE = "https://gateway.example/mcp/orders"
NOW = 1_800_000_000
ABSENT = object()

STATES: dict[str, dict[str, Any]] = {
    "iss": {
        "right": ISSUER,
        "absent": ABSENT,
        "null": None,
        "number": 7,
        "other": "https://other.example",
        "slash more": ISSUER + "/",
    },
    "sub": {
        "right": "alice",
        "absent": ABSENT,
        "null": None,
        "number": 7,
        "too long": "x" * 256,
        "longest": "x" * 255,
        "control": "a\x00b",
        "empty": "",
    },
    "exp": {
        "right": NOW + 300,
        "absent": ABSENT,
        "null": None,
        "text": str(NOW + 300),
        "float": NOW + 300.0,
        "boolean": True,
        "just over": NOW - 30,
        "just not over": NOW - 29,
        "year 2050": 2_524_608_000,
        "far": 10**18,
        "hour": NOW + 3600,
        "hour and a second": NOW + 3601,
    },
    "nbf": {
        "right": NOW,
        "absent": ABSENT,
        "null": None,
        "list": [NOW],
        "boolean": False,
        "long ago": NOW - 10_000_000,
        "just begun": NOW + 30,
        "just not begun": NOW + 31,
    },
    "iat": {
        "right": NOW,
        "absent": ABSENT,
        "null": None,
        "object": {"at": NOW},
        "boolean": True,
        "long ago": NOW - 4000,
        "just now": NOW + 30,
        "to come": NOW + 31,
        "at its end": NOW + 300,
    },
    "aud": {
        "right": RESOURCE,
        "in a list": ["other", RESOURCE],
        "absent": ABSENT,
        "null": None,
        "object": {"aud": RESOURCE},
        "mixed list": [RESOURCE, 7],
        "empty list": [],
        "other": "https://gateway.example/mcp/billing",
    },
    "tid": {"right": "t-1", "absent": ABSENT, "null": None, "other": "t-2", "upper case": "T-1", "list": ["t-1"]},
    "client_id": {"right": "c-1", "absent": ABSENT, "null": None, "other": "c-2", "number": 1},
    "azp": {"right": ABSENT, "same": "c-1", "other": "c-2", "list": ["c-1"]},
    "owner": {
        "right": "acme",
        "absent": ABSENT,
        "null": None,
        "other": "acme2",
        "in a list": ["x", "acme"],
        "true": True,
    },
    "groups": {"right": ["sre"], "absent": ABSENT, "one text": "sre", "null": None, "mixed": ["sre", 7], "object": {}},
    "act": {"right": ABSENT, "one": {"sub": "bot"}, "null": None, "no sub": {"iss": ISSUER}, "text": "bot"},
    "jti": {"right": "j-1", "absent": ABSENT, "empty": "", "number": 1},
    "sid": {"right": ABSENT, "there": "s-1", "null": None},
    "cnf": {"right": ABSENT, "there": {"jkt": "x"}, "null": None},
}
"""Each claim's states, the harmless one first and named `right`."""


def right() -> dict[str, Any]:
    """Return the claims of a token that is accepted."""
    return {name: states["right"] for name, states in STATES.items()}


def expected(given: dict[str, Any]) -> str:
    """Return the code that a genuine token with these claims must be refused with, or `accepted`."""
    claims = {name: value for name, value in given.items() if value is not ABSENT}
    for judge in (_who, _when, _for_whom, _provider, _rest):
        if code := judge(claims):
            return code
    return "accepted"


def _text(claims: dict[str, Any], name: str) -> str:
    if name not in claims:
        return "token_claim_missing"
    value = claims[name]
    good = type(value) is str and 1 <= len(value) <= 255 and "\x00" not in value
    return "" if good else "token_claim_type"


def _who(claims: dict[str, Any]) -> str:
    if code := _text(claims, "iss"):
        return code
    return "token_issuer" if claims["iss"] != ISSUER else _text(claims, "sub")


def _when(claims: dict[str, Any]) -> str:
    for name in ("exp", "iat", "nbf"):
        if name not in claims:
            return "token_claim_missing"
        if type(claims[name]) is not int:
            return "token_claim_type"
    exp, iat, nbf = claims["exp"], claims["iat"], claims["nbf"]
    if exp + 30 <= NOW:
        return "token_expired"
    if max(nbf, iat) - 30 > NOW:
        return "token_not_yet_valid"
    return "" if 1 <= exp - iat <= 3600 else "token_lifetime"


def _for_whom(claims: dict[str, Any]) -> str:
    if "aud" not in claims:
        return "token_claim_missing"
    audience = claims["aud"]
    listed = audience if type(audience) is list else [audience]
    if any(type(one) is not str for one in listed):
        return "token_claim_type"
    if RESOURCE not in listed:
        return "token_audience"
    return "token_bound" if "cnf" in claims else ""


def _provider(claims: dict[str, Any]) -> str:
    if code := _text(claims, "tid"):
        return code
    if claims["tid"] != "t-1":
        return "token_tenant"
    named = [claims[name] for name in ("client_id", "azp") if name in claims]
    if any(type(client) is not str for client in named):
        return "token_claim_type"
    if not named or set(named) != {"c-1"}:
        return "token_party"
    owner = claims.get("owner")
    return "" if owner == "acme" or (type(owner) is list and "acme" in owner) else "token_claim_required"


def _rest(claims: dict[str, Any]) -> str:
    groups = claims.get("groups", [])
    listed = [groups] if type(groups) is str else groups
    if type(listed) is not list or any(type(group) is not str for group in listed):
        return "token_claim_type"
    if "act" in claims and not (type(claims["act"]) is dict and type(claims["act"].get("sub")) is str):
        return "token_claim_type"
    for name in ("jti", "sid"):
        if name in claims and _text(claims, name):
            return "token_claim_type"
    return ""
