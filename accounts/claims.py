"""What one claim of a verified token says, read strictly: texts, times, places, groups, actors, kind. Pure.

Every function takes the claims as they were parsed and either returns a value that can be relied on or raises
`ClaimRefused`; nothing is converted, trimmed or guessed.

Sources: RFC 7519 section 4.1, RFC 8693 section 4.1 (`act`), RFC 9068 section 2.2, the token references of Microsoft
Entra ID (`idtyp`, `_claim_names`, `hasgroups`), Auth0 (`gty`) and Okta (`cid`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Final

MAX_TEXT: Final = 255
"""Longest subject, client id, token id or group name, in characters."""
MAX_ISSUER: Final = 500
MAX_AUDIENCE_CHARACTERS: Final = 2048
MAX_AUDIENCES: Final = 100
MAX_GROUPS: Final = 1000
MAX_CONDITION_CLAIMS: Final = 20
MAX_CONDITION_TEXT: Final = 1024
MAX_ACTORS: Final = 8
"""Longest chain of delegation."""

CLIENT_CLAIMS: Final = ("client_id", "azp", "appid", "cid")
"""What issuers call the software that the token was given to."""

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_ABSENT: Final = object()


class ClaimRefused(Exception):
    """A check failed: a stable code, and a sentence that is safe to show to the caller."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def present(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim `name`.

    Raises:
        ClaimRefused: token_claim_missing.
    """
    if name not in claims:
        raise ClaimRefused("token_claim_missing", f"The token has no {name} claim.")
    return claims[name]


def seconds(claims: Mapping[str, Any], name: str) -> int:
    """Return the claim `name` as whole seconds since 1970.

    Raises:
        ClaimRefused: token_claim_missing, token_claim_type.
    """
    value = present(claims, name)
    # Not isinstance: True is an int in Python and not a time.
    if type(value) is not int:
        raise wrong_type(name)
    return value


def text(claims: Mapping[str, Any], name: str, *, longest: int = MAX_TEXT) -> str:
    """Return the claim `name` as a text of 1 to `longest` characters without controls.

    Raises:
        ClaimRefused: token_claim_missing, token_claim_type.
    """
    value = present(claims, name)
    if not isinstance(value, str) or not is_clean(value, longest):
        raise wrong_type(name)
    return value


def text_at(claims: Mapping[str, Any], path: str, *, longest: int = MAX_TEXT) -> str:
    """Return the text at the dotted `path`, as `text` does.

    Raises:
        ClaimRefused: token_claim_missing, token_claim_type.
    """
    value = value_at(claims, path)
    if value is _ABSENT:
        raise ClaimRefused("token_claim_missing", f"The token has no {path} claim.")
    if not isinstance(value, str) or not is_clean(value, longest):
        raise wrong_type(path)
    return value


def value_at(claims: Mapping[str, Any], path: str, label: str = "") -> Any:
    """Return what is at the dotted `path`, or a value that `is_absent`.

    Names may have dots themselves (https://example.com/groups, kubernetes.io): at each level the longest name that
    begins the rest of the path is taken, and no other one is tried after it.

    Raises:
        ClaimRefused: token_claim_type, a value on the way is not an object; `label` names the claim in the sentence.
    """
    if path in claims:
        return claims[path]
    value: Any = claims
    parts = path.split(".")
    while parts:
        if not isinstance(value, dict) and value is not claims:
            raise wrong_type(label or path)
        for count in range(len(parts), 0, -1):
            name = ".".join(parts[:count])
            if name in value:
                value, parts = value[name], parts[count:]
                break
        else:
            return _ABSENT
    return value


def plain(claims: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Return what is at each of the `paths` and is a text, a number, true or false, or a list of such.

    What is something else, too long or not there is left out, so that whoever asks for it cannot tell.
    """
    found: dict[str, Any] = {}
    for path in paths:
        try:
            value = value_at(claims, path)
        except ClaimRefused:
            continue
        if isinstance(value, list):
            if len(value) <= MAX_GROUPS and all(_is_plain(entry) for entry in value):
                found[path] = list(value)
        elif _is_plain(value):
            found[path] = value
    return found


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and is_clean(value, MAX_CONDITION_TEXT))


def is_absent(value: object) -> bool:
    """Tell whether `value_at` found nothing."""
    return value is _ABSENT


def audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return whom the token is made for; RFC 7519 section 4.1.3.

    Raises:
        ClaimRefused: token_claim_missing, token_claim_type.
    """
    value = present(claims, "aud")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > MAX_AUDIENCES:
        raise wrong_type("aud")
    if not all(isinstance(item, str) and is_clean(item, MAX_AUDIENCE_CHARACTERS) for item in values):
        raise wrong_type("aud")
    return frozenset(values)


def clients(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every name that the token gives to its client; nearly always one.

    Raises:
        ClaimRefused: token_claim_type.
    """
    return tuple(text(claims, name) for name in CLIENT_CLAIMS if name in claims)


def texts_at(claims: Mapping[str, Any], path: str, label: str) -> frozenset[str] | None:
    """Return the list of names at `path`, of which a single text is one; None when nothing is there.

    Raises:
        ClaimRefused: token_claim_type, with `label` as the name of the claim.
    """
    value = value_at(claims, path, label)
    if value is _ABSENT:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_GROUPS:
        raise wrong_type(label)
    if not all(isinstance(name, str) and is_clean(name, MAX_TEXT) for name in names):
        raise wrong_type(label)
    return frozenset(names)


def has_left_groups_out(claims: Mapping[str, Any]) -> bool:
    """Tell whether the issuer says that there are groups which the token does not list.

    Microsoft Entra ID points with `_claim_names` to a place to fetch them from; nothing is ever fetched.
    """
    return "_claim_names" in claims or claims.get("hasgroups", False) is not False


def holds_one_of(claims: Mapping[str, Any], path: str, accepted: Collection[str]) -> bool:
    """Tell whether the text at `path` is accepted, or one text of the list that is there.

    Raises:
        ClaimRefused: token_claim_type, a value on the way is not an object.
    """
    value = value_at(claims, path)
    values = value if isinstance(value, list) else [value]
    return any(isinstance(entry, str) and entry in accepted for entry in values)


def actors(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return who acts for the subject, the one at the gateway first: `issuer|subject`, or `subject` without an issuer.

    Raises:
        ClaimRefused: token_claim_type, the chain is malformed or longer than `MAX_ACTORS`.
    """
    found: list[str] = []
    level: Any = claims
    while "act" in level:
        level = level["act"]
        if not isinstance(level, dict) or len(found) == MAX_ACTORS:
            raise wrong_type("act")
        subject, issuer = level.get("sub"), level.get("iss", "")
        if not isinstance(subject, str) or not is_clean(subject, MAX_TEXT):
            raise wrong_type("act")
        if "iss" in level and not (isinstance(issuer, str) and is_clean(issuer, MAX_ISSUER) and "|" not in issuer):
            raise wrong_type("act")
        found.append(f"{issuer}|{subject}" if issuer else subject)
    return tuple(found)


def kind(claims: Mapping[str, Any], named_clients: Collection[str], configured: str) -> str:
    """Return what the token stands for: human, machine, agent or unknown.

    The token's own word counts first. It can tell a person from a program, not a machine from an agent: for a program
    the configured kind is taken where it is one of the two.
    """
    declared = claims.get("idtyp")
    if declared == "user":
        return "human"
    grant = claims.get("gty")
    subject = claims.get("sub")
    is_program = (
        declared == "app"
        or grant == "client-credentials"
        or (isinstance(grant, list) and "client-credentials" in grant)
        or any(subject in (client, f"{client}@clients") for client in named_clients)
    )
    if is_program and configured not in {"machine", "agent"}:
        return "machine"
    return configured


def display(value: object, longest: int) -> str:
    """Return what may be shown of `value`; something odd in a display name costs the name, not the call."""
    if not isinstance(value, str):
        return ""
    shown = "".join(
        character for character in value[:longest] if unicodedata.category(character) not in _UNSAFE_CATEGORIES
    )
    return shown.strip()


def wrong_type(name: str) -> ClaimRefused:
    """Return the refusal of a claim whose value cannot be used."""
    return ClaimRefused("token_claim_type", f"The token's {name} claim has an unusable value.")


def is_clean(value: str, longest: int) -> bool:
    """Return whether `value` has 1 to `longest` characters, without controls, line separators or lone surrogates."""
    if not 0 < len(value) <= longest:
        return False
    return value.isprintable() or not any(unicodedata.category(character) in _UNSAFE_CATEGORIES for character in value)
