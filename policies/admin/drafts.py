"""Drafts of policy, in the console: made from policy as it is, written as a document, tried out, published."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.console import ServiceAdmin, ServiceForm
from accounts.exceptions import DomainError
from policies import documents, reading, selectors, services
from policies.documents import DocumentRefused
from policies.models import PolicyDraft, PolicyVersion
from policies.places import line_of

from .pages import CommentForm, may_publish, needs_proof, page, publisher

_SHOWN_LINE = 80
_AROUND = 2


class NewDraftForm(ServiceForm):
    """A draft begins as policy is now."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> PolicyDraft:
        """Make the draft."""
        return services.draft_save(**values, author=self.actor, now=now)


class DraftForm(ServiceForm):
    """A draft as a document. What is refused stays in the form."""

    text = forms.CharField(
        label="Document",
        strip=False,
        required=False,
        max_length=documents.MAX_BYTES,
        widget=UnfoldAdminTextareaWidget(
            attrs={
                "rows": 28,
                "spellcheck": "false",
                "autocapitalize": "off",
                "wrap": "off",
                "class": "font-mono wg-text",
            }
        ),
        help_text="YAML with grants, guardrails, masking_patterns and tests. An entry that is left out is removed.",
    )
    seen = forms.CharField(widget=forms.HiddenInput(), required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["text"] = documents.write(self.instance.document)
        self.initial["seen"] = documents.digest(self.instance.document)

    def clean_text(self) -> str:
        """Refuse what is no document, with the line."""
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        try:
            documents.read(text)
        except DocumentRefused as error:
            raise ValidationError(_with_line(text, error), code="document_refused") from None
        return text

    def clean_seen(self) -> str:
        """Refuse to write over what somebody else saved since the page was opened."""
        seen: str = self.cleaned_data["seen"]
        stored = PolicyDraft.objects.filter(pk=self.instance.pk).values_list("document", flat=True).first()
        if stored is not None and seen != documents.digest(stored):
            raise ValidationError(
                "Somebody has saved this draft since you opened it. Your text is still here: copy it, open the draft "
                "in another tab, and bring the two together.",
                code="saved_meanwhile",
            )
        return seen

    def save_by_service(self, values: dict[str, Any], now: datetime) -> PolicyDraft:
        """Save the draft."""
        document = documents.read(values["text"])
        return services.draft_save(
            draft_id=self.row_id, name=values["name"], comment=values["comment"], document=document, now=now
        )


def _with_line(text: str, error: DocumentRefused) -> str:
    """Return the refusal with the line of the text that it is about."""
    line = line_of(text, error.place)
    lines = text.splitlines()
    written = lines[line - 1].strip()[:_SHOWN_LINE] if line is not None and 0 < line <= len(lines) else ""
    place = error.place if line is None or error.place.startswith("line ") else f"line {line} ({error.place})"
    told = f"{place[:1].upper()}{place[1:]}: {error.hint.rstrip('. ')}."
    return f"{told} There it says: {written}" if written else told


@admin.register(PolicyDraft)
class PolicyDraftAdmin(ServiceAdmin):
    """Policy that is not in force yet. A published draft is kept as it was."""

    list_display = ["name", "shown_state", "author", "changed_at", "comment"]
    list_filter = ["author"]
    list_select_related = ["author"]
    search_fields = ["name", "comment"]
    change_form_outer_before_template = "admin/policies/policydraft/before.html"

    @display(description="State", label={"open": "info", "outdated": "warning", "published": "success"})
    def shown_state(self, draft: Any) -> str:
        """Say how far the draft is."""
        if draft.published_number is not None:
            return "published"
        return "outdated" if draft.base_number != (draft.newest_number or 0) else "open"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Tell each draft which version is the newest."""
        newest = PolicyVersion.objects.order_by("-number").values("number")[:1]
        return super().get_queryset(request).annotate(newest_number=Subquery(newest))

    def get_fields(self, request: HttpRequest, obj: PolicyDraft | None = None) -> list[str]:
        """Ask only for a name at first."""
        return ["name", "comment"] if obj is None else ["name", "comment", "text", "seen"]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form for a new draft, or for a document."""
        kwargs["form"] = NewDraftForm if obj is None else DraftForm
        return super().get_form(request, obj, change=change, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep published drafts as they were."""
        is_published = obj is not None and obj.published_number is not None
        return not is_published and super().has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Show the document of a draft that cannot be changed as text."""
        if obj is None or self.has_change_permission(request, obj):
            return []
        return ["name", "comment", "shown_text"]

    @display(description="Document")
    def shown_text(self, draft: PolicyDraft) -> str:
        """Return the document."""
        return documents.write(draft.document)

    def get_fieldsets(self, request: HttpRequest, obj: PolicyDraft | None = None) -> Any:
        """Leave the text field away where nothing is edited."""
        if obj is not None and not self.has_change_permission(request, obj):
            return ((None, {"fields": ["name", "comment", "shown_text"]}),)
        return ((None, {"fields": self.get_fields(request, obj)}),)

    def get_urls(self) -> list[URLPattern]:
        """Add the page on which a draft is reviewed and published."""
        view = self.admin_site.admin_view
        review = path("<uuid:draft_id>/review/", view(self.review_view), name="policies_policydraft_review")
        return [review, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say beside the form whether policy has changed since the draft was made."""
        context = {
            "newest_number": reading.newest_number(),
            "show_save_and_add_another": False,
            **(extra_context or {}),
        }
        answer: HttpResponse = super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})
        return answer

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Lead from a new draft to its document."""
        self.message_user(request, f"The draft “{obj}” begins as policy is now.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:policies_policydraft_change", args=[obj.pk]))

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Lead from a saved draft to its review, unless the person goes on writing."""
        if "_continue" in request.POST or "_addanother" in request.POST:
            answer: HttpResponse = super().response_change(request, obj)
            return answer
        return HttpResponseRedirect(reverse("admin:policies_policydraft_review", args=[obj.pk]))

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    def review_view(self, request: HttpRequest, draft_id: UUID) -> HttpResponse:
        """Show what publishing would change and what the tests get; on POST bring the draft up to date, or publish."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        user: Any = request.user
        draft = get_object_or_404(selectors.drafts_visible_to(user=user), pk=draft_id)
        form = CommentForm(request.POST if "publish" in request.POST else None, initial={"comment": draft.comment})
        conflicts: Any = ()
        if request.method == "POST":
            if "publish" in request.POST:
                done = self._publish(request, draft, form)
                if done is not None:
                    return done
            else:
                conflicts = self._rebase(request, draft)
            draft.refresh_from_db()
        newest = reading.newest_number()
        is_outdated = draft.published_number is None and draft.base_number != newest
        checked = services.document_check(document=draft.document, now=timezone.now())
        context = {
            "draft": draft,
            "form": form,
            "checked": checked,
            "excerpt": _excerpt(draft, checked),
            "conflicts": list(conflicts),
            "is_outdated": is_outdated,
            "since": _since(draft) if is_outdated else [],
            "newest_number": newest,
            "may_change": self.has_change_permission(request, draft),
            "may_delete": self.has_delete_permission(request, draft),
            "may_publish": may_publish(request),
        }
        way = [
            ("Policy drafts", reverse("admin:policies_policydraft_changelist")),
            (draft.name, reverse("admin:policies_policydraft_change", args=[draft.pk])),
        ]
        return page(self, request, "policydraft/review", title="Review", way=way, **context)

    def _publish(self, request: HttpRequest, draft: PolicyDraft, form: CommentForm) -> HttpResponse | None:
        if not may_publish(request):
            raise PermissionDenied
        if needs_proof(request, form) or not form.is_valid():
            return None
        by = publisher(request, form.cleaned_data["comment"])
        try:
            services.draft_publish(draft_id=draft.pk, by=by, now=timezone.now())
        except (DocumentRefused, DomainError) as error:
            form.add_error(None, ValidationError(f"{str(error).rstrip('. ')}."))
        except ValidationError as error:
            form.add_error(None, ValidationError(error.messages))
        else:
            self.message_user(request, f"“{draft}” is policy now.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:policies_policyversion_changelist"))
        return None

    def _rebase(self, request: HttpRequest, draft: PolicyDraft) -> Any:
        if not self.has_change_permission(request, draft):
            raise PermissionDenied
        _, conflicts = services.draft_rebase(draft_id=draft.pk, now=timezone.now())
        self.message_user(request, "The draft has what was published since. Look at the difference.", messages.SUCCESS)
        return conflicts

    def delete_by_service(self, row: PolicyDraft) -> None:
        """Discard the draft."""
        services.draft_delete(draft_id=row.pk)


def _since(draft: PolicyDraft) -> list[documents.Change]:
    """Return what was published since the draft was made."""
    base = PolicyVersion.objects.filter(pk=draft.base_number).first()
    return documents.diff({} if base is None else base.document, reading.document_now())


def _excerpt(draft: PolicyDraft, checked: services.Checked) -> list[tuple[int, str, bool]]:
    """Return the lines around what cannot be published: number, text, and whether it is the one."""
    if checked.problem is None:
        return []
    text = documents.write(draft.document)
    line = line_of(text, checked.problem.place)
    if line is None:
        return []
    lines = text.splitlines()
    last = min(len(lines), line + _AROUND + 3)
    return [(number, lines[number - 1], number == line) for number in range(max(1, line - _AROUND), last + 1)]
