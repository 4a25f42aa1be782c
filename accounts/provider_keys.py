"""What a provider's keys are right now, or why they cannot be had: for the person who sets the provider up.

The same steps as on the data path (`accounts.jwks`) with the same client, asked for by hand and told step by step. What
is found here is shown and not cached; an answer is never quoted.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from accounts import jwks, outbound
from accounts.keys import KeySet, key_set, load_object
from accounts.token_values import Provider


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done. `where` is a URL of the provider's own configuration or discovery document."""

    what: str
    where: str
    is_ok: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class KeysFound:
    """The steps, and the keys if they led to any."""

    steps: tuple[Step, ...]
    keys: KeySet | None

    @property
    def is_ok(self) -> bool:
        """Whether tokens of the issuer can be verified."""
        return self.keys is not None and len(self.keys) > 0


def look(provider: Provider) -> KeysFound:
    """Ask for the provider's discovery document and its keys, and return what was found or why nothing was."""
    steps: list[Step] = []
    if provider.pinned_jwks is not None:
        return _read(provider, dict(provider.pinned_jwks), "The pinned key set", "", steps)
    url = provider.jwks_url or _discovered(provider, steps)
    if not url:
        return KeysFound(tuple(steps), None)
    document = _fetched(provider, "The key set", url, steps)
    return KeysFound(tuple(steps), None) if document is None else _read(provider, document, "The keys", url, steps)


def _discovered(provider: Provider, steps: list[Step]) -> str:
    url = jwks.discovery_url(provider.issuer)
    document = _fetched(provider, "The discovery document", url, steps)
    if document is None:
        return ""
    try:
        return jwks.keys_url(document, provider.issuer)
    except jwks.DiscoveryRefused as error:
        steps.append(Step("The key URL", url, False, f"{str(error).capitalize()}."))
        return ""


def _fetched(provider: Provider, what: str, url: str, steps: list[Step]) -> dict[str, object] | None:
    """Return the JSON object at `url`, or None after saying why there is none."""
    try:
        answer = outbound.request(
            "GET",
            url,
            allowed_networks=provider.allowed_networks,
            headers={"Accept": "application/json"},
            limit=settings.WARDGATE_JWKS_BYTES,
            seconds=settings.WARDGATE_JWKS_FETCH_SECONDS,
        )
    except outbound.OutboundFailed as error:
        steps.append(Step(what, url, False, str(error)))
        return None
    if answer.status != 200:
        steps.append(Step(what, url, False, f"The server answered with the status {answer.status} instead of 200."))
        return None
    try:
        document = load_object(answer.body)
    except ValueError as error:
        # Only our own sentences are shown: the parser's may quote the document.
        why = str(error) if type(error) is ValueError else "it is not JSON in UTF-8"
        steps.append(Step(what, url, False, f"The answer cannot be used: {why}."))
        return None
    steps.append(Step(what, url, True, "It was fetched."))
    return document


def _read(provider: Provider, document: dict[str, object], what: str, url: str, steps: list[Step]) -> KeysFound:
    try:
        keys = key_set(document, algorithms=provider.algorithms)
    except ValueError as error:
        steps.append(Step(what, url, False, str(error)))
        return KeysFound(tuple(steps), None)
    usable = "1 key can be used." if len(keys) == 1 else f"{len(keys)} keys can be used."
    steps.append(Step(what, url, len(keys) > 0, usable))
    return KeysFound(tuple(steps), keys)
