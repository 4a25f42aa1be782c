"""The page of ready-made packs: what each would do, installed with one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from connections.models import Connection
from policies import selectors, services
from policies.engine.guardrail_packs import PACKS, GuardrailPack
from policies.models import Guardrail, PolicyVersion
from policies.services.packs import PackChange, pack_apply, pack_remove

_WANTED = ("add", "change", "delete")


class PackForm(forms.Form):
    """Where and how a pack is installed."""

    connection = forms.ModelChoiceField(
        queryset=Connection.objects.all(),
        required=False,
        empty_label="Every connection",
        widget=UnfoldAdminSelectWidget,
    )
    labels = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Instead: connections that have one of these labels, with commas between them.",
    )
    is_enforced = forms.BooleanField(
        label="In force at once",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Otherwise the guardrails are only observed: they record what they would have done.",
    )

    def __init__(self, pack: GuardrailPack, data: QueryDict | None = None) -> None:
        super().__init__(data, auto_id=f"id_{pack.id}_%s")
        self.pack = pack
        for parameter in pack.parameters:
            self.fields[f"parameter_{parameter.name}"] = forms.CharField(
                label=parameter.name.replace("_", " ").capitalize(),
                required=False,
                max_length=64,
                initial=parameter.default,
                widget=UnfoldAdminTextInputWidget,
                help_text=parameter.help,
            )

    @property
    def place(self) -> dict[str, Any]:
        """Return the connection and the labels."""
        labels = [label.strip() for label in self.cleaned_data["labels"].split(",") if label.strip()]
        return {"connection": self.cleaned_data["connection"], "labels": labels}

    @property
    def parameters(self) -> dict[str, str]:
        """Return the values of the pack's parameters."""
        return {parameter.name: self.cleaned_data[f"parameter_{parameter.name}"] for parameter in self.pack.parameters}

    def refuse(self, error: ValidationError) -> None:
        """Put what the service refuses where the person can see it."""
        for name, errors in getattr(error, "error_dict", {"": [error]}).items():
            self.add_error(name if name in self.fields else None, errors)


@dataclass(frozen=True)
class _Shown:
    pack: GuardrailPack
    form: PackForm
    installed: list[Guardrail]
    changes: list[PackChange] | None


@never_cache
@require_http_methods(["GET", "POST"])
def packs_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show the packs; on POST say what installing one would change, install it, or take it away."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    chosen = PACKS.get(request.POST.get("pack", "")) if request.method == "POST" else None
    form = None if chosen is None else PackForm(chosen, request.POST)
    changes: list[PackChange] | None = None
    if chosen is not None and form is not None and form.is_valid():
        if not request.user.has_perms([f"policies.{verb}_guardrail" for verb in _WANTED]):
            raise PermissionDenied
        try:
            changes, said = _done(request, chosen, form)
        except ValidationError as error:
            form.refuse(error)
        else:
            if said:
                messages.success(request, said)
                return HttpResponseRedirect(reverse("admin:policies_guardrail_packs"))
    user: Any = request.user
    installed = list(selectors.guardrails_visible_to(user=user).exclude(pack=""))
    shown = [
        _Shown(
            pack,
            form if form is not None and pack is chosen else PackForm(pack),
            [row for row in installed if row.pack == pack.id],
            changes if pack is chosen else None,
        )
        for pack in PACKS.values()
    ]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Packs of guardrails",
        "opts": model_admin.opts,
        "shown": shown,
        "may_install": request.user.has_perms([f"policies.{verb}_guardrail" for verb in _WANTED]),
    }
    return TemplateResponse(request, "admin/policies/packs.html", context)


def _done(request: HttpRequest, pack: GuardrailPack, form: PackForm) -> tuple[list[PackChange] | None, str]:
    """Do what the button says; return what would change, or a sentence on what was done."""
    author: Any = request.user
    by = services.Publisher(author, PolicyVersion.Source.CONSOLE, f"Pack {pack.id}")
    if request.POST.get("do") == "remove":
        count = pack_remove(pack=pack.id, **form.place, by=by, now=timezone.now())
        return None, f"{pack.title}: {count} guardrail(s) taken away."
    is_dry_run = request.POST.get("do") != "install"
    changes = pack_apply(
        pack=pack.id,
        parameters=form.parameters,
        **form.place,
        is_observed=not form.cleaned_data["is_enforced"],
        is_dry_run=is_dry_run,
        by=by,
        now=timezone.now(),
    )
    if is_dry_run:
        return changes, ""
    count = sum(change.kind != "unchanged" for change in changes)
    how = "in force" if form.cleaned_data["is_enforced"] else "observed"
    return None, f"{pack.title}: {count} guardrail(s) added or changed, {how}."
