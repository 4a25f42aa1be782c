"""Presets: what each vendor really issues is accepted once they are filled in, and nothing before."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.presets import PRESETS
from accounts.tokens import ALGORITHMS, Identity, Rejected, verify
from tests.support import presets
from tests.support.presets import NOW, RESOURCE, SIGNER, provider, token

EXPECTED: dict[str, tuple[str, str, set[str] | None, str]] = {
    "entra": ("object-1", "unknown", {"group-1", "Operator"}, "Alice"),
    "okta": ("00u1", "unknown", {"sre"}, "alice@acme.example"),
    "google": ("104", "human", None, ""),
    "keycloak": ("f3a1", "unknown", {"sre", "operator"}, "alice"),
    "auth0": ("auth0|5f7c", "unknown", {"sre", "call:tools"}, ""),
    "github-actions": (
        "repo:acme/orders:ref:refs/heads/main",
        "machine",
        {"acme/orders"},
        "acme/orders/.github/workflows/x.yml@refs/heads/main",
    ),
    "kubernetes": ("system:serviceaccount:shop:robot", "machine", {"shop"}, "robot"),
    "gitlab-ci": ("project_path:acme/orders:ref_type:branch:ref:main", "machine", {"acme/orders"}, "acme/orders"),
    "aws": ("arn:aws:iam::123456789012:role/robot", "machine", {"123456789012"}, ""),
    "gcp": ("112233", "machine", None, "robot@acme.iam.gserviceaccount.com"),
}


def judged(key: str, raw: bytes, **changes: Any) -> Identity | Rejected:
    return verify(raw, provider=provider(key, **changes), keys=SIGNER.keys(), now=NOW, audience=RESOURCE)


@pytest.mark.parametrize("key", PRESETS)
def test_an_honest_token_of_the_vendor_gives_its_principal(key: str) -> None:
    verdict = judged(key, token(key))
    assert isinstance(verdict, Identity), verdict
    groups = None if verdict.groups is None else set(verdict.groups)
    assert (verdict.subject, verdict.kind, groups, verdict.display_name) == EXPECTED[key]


@pytest.mark.parametrize(
    ("key", "changes", "expected"),
    [
        ("entra", {"tid": presets.OTHER_TENANT}, "token_tenant"),
        ("entra", {"oid": presets.ABSENT}, "token_claim_missing"),
        ("entra", {"exp": NOW + 86_400}, "token_lifetime"),
        ("okta", {"uid": presets.ABSENT}, "token_claim_missing"),
        ("google", {"hd": presets.ABSENT}, "token_claim_required"),
        ("google", {"hd": "other.example"}, "token_claim_required"),
        ("keycloak", {"aud": "account"}, "token_audience"),
        ("auth0", {"exp": NOW + 86_400}, "token_lifetime"),
        ("github-actions", {"repository_owner": "attacker"}, "token_claim_required"),
        ("kubernetes", {"aud": ["https://kubernetes.default.svc"]}, "token_audience"),
        ("kubernetes", {"exp": NOW + 31_536_000}, "token_lifetime"),
        ("gitlab-ci", {"namespace_path": "attacker"}, "token_claim_required"),
        ("aws", {"aud": "sts.amazonaws.com"}, "token_audience"),
        ("gcp", {"azp": "445566", "sub": "445566"}, "token_party"),
    ],
)
def test_a_token_of_somebody_else_at_the_same_vendor_is_refused(
    key: str, changes: dict[str, Any], expected: str
) -> None:
    verdict = judged(key, token(key, **changes))
    assert isinstance(verdict, Rejected)
    assert verdict.code == expected


def test_an_application_token_of_entra_is_a_machine() -> None:
    raw = token("entra", idtyp="app", groups=presets.ABSENT, scp=presets.ABSENT, oid="app-1", sub="app-1")
    verdict = judged("entra", raw)
    assert isinstance(verdict, Identity)
    assert (verdict.kind, verdict.groups) == ("machine", {"Operator"})


@pytest.mark.parametrize("key", PRESETS)
def test_a_preset_names_its_key_and_says_what_is_left_to_do(key: str) -> None:
    preset = PRESETS[key]
    assert (preset.key, preset.values["preset"], preset.values["name"]) == (key, key, preset.title)
    assert preset.values["issuer"].startswith("https://")
    assert ALGORITHMS.issuperset(preset.values["algorithms"])
    assert preset.notes
    assert all(note.endswith(".") and len(note) < 400 for note in preset.notes)


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts_in(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts_in(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("key", PRESETS)
def test_only_what_a_company_has_to_say_is_left_open(key: str) -> None:
    opened = {name for name, value in PRESETS[key].values.items() if any("{" in text for text in texts_in(value))}
    assert opened == presets.FILLED[key].keys()
