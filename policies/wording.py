"""How people read the entries of a policy document: a title for each, and values as short texts. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .documents import Change

SECTION_TITLES: Mapping[str, str] = {
    "grants": "Access grants",
    "guardrails": "Guardrails",
    "masking_patterns": "Masking patterns",
    "tests": "Policy tests",
}


def title_of(change: Change) -> str:
    """Return what a change is about: the entry's name, or for a grant whom it lets in where."""
    entry = change.after or change.before or {}
    return _grant_title(entry) if change.section == "grants" else str(entry.get("name", ""))


def shown(value: Any) -> str:
    """Return a value as people read it: texts bare, lists of texts with commas, nothing as an empty text."""
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False, indent=None if _is_short(value) else 2)


def _is_short(value: Any) -> bool:
    return len(json.dumps(value, ensure_ascii=False)) <= 100


def _grant_title(entry: Mapping[str, Any]) -> str:
    if entry.get("principal"):
        who = str(entry["principal"].get("subject", ""))
    elif entry.get("group"):
        who = f"group {entry['group'].get('name', '')}"
    else:
        who = "whoever meets the condition"
    where = entry.get("connection") or "connections labelled " + ", ".join(entry.get("labels") or [])
    return f"{who} may use {where}"
