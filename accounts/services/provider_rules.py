"""What a provider's values have to be: everything that is wrong at once, at its field, with what to write instead.

The data path refuses what it cannot use as well; here it is refused while somebody looks who can mend it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from accounts import claims, keys
from accounts.models import ALGORITHMS, IdentityProvider
from accounts.presets import PRESETS
from accounts.saving import Refusals

PRIVATE_KEY_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JSON Web Key that hold secret material (RFC 7518, sections 6.2.2, 6.3.2 and 6.4)."""

MAX_ENTRIES: Final = 100
"""Most entries of one list."""
MAX_REQUIRED: Final = 20
"""Most required claims of one provider."""
MAX_SECRET: Final = 4096

_TOKEN_TYPE = re.compile(r"(application/)?[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.IGNORECASE)
_OTHER_TOKENS = frozenset({"id+jwt", "id_token", "logout+jwt", "secevent+jwt", "dpop+jwt", "refresh+jwt", "rt+jwt"})
_PLACEHOLDER = re.compile(r"[{}]")
_REUSED_CLAIMS = frozenset({"email", "upn", "preferred_username", "unique_name", "name", "nickname", "phone_number"})
_ALL_TENANTS = frozenset({"common", "organizations", "consumers"})
_LIST_LENGTHS = {
    "audiences": claims.MAX_AUDIENCE_CHARACTERS,
    "authorized_parties": claims.MAX_TEXT,
    "tenants": claims.MAX_TEXT,
}


def refuse_bad_values(provider: IdentityProvider, refusals: Refusals) -> None:
    """Add every refusal of `provider`, whose lists are lists of texts already."""
    _refuse_placeholders(provider, refusals)
    _refuse_bad_issuer(provider, refusals)
    _refuse_unknown_algorithms(provider, refusals)
    _refuse_bad_networks(provider, refusals)
    _refuse_bad_key_source(provider, refusals)
    _refuse_bad_lists(provider, refusals)
    _refuse_bad_types(provider, refusals)
    _refuse_bad_paths(provider, refusals)
    _refuse_bad_introspection(provider, refusals)
    if provider.preset and provider.preset not in PRESETS:
        refusals.add("preset", "unknown_preset", f"There is no such preset: it is one of {', '.join(PRESETS)}.")


def required_claims(given: object, refusals: Refusals) -> dict[str, list[str]]:
    """Return `given` as lists of accepted texts by claim, or refuse it with the place of what is wrong."""
    if not isinstance(given, Mapping):
        _refuse_required(refusals, 'Write an object such as {"repository_owner": ["acme"]}.')
        return {}
    if len(given) > MAX_REQUIRED:
        _refuse_required(refusals, f"Name at most {MAX_REQUIRED} claims.")
    found: dict[str, list[str]] = {}
    for name, values in given.items():
        texts = [values] if isinstance(values, str) else values
        if not isinstance(name, str) or not is_path(name):
            _refuse_required(refusals, f"{str(name)[:60]!r} is not the path of a claim, such as repository_owner.")
        elif not isinstance(texts, list) or not 0 < len(texts) <= MAX_ENTRIES:
            _refuse_required(refusals, f"At {name}: write a list of accepted texts, at least one.")
        elif not all(isinstance(text, str) and claims.is_clean(text, claims.MAX_TEXT) for text in texts):
            _refuse_required(
                refusals, f"At {name}: every accepted value is a text of 1 to {claims.MAX_TEXT} characters."
            )
        else:
            found[name] = list(dict.fromkeys(texts))
    return found


def is_path(text: str) -> bool:
    """Tell whether `text` can be the dotted path of a claim: names without blanks, none of them empty."""
    return claims.is_clean(text, 200) and not re.search(r"\s", text) and all(text.split("."))


def _refuse_required(refusals: Refusals, message: str) -> None:
    refusals.add("required_claims", "bad_required_claims", message)


def _refuse_placeholders(provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse what a preset left open."""
    fields: dict[str, Iterable[str]] = {
        "issuer": [provider.issuer],
        "jwks_url": [provider.jwks_url],
        "subject_claim": [provider.subject_claim],
        "groups_claim": [provider.groups_claim],
        "roles_claim": [provider.roles_claim],
        "name_claim": [provider.name_claim],
        "audiences": provider.audiences,
        "authorized_parties": provider.authorized_parties,
        "tenants": provider.tenants,
        "required_claims": [text for texts in provider.required_claims.values() for text in texts],
    }
    for field, texts in fields.items():
        if found := next((text for text in texts if isinstance(text, str) and _PLACEHOLDER.search(text)), None):
            refusals.add(field, "placeholder", f"Replace what is in braces with your own value: {found[:200]}")


def _refuse_bad_issuer(provider: IdentityProvider, refusals: Refusals) -> None:
    issuer = provider.issuer
    if issuer and (not claims.is_clean(issuer, claims.MAX_ISSUER) or re.search(r"\s", issuer) or "|" in issuer):
        refusals.add("issuer", "bad_issuer", "Write the issuer as its tokens do, without blanks.")
        return
    parts = issuer.split("/")
    if len(parts) > 3 and parts[2].startswith("login.microsoftonline.") and parts[3].lower() in _ALL_TENANTS:
        message = "This is the issuer of every tenant: put your own tenant's id in its place."
        refusals.add("issuer", "issuer_of_all_tenants", message)


def _refuse_unknown_algorithms(provider: IdentityProvider, refusals: Refusals) -> None:
    for algorithm in provider.algorithms:
        if algorithm not in ALGORITHMS:
            refusals.add("algorithms", "unknown_algorithm", f"{algorithm} is not one of {', '.join(ALGORITHMS)}.")


def _refuse_bad_networks(provider: IdentityProvider, refusals: Refusals) -> None:
    for network in provider.allowed_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            refusals.add("allowed_networks", "bad_network", f"{error}. Write a network such as 10.20.0.0/16.")


def _refuse_bad_lists(provider: IdentityProvider, refusals: Refusals) -> None:
    for field in ("audiences", "authorized_parties", "tenants", "allowed_networks", "token_types"):
        if len(getattr(provider, field)) > MAX_ENTRIES:
            refusals.add(field, "too_many", f"Name at most {MAX_ENTRIES}.")
    for field, longest in _LIST_LENGTHS.items():
        if not all(claims.is_clean(text, longest) for text in getattr(provider, field)):
            refusals.add(field, "bad_text", f"An entry has control characters or more than {longest} characters.")


def _refuse_bad_types(provider: IdentityProvider, refusals: Refusals) -> None:
    for kind in provider.token_types:
        if not _TOKEN_TYPE.fullmatch(kind):
            refusals.add("token_types", "bad_type", "Write a type such as at+jwt or JWT.")
        elif kind.lower().removeprefix("application/") in _OTHER_TOKENS:
            refusals.add("token_types", "not_access_tokens", f"{kind} is not an access token, so it proves no call.")


def _refuse_bad_paths(provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse paths that lead nowhere, and subjects that may belong to another person next year."""
    for field in ("subject_claim", "groups_claim", "roles_claim", "name_claim", "tenant_claim"):
        path = getattr(provider, field)
        if path and not is_path(path):
            refusals.add(field, "bad_path", "Write the dotted path of a claim, such as realm_access.roles.")
    if len(provider.condition_claims) > claims.MAX_CONDITION_CLAIMS:
        refusals.add("condition_claims", "too_many", f"At most {claims.MAX_CONDITION_CLAIMS} claims.")
    if not all(is_path(path) for path in provider.condition_claims):
        refusals.add("condition_claims", "bad_path", "Write dotted paths of claims, such as department.")
    if provider.subject_claim.rpartition(".")[2].lower() in _REUSED_CLAIMS:
        message = "Addresses and names are given to other people later: use sub, or oid for Microsoft Entra ID."
        refusals.add("subject_claim", "not_an_identifier", message)


def _refuse_bad_key_source(provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse key sources that an attacker on the way could answer for, and key sets that hold private keys."""
    if provider.pinned_jwks is not None:
        _refuse_bad_key_set(provider, refusals)
        return
    field, url = ("jwks_url", provider.jwks_url) if provider.jwks_url else ("issuer", provider.issuer)
    _refuse_bad_url(field, url, provider, refusals, what="the keys")
    if field == "issuer" and "?" in url:
        refusals.add(field, "bad_url", "An issuer that is found by discovery has no question mark.")


def _refuse_bad_introspection(provider: IdentityProvider, refusals: Refusals) -> None:
    if not provider.introspection_url:
        return
    _refuse_bad_url("introspection_url", provider.introspection_url, provider, refusals, what="the answers")
    if not provider.introspection_client_id:
        refusals.add("introspection_client_id", "required", "Name the client as which the gateway asks.")
    if not provider.introspection_key_id:
        message = "Give the secret of that client: an endpoint that answers everybody proves nothing."
        refusals.add("introspection_secret", "required", message)


def _refuse_bad_url(field: str, url: str, provider: IdentityProvider, refusals: Refusals, *, what: str) -> None:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in {"http", "https"} or parts.username is not None or parts.fragment:
        refusals.add(field, "bad_url", "Write a URL such as https://login.example.com/realms/main.")
    elif parts.scheme == "http" and not provider.allowed_networks:
        refusals.add(
            field,
            "plain_http",
            f"Over plain http anyone on the way could replace {what}: use https, "
            "or name the private network of the provider under allowed networks.",
        )


def _refuse_bad_key_set(provider: IdentityProvider, refusals: Refusals) -> None:
    """Refuse a set that holds a private key, and one of which the data path would use no key at all."""
    document: dict[str, Any] = provider.pinned_jwks if isinstance(provider.pinned_jwks, dict) else {}
    entries = document.get("keys")
    if isinstance(entries, list) and any(isinstance(key, dict) and PRIVATE_KEY_MEMBERS & key.keys() for key in entries):
        refusals.add("pinned_jwks", "private_key", "A key in the set is private or symmetric: give public keys only.")
        return
    try:
        found = keys.key_set(document, algorithms=provider.algorithms)
    except keys.KeySetRefused as error:
        refusals.add("pinned_jwks", error.code, str(error))
        return
    if not len(found):
        why = "; ".join(f"key {place}: {reason}" for place, reason in found.refused) or "it is empty"
        refusals.add("pinned_jwks", "no_usable_key", f"No key of the set can be used ({why}).")
