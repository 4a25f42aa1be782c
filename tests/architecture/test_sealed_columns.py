"""Everything that is sealed moves to a new master key: whoever adds a sealed column teaches `seal_again` of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models import BinaryField, QuerySet

from accounts import sealing

ROOT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "connections", "sessions", "policies", "proxy", "gateway_project")
PARTS = ("key_id", "wrapped_key", "ciphertext")
SEALS = re.compile(r"\bvault\.seal\(|\bsealing\.sealed\(|^from accounts\.sealing import .*sealed", re.MULTILINE)
# Second factors are rows of django-allauth, which has a text for them: `factor_secrets_seal_again` knows it.
ELSEWHERE = {"accounts/services/factors.py", "accounts/sealing.py", "accounts/vault.py"}


def columns_of_secrets() -> set[tuple[str, str]]:
    """Return every model that has a sealed column, and what the names of its columns begin with."""
    return {
        (model._meta.label, field.name.removesuffix(part))
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        for part in PARTS[1:]
        if isinstance(field, BinaryField) and field.name.endswith(part)
    }


@pytest.mark.django_db
def test_every_sealed_column_moves_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: set[tuple[str, str]] = set()

    def seen(rows: QuerySet[Any], *, bound_to: Callable[[Any], bytes], prefix: str = "") -> tuple[int, list[Any]]:
        moved.add((rows.model._meta.label, prefix))
        return 0, []

    monkeypatch.setattr(sealing, "bound_rows_seal_again", seen)
    call_command("seal_again")
    assert moved == columns_of_secrets()


def test_every_sealed_secret_has_its_three_columns() -> None:
    for label, prefix in columns_of_secrets():
        names = {field.name for field in apps.get_model(label)._meta.concrete_fields}
        assert {f"{prefix}{part}" for part in PARTS} <= names, label


def test_whoever_seals_keeps_it_in_columns_that_are_found_by_their_names() -> None:
    sealing_files = {
        str(path.relative_to(ROOT)): text
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if SEALS.search(text := path.read_text())
    }
    assert len(sealing_files) > len(ELSEWHERE)
    assert {name for name, text in sealing_files.items() if "wrapped_key" not in text} <= ELSEWHERE
