"""docs/policy.md is a whole reference: every name and function of conditions, every kind of SQL, every pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.engine import cel_types, sql
from policies.engine.guardrail_packs import PACKS, GuardrailPack

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text()


@pytest.mark.parametrize("name", sorted(cel_types.FUNCTIONS))
def test_every_function_is_described(name: str) -> None:
    assert f"{name}(" in DOCUMENT


@pytest.mark.parametrize(
    "member",
    [f"{name}.{member}" for name, type_ in cel_types.ENVIRONMENT.items() for member in type_.members or ()],
)
def test_every_member_is_described(member: str) -> None:
    assert f"`{member}`" in DOCUMENT or f"`{member}(" in DOCUMENT


@pytest.mark.parametrize("name", [*(cel_types.STATEMENT.members or ()), *(cel_types.COMMAND.members or ())])
def test_every_member_of_a_statement_and_a_command_is_described(name: str) -> None:
    assert f"`{name}`" in DOCUMENT


@pytest.mark.parametrize("dialect", sorted(cel_types.DIALECTS))
def test_every_dialect_is_described(dialect: str) -> None:
    assert f'`"{dialect}"`' in DOCUMENT


@pytest.mark.parametrize("kind", sorted({*(kind for _, kind in sql._KINDS), "function", "other"}))
def test_every_kind_of_statement_is_described(kind: str) -> None:
    assert f"`{kind}`" in DOCUMENT


@pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.id)
def test_every_pack_is_described_with_its_parameters(pack: GuardrailPack) -> None:
    [line] = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{pack.id}` |")]
    assert all(f"`{parameter.name}`" in line for parameter in pack.parameters)
