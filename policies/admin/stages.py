"""The stages of an approval rule as fields that people fill in: a name, how many, and who."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.models import Group, User
from policies import services
from policies.engine.approving import MAX_NEEDED, MAX_STAGES
from policies.models import Guardrail

ESCALATION: Final = "escalation"
PREFIXES: Final = tuple(f"stage_{number}" for number in range(1, MAX_STAGES + 1))


class PeopleField(forms.ModelMultipleChoiceField):
    """People who may decide approval requests; whoever is named already stays to be seen."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            queryset=User.objects.filter(is_active=True).order_by("username"),
            required=False,
            widget=UnfoldAdminSelect2MultipleWidget(),
            **options,
        )

    def label_from_instance(self, obj: Any) -> str:
        """Say by whom the field is read that the person has no say yet."""
        return str(obj) if services.may_decide(obj) else f"{obj} (may not decide)"


def _who(prefix: str) -> Iterator[tuple[str, forms.Field]]:
    groups = forms.ModelMultipleChoiceField(
        queryset=Group.objects.all(),
        required=False,
        label="Groups",
        widget=AutocompleteSelectMultiple(Guardrail._meta.get_field("groups"), admin.site),
        help_text="Members at the moment of the decision, as their identity provider says.",
    )
    people = PeopleField(label="People")
    for field in (groups, people):
        # Without the cross that empties the whole list: it stands where a list may only have items.
        field.widget.is_required = True
    yield f"{prefix}_groups", groups
    yield f"{prefix}_users", people
    yield (
        f"{prefix}_owners",
        forms.BooleanField(required=False, label="Owners of the connection", widget=UnfoldBooleanSwitchWidget()),
    )


def fields_of(prefix: str) -> dict[str, forms.Field]:
    """Return the fields of a stage, or of the escalation."""
    if prefix == ESCALATION:
        return dict(_who(prefix))
    number = prefix.removeprefix("stage_")
    named = forms.CharField(
        required=False,
        max_length=100,
        label="Name",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "such as Team lead"}),
        help_text="Whoever asks reads it." if number == "1" else "Empty: there is no such stage.",
    )
    needed = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_NEEDED,
        initial=1,
        label="How many",
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="So many different people have to approve.",
    )
    return {f"{prefix}_name": named, f"{prefix}_needed": needed, **dict(_who(prefix))}


def fieldset_of(prefix: str) -> tuple[str, dict[str, Any]]:
    """Return the part of the page for a stage, or for the escalation."""
    if prefix == ESCALATION:
        return "Escalation", {"fields": ["escalate_seconds", *fields_of(prefix)], "classes": ["collapse"]}
    number = prefix.removeprefix("stage_")
    options: dict[str, Any] = {"fields": list(fields_of(prefix))}
    if number == "1":
        options["description"] = "With nobody named, everybody who may decide approval requests decides."
    else:
        options["classes"] = ["collapse"]
    return f"Stage {number}", options


def initial_of(prefix: str, stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the fields show of a stage that was saved."""
    members = ("groups", "users", "owners") if prefix == ESCALATION else ("name", "needed", "groups", "users", "owners")
    return {f"{prefix}_{member}": stage[member] for member in members if member in stage}


def take_stage(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields of a stage from `values` and return it as it is kept; empty when nothing was filled in."""
    given = {name.removeprefix(f"{prefix}_"): values.pop(name, None) for name in fields_of(prefix)}
    found: dict[str, Any] = {
        "groups": sorted(row.pk for row in given["groups"] or ()),
        "users": sorted(row.pk for row in given["users"] or ()),
        "owners": bool(given["owners"]),
    }
    if prefix == ESCALATION:
        return found if any(found.values()) else {}
    if not given["name"] and not any(found.values()):
        return {}
    return {"name": given["name"] or "", "needed": given["needed"] or 1, **found}


StageFields = type(
    "StageFields",
    (forms.Form,),
    {name: field for prefix in (*PREFIXES, ESCALATION) for name, field in fields_of(prefix).items()},
)
"""A form with the fields of all stages and of the escalation."""
