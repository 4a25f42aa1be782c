"""Admin pages and REST resources whose changes ask for a recent proof of who one is (`accounts.proofs`)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts import proofs

_CHANGES = frozenset({"create", "update", "partial_update", "destroy"})


class UnprovedForm:
    """Mixed into a form that was sent without a recent proof: it is shown again with what was entered, and not saved.

    Nothing of it is kept here: the browser has it, and sends it again when the person has confirmed in another tab.
    """

    def clean(self) -> Any:
        """Refuse, besides what else is wrong."""
        form: Any = self
        cleaned = super().clean()  # type: ignore[misc]
        form.add_error(None, ValidationError(proofs.sentence_for_forms(), code=proofs.ProofNeeded.code))
        return cleaned


class ProofAdmin:
    """Mixed into an admin: looking needs no proof, and saving, deleting and every action do."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form, which does not save without a proof."""
        form = super().get_form(request, obj, change=change, **kwargs)  # type: ignore[misc]
        if not self._must_ask(request):
            return form
        return type(form)(form.__name__, (UnprovedForm, form), {})

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete, after a proof."""
        if self._must_ask(request):
            return proofs.ask(request)
        answer: HttpResponse = super().delete_view(request, *args, **kwargs)  # type: ignore[misc]
        return answer

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the list, and run its actions after a proof."""
        if "action" in request.POST and self._must_ask(request):
            return proofs.ask(request)
        answer: HttpResponse = super().changelist_view(request, *args, **kwargs)  # type: ignore[misc]
        return answer

    @staticmethod
    def _must_ask(request: HttpRequest) -> bool:
        return request.method == "POST" and not proofs.is_recent(request, timezone.now())


class ProofViewSet:
    """Mixed into a REST resource: a person needs a proof to change its rows, the bearer of an API token does not."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Check the proof after authentication and permissions.

        Raises:
            ProofNeeded: there is none.
        """
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        if getattr(self, "action", None) in _CHANGES:
            proofs.require_recent(request)
