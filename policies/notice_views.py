"""My account, notifications: what one wants to be told, in which way, and in which browsers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.views.proof import needs_login

from . import services
from .models import PushSubscription
from .notices import email
from .notices.message import CHOSEN, Event
from .notices.ways import WAYS

EVENTS = (
    (Event.ASKED, "Something waits for your decision"),
    (Event.REMINDER, "It still waits, and half of its time is over"),
    (Event.ESCALATED, "It was escalated to you"),
    (Event.HANDED_OVER, "Somebody asks you to decide in their place"),
    (Event.QUESTION, "A question about what you asked for, or an answer to yours"),
    (Event.APPROVED, "What you asked for was approved"),
    (Event.DENIED, "What you asked for was denied"),
    (Event.EXPIRED, "What you asked for expired"),
    (Event.WITHDRAWN, "What you asked for was withdrawn by somebody else"),
    (Event.BREAK_GLASS, "Somebody approved alone in an emergency"),
    (Event.REVIEW_DUE, "An approval in an emergency waits for its review"),
)


class PreferenceForm(forms.Form):
    """What one wants to be told."""

    email_events = forms.MultipleChoiceField(required=False, choices=[(event.value, "") for event in CHOSEN])
    push_events = forms.MultipleChoiceField(required=False, choices=[(event.value, "") for event in CHOSEN])
    quiet_from = forms.TimeField(required=False)
    quiet_until = forms.TimeField(required=False)
    time_zone = forms.CharField(max_length=64, required=False)


@needs_login
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def notifications(request: HttpRequest) -> HttpResponse:
    """Show and keep what the person of the request wants to be told."""
    user: Any = request.user
    form = PreferenceForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        values = {**form.cleaned_data, "time_zone": form.cleaned_data["time_zone"] or "UTC"}
        try:
            services.notice_preference_save(user=user, **values, now=timezone.now())
        except ValidationError as refusal:
            for name, errors in refusal.error_dict.items():
                form.add_error(name, errors)
        else:
            messages.success(request, "Your choice was saved.")
            return HttpResponseRedirect(reverse("console_notifications"))
    wishes = services.wishes_of(user)
    email_events, push_events = wishes.email_events, wishes.push_events
    if form.is_bound:
        email_events = frozenset(request.POST.getlist("email_events"))
        push_events = frozenset(request.POST.getlist("push_events"))
    context = {
        **admin.site.each_context(request),
        "title": "Notifications",
        "form": form,
        "events": [(event, label, event in email_events, event in push_events) for event, label in EVENTS],
        "quiet": {name: _shown(form, wishes.preference, name) for name in ("quiet_from", "quiet_until", "time_zone")},
        "is_mail_set_up": email.is_set_up(),
        "is_push_set_up": "web_push" in WAYS,
        "browsers": PushSubscription.objects.filter(user=user),
    }
    return render(request, "console/notifications.html", context)


@needs_login
@require_POST
def forget_browser(request: HttpRequest, subscription_id: UUID) -> HttpResponse:
    """Tell the person of the request nothing in one of their browsers any more."""
    user: Any = request.user
    services.push_unsubscribe(user=user, subscription_id=subscription_id)
    messages.success(request, "That browser is told nothing any more.")
    return HttpResponseRedirect(reverse("console_notifications"))


def _shown(form: PreferenceForm, preference: Any, name: str) -> str:
    if form.is_bound:
        return str(form.data.get(name, ""))
    value = getattr(preference, name, None)
    return "" if value is None else value if isinstance(value, str) else f"{value:%H:%M}"
