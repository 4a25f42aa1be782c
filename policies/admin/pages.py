"""What the pages of policy that are no forms of one row share."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts import proofs
from policies import services
from policies.models import PolicyVersion


class CommentForm(forms.Form):
    """Why policy is changed."""

    comment = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Kept with the version, for those who ask later why.",
    )


def page(
    model_admin: Any, request: HttpRequest, template: str, *, title: str, way: list[tuple[str, str]], **context: Any
) -> HttpResponse:
    """Return a page of the console with its title and the way to it."""
    everywhere = model_admin.admin_site.each_context(request)
    about = {"title": title, "opts": model_admin.opts, "way": way}
    return TemplateResponse(request, f"admin/policies/{template}.html", {**everywhere, **about, **context})


def may_publish(request: HttpRequest) -> bool:
    """Tell whether the person may bring drafts and earlier versions into force."""
    return request.user.has_perm("policies.publish_policyversion")


def needs_proof(request: HttpRequest, form: forms.Form) -> bool:
    """Tell whether the person has to prove who they are first, and say so in the form, which keeps what was entered."""
    if proofs.is_recent(request, timezone.now()):
        return False
    form.is_valid()
    form.add_error(None, ValidationError(proofs.sentence_for_forms(), code=proofs.ProofNeeded.code))
    return True


def publisher(request: HttpRequest, comment: str, source: str = PolicyVersion.Source.CONSOLE) -> services.Publisher:
    """Return who publishes by `request`."""
    author: Any = request.user
    return services.Publisher(author, source, comment)
