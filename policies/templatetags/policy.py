"""Template filters that word what policy says, for people."""

from __future__ import annotations

from typing import Any

from django import template

from policies import documents, explaining, wording
from policies.documents import Change

register = template.Library()

VERDICTS = {"allow": ("Allowed", "good"), "hold": ("Held", "warn"), "deny": ("Denied", "bad")}
KINDS = {"added": "Added", "removed": "Removed", "changed": "Changed"}

register.filter("shown", wording.shown)
register.filter("change_title", wording.title_of)


@register.filter
def sentence(hint: str) -> str:
    """Return a hint with one full stop at its end."""
    return f"{hint.rstrip('. ')}."


@register.filter
def change_rows(change: Change) -> list[tuple[str, Any, Any]]:
    """Return the members of an entry that a change shows: what differs, and of a new or removed entry all it says."""
    if change.kind == "changed":
        return change.members
    entry = change.after or change.before or {}
    named = [(name, change.before, change.after) for name in documents.MEMBERS[change.section] if name in entry]
    return [(name, (before or {}).get(name), (after or {}).get(name)) for name, before, after in named]


@register.filter
def by_section(changes: list[Change]) -> list[tuple[str, list[Change]]]:
    """Return changes by section, each with its title."""
    found = [(section, [change for change in changes if change.section == section]) for section in documents.SECTIONS]
    return [(wording.SECTION_TITLES[section], some) for section, some in found if some]


@register.filter
def kind_label(kind: str) -> str:
    """Return what happened to an entry, as people read it."""
    return KINDS.get(kind, kind)


@register.filter
def member_label(name: str) -> str:
    """Return the name of a member of a document, as forms label it."""
    return {"is_active": "active", "is_observed": "observe only"}.get(name, name.replace("_", " "))


@register.filter
def effect_label(effect: str) -> str:
    """Return what becomes of a call, as people read it."""
    return VERDICTS.get(str(effect), (str(effect), ""))[0]


@register.filter
def effect_tone(effect: str) -> str:
    """Return how an effect is coloured; the colour only repeats what the words say."""
    return VERDICTS.get(str(effect), ("", "plain"))[1]


@register.filter
def grant_says(said: str) -> str:
    """Return what a grant says of a call, in a sentence."""
    return explaining.GRANT_SAYS.get(said, said)


@register.filter
def rule_says(said: str) -> str:
    """Return what a rule says of a call, in a sentence."""
    return explaining.RULE_SAYS.get(said, said)


@register.filter
def why_label(why: str) -> str:
    """Return why a condition could not be told, in a sentence."""
    return {
        "member_missing": "It asks for something that the call does not have.",
        "wrong_type": "It compares what is of another type.",
        "unreadable": "It reads a text that is neither SQL nor shell, or not for certain.",
        "history_unknown": "What the caller did before is not known.",
        "arguments_unknown": "The arguments are not known.",
        "not_true_or_false": "It gives neither true nor false.",
    }.get(why, f"Code: {why}.")
