"""Why a token is accepted or refused, claim by claim, for a person who sets a provider up. Pure; nothing is kept.

The verdict is that of `accounts.tokens.verify`, and each row is one check of the same list that it runs. `verify` stops
at the first check that fails; the report runs the others too, as far as they still mean something.

What it shows of the token is cut and cleaned for display. The signature is never shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from . import claims as read
from . import tokens
from .keys import KeySet, decode_segment, load_object
from .token_checks import CHECKS, Case, Check
from .token_values import Identity, Provider, Rejected, Unverified

Result = Literal["ok", "failed", "not_checked"]

LONGEST_SHOWN: Final = 300
"""Most characters of one value."""

_KEY_HEADERS: Final = ("jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256")
_READ: Final = frozenset(
    {"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "act", "cnf", "typ", "token_use", "email", "name"}
    | {"idtyp", "gty", "hasgroups", "_claim_names", "preferred_username", "upn", *read.CLIENT_CLAIMS}
)
_BEYOND_ANY_LIFETIME: Final = 10**18
NO_KEYS: Final = Rejected("keys_unavailable", "The issuer's signing keys cannot be read.")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `code` is empty unless the check failed."""

    claim: str
    shown: str
    rule: str
    result: Result
    sentence: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a call with the token would get, and why."""

    verdict: Identity | Rejected
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a row says of one check: where it looks, what is there, what is asked; `note` when it passes.

    Nothing is asked where the provider's settings leave the check out.
    """

    claim: str
    value: object
    rule: str
    note: str = "As it should be."
    is_asked: bool = True


def explain(raw: bytes, *, provider: Provider, keys: KeySet | None, now: float, audience: str) -> Report:
    """Return the verdict on `raw` and the row of every check.

    Args:
        raw: the token as it was pasted, without blanks around it.
        provider: whose rules apply.
        keys: the provider's keys; None when they cannot be had.
        now: seconds since 1970.
        audience: the URL of the connection that the call would go to, or an empty text for none.
    """
    peeked = tokens.peek(raw)
    if isinstance(peeked, Rejected):
        form = Row("token", f"{len(raw)} bytes", _FORM_RULE, "failed", peeked.detail, peeked.code)
        return Report(peeked, (form,))
    case = Case(peeked, provider, KeySet(()) if keys is None else keys, now, audience)
    verdict: Identity | Rejected = tokens.verify(
        raw, provider=provider, keys=case.keys, now=now, audience=audience, unverified=peeked
    )
    rows = [Row("token", f"{len(raw)} bytes", _FORM_RULE, "ok", "It can be read.")]
    passed: set[str] = set()
    for check in CHECKS:
        row, has_passed = _row(check, case, passed, has_keys=keys is not None)
        rows.append(row)
        if has_passed:
            passed.add(check.rule)
    if keys is None and isinstance(verdict, Rejected) and verdict.code == "token_key_unknown":
        verdict = NO_KEYS
    return Report(verdict, (*rows, *_unread(peeked, provider)))


_FORM_RULE = (
    "Three segments of strict base64url, strict JSON, an asymmetric algorithm, no header that changes the reading."
)


def _row(check: Check, case: Case, passed: Collection[str], *, has_keys: bool) -> tuple[Row, bool]:
    """Return the row of `check`, and whether it passed; a check for which nothing is asked passes unless it fails."""
    told = _TOLD[check.rule](case)

    def row(result: Result, sentence: str, code: str = "") -> Row:
        return Row(told.claim, _shown(told.value), told.rule, result, sentence, code)

    if any(earlier not in passed for earlier in check.after):
        return row("not_checked", "An earlier check on which it depends did not pass."), False
    if check.rule == "key" and not has_keys:
        return row("failed", NO_KEYS.detail, NO_KEYS.code), False
    try:
        check.run(case)
    except read.ClaimRefused as refusal:
        return row("failed", refusal.detail, refusal.code), False
    if not told.is_asked:
        return row("not_checked", "Nothing is asked for here."), True
    return row("ok", told.note), True


def _unread(token: Unverified, provider: Provider) -> list[Row]:
    """Return rows for what nobody looks at, so that nobody thinks that it counts."""
    rows = []
    header = load_object(decode_segment(token._raw.partition(b".")[0]))
    if named := [name for name in _KEY_HEADERS if name in header]:
        rule = "A token cannot bring or name its own key."
        rows.append(Row(", ".join(named), "", rule, "not_checked", "Ignored: nothing is read or fetched from there."))
    paths = (provider.subject_claim, provider.groups_claim, provider.roles_claim, provider.name_claim)
    configured = [*paths, provider.tenant_claim, *provider.required_claims]
    others = [
        name
        for name in token._claims
        if name not in _READ and not any(path == name or path.startswith(f"{name}.") for path in configured)
    ]
    if others:
        shown = _shown(", ".join(sorted(others)))
        rows.append(Row("other claims", shown, "Not read.", "not_checked", "They decide nothing at this provider."))
    return rows


def _at(case: Case, path: str) -> object:
    """Return what is at `path`, for display only."""
    try:
        return read.value_at(case.claims, path)
    except read.ClaimRefused:
        return None


def _moment(value: object) -> str:
    """Return a time as a person reads it; whatever it is not is shown as it is written."""
    if type(value) is not int:
        return _shown(value)
    try:
        return f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    except (OverflowError, ValueError, OSError):
        return _shown(value)


def _shown(value: object) -> str:
    """Return `value` for display: no controls, at most `LONGEST_SHOWN` characters, absent things as an empty text."""
    if read.is_absent(value) or value is None:
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        value = ", ".join(
            entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False) for entry in list(value)[:50]
        )
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[: 2 * LONGEST_SHOWN]
    shown = read.display(text, 2 * LONGEST_SHOWN)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"


def _listed(texts: frozenset[str]) -> str:
    return ", ".join(sorted(texts)) or "none"


def _claim(case: Case, name: str) -> object:
    return case.claims.get(name)


def _told_type(case: Case) -> _Told:
    accepted = _listed(case.provider.token_types) if case.provider.token_types else "at+jwt, JWT or none"
    return _Told("typ (header)", case.token._type, f"One of: {accepted}.")


def _told_key(case: Case) -> _Told:
    rule = "The id of a key that the issuer publishes and that fits the algorithm."
    if case.token.key_id is None:
        rule = "Without an id, exactly one key of the issuer may fit the algorithm."
    return _Told("kid (header)", case.token.key_id, rule, "The key is known.")


def _told_nbf(case: Case) -> _Told:
    is_needed = case.provider.requires_nbf
    rule = "Must be there, in whole seconds." if is_needed else "May be left out; else in whole seconds."
    return _Told("nbf", _moment(_claim(case, "nbf")), rule, is_asked=is_needed or "nbf" in case.claims)


def _told_audience(case: Case) -> _Told:
    accepted = case.provider.audiences | ({case.audience} if case.audience else frozenset())
    rule = f"One of them must equal: {_shown(_listed(accepted))}."
    if not accepted:
        rule = "One of them must equal the URL of the connection that is called; none was named for this test."
    return _Told("aud", _claim(case, "aud"), rule)


def _told_purpose(case: Case) -> _Told:
    found = [name for name in ("nonce", "at_hash", "c_hash", "s_hash", "events") if name in case.claims]
    value = ", ".join(found) or case.claims.get("typ") or case.claims.get("token_use")
    rule = "An access token: no claims of an ID, logout or event token, unless its type is at+jwt."
    return _Told("purpose", value, rule, "Nothing in it belongs to another sort of token.")


def _told_tenant(case: Case) -> _Told:
    path, tenants = case.provider.tenant_claim, case.provider.tenants
    rule = f"One of: {_shown(_listed(tenants))}." if tenants else "Any tenant."
    return _Told(path, _at(case, path), rule, is_asked=bool(tenants))


def _told_party(case: Case) -> _Told:
    accepted = case.provider.authorized_parties
    rule = f"One of: {_shown(_listed(accepted))}." if accepted else "Any client of this issuer."
    return _Told("client", _named(case, read.CLIENT_CLAIMS), rule, is_asked=bool(accepted))


def _told_required(case: Case) -> _Told:
    required = case.provider.required_claims
    rule = "; ".join(f"{path} is one of: {_listed(texts)}" for path, texts in required.items())
    value = ", ".join(f"{path}: {_shown(_at(case, path))}" for path in required)
    return _Told("required claims", value, f"{_shown(rule)}." if rule else "None.", is_asked=bool(required))


def _told_groups(case: Case) -> _Told:
    path, note = case.provider.groups_claim, "They are known."
    try:
        if next(check for check in CHECKS if check.rule == "groups").run(case) is None:
            note = "Groups are unknown: rules for groups deny."
            if case.provider.uses_directory:
                note = "Groups are unknown in the token: those of the directory count, if the principal is there."
    except read.ClaimRefused:
        pass
    return _Told(path, _at(case, path), "A list of names, or one name.", note)


def _told_roles(case: Case) -> _Told:
    path = case.provider.roles_claim
    return _Told(path or "roles", _at(case, path) if path else None, "Each counts as a group.", is_asked=bool(path))


def _named(case: Case, names: tuple[str, ...]) -> str:
    return ", ".join(f"{name}: {_shown(case.claims[name])}" for name in names if name in case.claims)


def _lifetime(case: Case) -> str:
    exp, iat = _claim(case, "exp"), _claim(case, "iat")
    if type(exp) is not int or type(iat) is not int:
        return ""
    # Python refuses to write numbers of more than 4300 digits.
    return f"{exp - iat} s" if abs(exp - iat) < _BEYOND_ANY_LIFETIME else "beyond any lifetime"


_TOLD: Final[Mapping[str, Callable[[Case], _Told]]] = {
    "issuer": lambda case: _Told("iss", case.token.issuer, f"Equal to the letter: {case.provider.issuer}"),
    "algorithm": lambda case: _Told(
        "alg (header)", case.token.algorithm, f"One of: {_listed(case.provider.algorithms)}."
    ),
    "type": _told_type,
    "key": _told_key,
    "signature": lambda case: _Told("signature", "", "Made by that key over exactly these bytes.", "It is genuine."),
    "subject": lambda case: _Told(
        case.provider.subject_claim, _at(case, case.provider.subject_claim), "A text: the key of the principal."
    ),
    "exp": lambda case: _Told("exp", _moment(_claim(case, "exp")), "Must be there, in whole seconds."),
    "iat": lambda case: _Told("iat", _moment(_claim(case, "iat")), "Must be there, in whole seconds."),
    "nbf": _told_nbf,
    "not_expired": lambda case: _Told(
        "exp",
        _moment(_claim(case, "exp")),
        f"Not over, with {case.provider.leeway_seconds} s of leeway.",
        "Still good.",
    ),
    "valid_already": lambda case: _Told(
        "nbf",
        _moment(_claim(case, "nbf")),
        f"Begun, with {case.provider.leeway_seconds} s of leeway.",
        is_asked="nbf" in case.claims,
    ),
    "issued_already": lambda case: _Told(
        "iat", _moment(_claim(case, "iat")), f"Not in the future, with {case.provider.leeway_seconds} s of leeway."
    ),
    "lifetime": lambda case: _Told(
        "exp - iat", _lifetime(case), f"More than nothing and at most {case.provider.max_token_seconds} s."
    ),
    "audience": _told_audience,
    "purpose": _told_purpose,
    "bearer": lambda case: _Told("cnf", _claim(case, "cnf"), "Absent: a bearer cannot prove to hold a key."),
    "tenant": _told_tenant,
    "clients": lambda case: _Told("client", _named(case, read.CLIENT_CLAIMS), "Texts, where they are there."),
    "party": _told_party,
    "required": _told_required,
    "groups": _told_groups,
    "roles": _told_roles,
    "actors": lambda case: _Told(
        "act", _claim(case, "act"), f"A chain of at most {read.MAX_ACTORS} actors.", is_asked="act" in case.claims
    ),
    "token_id": lambda case: _Told(
        "jti", _claim(case, "jti"), "A text, if it is there.", is_asked="jti" in case.claims
    ),
    "session_id": lambda case: _Told(
        "sid", _claim(case, "sid"), "A text, if it is there.", is_asked="sid" in case.claims
    ),
}


def told_rules() -> frozenset[str]:
    """Return the rules that the report has words for; a test compares them with the ladder."""
    return frozenset(_TOLD)


def payload(report: Report) -> dict[str, Any]:
    """Return `report` as plain data for an answer over REST."""
    verdict = report.verdict
    rows = [
        {
            "claim": row.claim,
            "value": row.shown,
            "rule": row.rule,
            "result": row.result,
            "code": row.code,
            "sentence": row.sentence,
        }
        for row in report.rows
    ]
    if isinstance(verdict, Rejected):
        return {"accepted": False, "code": verdict.code, "detail": verdict.detail, "identity": None, "rows": rows}
    identity = {
        "issuer": verdict.issuer,
        "subject": verdict.subject,
        "kind": verdict.kind,
        "display_name": verdict.display_name,
        "client_id": verdict.client_id,
        "groups": None if verdict.groups is None else sorted(verdict.groups),
        "actors": list(verdict.actors),
        "expires_at": verdict.expires_at,
    }
    return {"accepted": True, "code": "", "detail": "The token is accepted.", "identity": identity, "rows": rows}
