"""The simulator: what would a call get, and why?"""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from accounts.models import Group, Principal
from connections.models import Connection, Tool
from policies import selectors, services
from policies.documents import DocumentRefused
from policies.models import AccessGrant, Guardrail, PolicyDraft, PolicyTest
from policies.rehearsal import KINDS, CaseRefused
from policies.simulation import Simulation, identity_of, simulate

from .fields import JsonField
from .pages import page, publisher

SUGGESTED_NAMES = 500
_METHOD_LABELS = {"tool": "Call a tool", "prompt": "Get a prompt", "resource": "Read a resource"}
METHODS = [(method, _METHOD_LABELS[kind]) for method, kind in KINDS.items()]
_MONO = {"spellcheck": "false", "autocomplete": "off", "class": "font-mono"}
_FIELD_OF = {"identity": "principal", "subject": "principal", "issuer": "principal", "kind": "kind", "given": None}


class SimulateForm(forms.Form):
    """A call that nobody makes: who, what, with what, when, from where, and after what."""

    principal = forms.ModelChoiceField(
        Principal.objects.all(),
        required=False,
        help_text="Who calls. Empty: somebody new who has the groups below.",
    )
    groups = forms.ModelMultipleChoiceField(
        Group.objects.select_related("provider"),
        required=False,
        help_text="As the token tells them. Empty: for a provisioned principal those of the directory, else none.",
    )
    groups_unknown = forms.BooleanField(
        required=False, label="The provider did not tell the groups", widget=UnfoldBooleanWidget()
    )
    connection = forms.ModelChoiceField(
        Connection.objects.filter(is_active=True), to_field_name="slug", widget=UnfoldAdminSelectWidget()
    )
    method = forms.ChoiceField(choices=METHODS, widget=UnfoldAdminSelectWidget())
    name = forms.CharField(
        max_length=4096,
        strip=False,
        widget=UnfoldAdminTextInputWidget(attrs={**_MONO, "list": "names"}),
        help_text="A tool, a prompt, or the URI of a resource, to the letter.",
    )
    arguments = JsonField(
        of=dict,
        widget=UnfoldAdminTextareaWidget(attrs={**_MONO, "rows": 4, "placeholder": '{"order_id": "1042"}'}),
        help_text="A JSON object. They are neither stored nor logged.",
    )
    address = forms.GenericIPAddressField(
        required=False,
        label="Address of the client",
        widget=UnfoldAdminTextInputWidget(attrs={**_MONO, "placeholder": "203.0.113.7"}),
        help_text="Empty: unknown. Grants with networks do not count then.",
    )
    time = forms.CharField(
        required=False,
        max_length=40,
        widget=UnfoldAdminTextInputWidget(attrs={**_MONO, "placeholder": "2026-03-29T02:30:00+01:00"}),
        help_text="With its zone. Empty: now.",
    )
    history = JsonField(
        of=list,
        label="Earlier calls of the caller",
        widget=UnfoldAdminTextareaWidget(
            attrs={
                **_MONO,
                "rows": 3,
                "placeholder": '[{"seconds_ago": 60, "connection": "mail", "name": "read", "labels": ["untrusted"]}]',
            }
        ),
        help_text="A JSON list: seconds_ago, connection, name, bytes, labels, values. For rules about the session.",
    )
    kind = forms.ChoiceField(
        required=False,
        choices=[("", "As the principal has it"), *Principal.Kind.choices],
        widget=UnfoldAdminSelectWidget(),
        label="Kind of caller",
    )
    client_name = forms.CharField(
        required=False, max_length=255, label="Name of the client", widget=UnfoldAdminTextInputWidget()
    )
    draft = forms.ModelChoiceField(
        PolicyDraft.objects.filter(published_number=None),
        required=False,
        empty_label="Policy in force",
        label="Which policy to ask",
        widget=UnfoldAdminSelectWidget(),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        fields: Any = self.fields
        fields["principal"].widget = AutocompleteSelect(AccessGrant._meta.get_field("principal"), admin.site)
        fields["groups"].widget = AutocompleteSelectMultiple(Guardrail._meta.get_field("groups"), admin.site)
        # Without the cross that empties the whole list: it stands where a list may only have items.
        fields["groups"].widget.is_required = True
        fields["principal"].widget.choices = fields["principal"].choices
        fields["groups"].widget.choices = fields["groups"].choices

    def clean(self) -> dict[str, Any]:
        """Refuse nobody, and groups of another provider than the principal's."""
        values: dict[str, Any] = super().clean() or {}
        principal, groups = values.get("principal"), list(values.get("groups") or ())
        issuers = {group.provider.issuer for group in groups} | ({principal.issuer} if principal else set())
        if not issuers and "principal" not in self.errors:
            self.add_error("principal", ValidationError("Choose a principal, or at least one group.", code="nobody"))
        if len(issuers) > 1:
            self.add_error("groups", ValidationError("Choose groups of one provider, the principal's.", code="mixed"))
        return values

    def given(self) -> dict[str, Any]:
        """Return the call as policy tests write it; what was left empty is left out."""
        values = self.cleaned_data
        members = {
            "identity": self._identity(),
            "connection": values["connection"].slug,
            "method": values["method"],
            "name": values["name"],
            "arguments": values["arguments"],
            "time": values["time"].strip(),
            "address": values["address"] or "",
            "client": {"name": values["client_name"]} if values["client_name"] else {},
            "history": values["history"],
        }
        return {name: value for name, value in members.items() if value}

    def _identity(self) -> dict[str, Any]:
        values = self.cleaned_data
        groups = [group.name for group in values["groups"]]
        if values["principal"] is not None:
            identity = identity_of(values["principal"], groups or None)
        else:
            identity = {"issuer": values["groups"][0].provider.issuer, "subject": "somebody", "groups": sorted(groups)}
        if values["groups_unknown"]:
            identity["groups"] = None
        return {**identity, **({"kind": values["kind"]} if values["kind"] else {})}


class KeepForm(forms.Form):
    """The call that was just asked, to be kept as a policy test with the verdict that it got."""

    test_name = forms.CharField(
        max_length=100,
        label="Name of the test",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "placeholder": "Support cannot delete"}),
    )
    given = JsonField(of=dict, widget=forms.HiddenInput())
    expected = forms.ChoiceField(choices=Guardrail.Effect.choices, widget=forms.HiddenInput())


class SimulatorPages:
    """Mixed into the admin of the policy in force: the page of the simulator."""

    opts: Any
    admin_site: Any
    message_user: Any

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view = self.admin_site.admin_view
        simulator = path("simulate/", view(self.simulate_view), name="policies_policystate_simulate")
        return [simulator, *super().get_urls()]  # type: ignore[misc]

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    def simulate_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a call; on POST say what it would get, or keep what was asked as a policy test."""
        user: Any = request.user
        if not selectors.may_simulate(user=user):
            raise PermissionDenied
        may_keep = user.has_perm("policies.add_policytest")
        keep = KeepForm(request.POST if "keep" in request.POST else None)
        found, form = None, SimulateForm(initial=self._initial(request))
        if request.method == "POST" and "keep" in request.POST:
            if not may_keep:
                raise PermissionDenied
            self._keep(request, keep)
        elif request.method == "POST":
            form = SimulateForm(request.POST)
            found = _asked(form)
            if found is not None:
                keep = KeepForm(initial=_kept(form, found))
        draft = form.cleaned_data.get("draft") if found is not None else None
        context = {
            "form": form,
            "keep": keep if may_keep and draft is None and (found is not None or keep.errors) else None,
            "found": found,
            "draft": draft,
            "in_force": draft is None,
            "rule": _rule(found) if draft is None else None,
            "names": Tool.objects.values_list("name", flat=True).distinct().order_by("name")[:SUGGESTED_NAMES],
            "media": form.media,
        }
        return page(self, request, "simulator", title="Simulator", way=[], **{**context, "opts": None})

    def _keep(self, request: HttpRequest, keep: KeepForm) -> None:
        if not keep.is_valid():
            return
        values = keep.cleaned_data
        try:
            if PolicyTest.objects.filter(name=values["test_name"]).exists():
                raise ValidationError("There is a policy test of that name already.")
            services.policy_test_save(
                name=values["test_name"],
                given=values["given"],
                expected=values["expected"],
                by=publisher(request, f"Test: {values['test_name']}"),
                now=timezone.now(),
            )
        except ValidationError as error:
            keep.add_error("test_name", ValidationError(error.messages))
        else:
            self.message_user(request, f"Kept as the policy test “{values['test_name']}”.", messages.SUCCESS)

    @staticmethod
    def _initial(request: HttpRequest) -> dict[str, Any]:
        """Fill in what a link names; arguments are never in a link."""
        return {
            name: request.GET[name] for name in ("principal", "connection", "method", "name") if name in request.GET
        }


def _asked(form: SimulateForm) -> Simulation | None:
    if not form.is_valid():
        return None
    draft = form.cleaned_data["draft"]
    try:
        return simulate(given=form.given(), document=None if draft is None else draft.document, now=timezone.now())
    except DocumentRefused as error:
        form.add_error("draft", ValidationError(f"{error}."))
    except CaseRefused as error:
        member = error.member.partition(",")[0]
        field = _FIELD_OF.get(member, member)
        form.add_error(field if field in form.fields else None, ValidationError(f"{error}."))
    return None


def _kept(form: SimulateForm, found: Simulation) -> dict[str, Any]:
    given = json.dumps(form.given(), ensure_ascii=False)
    return {"given": given, "expected": found.said.decision.verdict.effect.value}


def _rule(found: Simulation | None) -> str:
    """Return the page of the guardrail that decided, if one did."""
    if found is None:
        return ""
    decided = next((rule for rule in found.said.rules if rule.name == found.said.verdict.rule), None)
    return "" if decided is None else reverse("admin:policies_guardrail_change", args=[decided.id])
