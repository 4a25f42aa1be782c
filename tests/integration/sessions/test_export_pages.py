"""Export sinks at the console and over REST; a secret goes in and never comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse

from sessions.models import ExportSink
from tests.integration.sessions.test_recording_pages import api, browser_of
from tests.support.siem import SECRET, http_service

pytestmark = pytest.mark.django_db


def form(url: str, **values: Any) -> dict[str, Any]:
    return {
        "name": "siem",
        "kind": "webhook",
        "target": url,
        "secret": SECRET,
        "allowed_networks": "127.0.0.0/8",
        "batch": "500",
        "is_active": "on",
        "has_tls": "on",
        **values,
    }


def test_an_owner_makes_a_sink_tests_it_and_deletes_it_at_the_console():
    client = browser_of("owner")
    with http_service("webhook") as taken:
        client.post(reverse("admin:gateway_sessions_exportsink_add"), form(taken.url))
        sink = ExportSink.objects.get()
        changelist = reverse("admin:gateway_sessions_exportsink_changelist")
        asked = {"action": "test_selected", "_selected_action": str(sink.pk)}
        assert "took the test event" in client.post(changelist, asked, follow=True).content.decode()
        taken.answer_next(500)
        assert "answered 500" in client.post(changelist, asked, follow=True).content.decode()
    page = client.get(reverse("admin:gateway_sessions_exportsink_change", args=[sink.pk])).content.decode()
    assert SECRET not in page
    client.post(
        reverse("admin:gateway_sessions_exportsink_change", args=[sink.pk]), form(sink.target, secret="", batch="9")
    )
    kept = ExportSink.objects.get()
    assert (kept.batch, bytes(kept.ciphertext)) == (9, bytes(sink.ciphertext))
    client.post(reverse("admin:gateway_sessions_exportsink_delete", args=[sink.pk]), {"post": "yes"})
    assert ExportSink.objects.count() == 0


def test_the_form_of_a_sink_saves_what_a_browser_sends_of_it():
    client, url = browser_of("owner"), reverse("admin:gateway_sessions_exportsink_add")
    fields = client.get(url).context["adminform"].form
    sent = {bound.html_name: bound.value() or "" for bound in fields}
    sent |= form("https://siem.example.com/x", kind="splunk") | {fields["dataset"].html_name: "audit"}
    client.post(url, sent)
    assert ExportSink.objects.get().dataset == "audit"


def test_a_sink_over_rest():
    client = browser_of("owner")
    with http_service("otlp") as taken:
        body = {
            "name": "otel",
            "kind": "otlp",
            "target": taken.url,
            "secret": SECRET,
            "allowed_networks": ["127.0.0.0/8"],
        }
        made = client.post(api("export-sink-list"), json.dumps(body), content_type="application/json")
        assert made.status_code == 201
        assert SECRET not in made.content.decode()
        sink = made.json()["id"]
        tested = client.post(api("export-sink-test", sink), "{}", content_type="application/json")
        assert tested.status_code == 204
        taken.answer_next(403)
        refused = client.post(api("export-sink-test", sink), "{}", content_type="application/json")
        assert (refused.status_code, refused.json()["code"]) == (409, "export_failed")
    changed = client.patch(api("export-sink-detail", sink), json.dumps({"batch": 7}), content_type="application/json")
    assert changed.json()["batch"] == 7
    assert client.delete(api("export-sink-detail", sink)).status_code == 204


@pytest.mark.parametrize("role", ["viewer", "approver", "operator", "auditor"])
def test_only_an_owner_decides_where_the_record_goes(role):
    client = browser_of(role)
    answer = client.post(api("export-sink-list"), "{}", content_type="application/json")
    assert answer.status_code == 403
    assert client.get(reverse("admin:gateway_sessions_exportsink_add")).status_code == 403
