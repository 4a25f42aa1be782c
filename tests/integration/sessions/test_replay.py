"""The replay page as HTML, for those who may see it."""

from __future__ import annotations

import re
import uuid

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from sessions import selectors
from tests.support.record import Record

pytestmark = pytest.mark.django_db


@pytest.fixture
def record():
    return Record()


def url_of(record):
    return reverse("admin:gateway_sessions_session_replay", args=[record.session.pk])


def page_of(client, url):
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def test_every_call_is_there_with_who_what_verdict_rule_state_and_time(admin_client, record):
    allowed = record.call("get_order", hits={"email": 2}, answers=({"result": {"to": "[MASKED:email]"}},))
    denied = record.call("delete_order", verdict="deny", reason="Deleting needs a ticket.")
    page = page_of(admin_client, url_of(record))
    assert page.index(f'id="call-{allowed}"') < page.index(f'id="call-{denied}"')
    for part in ("Ada", "Orders", "a-client 1.0", "email masked × 2", "2.00 ms", "Deleting needs a ticket.", "deny it"):
        assert part in page
    assert '<mark class="masked">[MASKED:email]</mark>' in page
    assert "Allowed" in page
    assert "the upstream saw nothing of this call" in page


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\"'><svg/onload=alert(1)>",
        "javascript:alert(1)",
        "</pre></article><h1>x",
        "{{ settings.SECRET_KEY }}{% debug %}",
    ],
)
def test_nothing_that_a_stranger_wrote_becomes_markup(admin_client, record, payload):
    record.principal.display_name = record.principal.subject = payload
    record.principal.save()
    record.session.client_name = record.session.remote_address = payload
    record.session.end_reason = payload[:32]
    record.session.protocol_version = payload[:16]
    record.session.save()
    record.call(payload, method=payload, request={payload: payload}, answers=({payload: payload},), hits={payload: 1})
    record.call(payload, verdict="deny", reason=payload)
    record.event(payload[:64], {"reason": payload}, call=record.call(state="open"), payload=payload.encode())
    page = page_of(admin_client, url_of(record))
    for dangerous in ("<script>alert", "<img src=x", "<svg/onload", "</pre></article><h1>x", 'href="javascript:'):
        assert dangerous not in page
    assert len(re.findall(r"<script\b", page)) == 1


def test_the_policy_of_the_page_allows_no_inline_script_and_no_eval(admin_client, record):
    record.call()
    policy = admin_client.get(url_of(record)).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_a_reader_without_the_permission_is_refused(client, django_user_model, record):
    user = django_user_model.objects.create_user("reader", is_staff=True)
    client.force_login(user)
    assert client.get(url_of(record)).status_code == 403
    for codename, status in (("view_session", 404), ("see_all_sessions", 200)):
        user.user_permissions.add(Permission.objects.get(codename=codename, content_type__app_label="gateway_sessions"))
        assert client.get(url_of(record)).status_code == status


def test_somebody_who_is_not_logged_in_is_sent_to_the_login(client, record):
    answer = client.get(url_of(record))
    assert answer.status_code == 302
    assert answer.url.startswith(reverse("admin:login"))


def test_the_page_changes_nothing_and_is_not_kept_by_caches(admin_client, record):
    assert admin_client.post(url_of(record)).status_code == 405
    assert "no-store" in admin_client.get(url_of(record)).headers["Cache-Control"]


def test_the_filter_is_applied_on_the_server(admin_client, record):
    kept, left = record.call("get_order"), record.call("delete_order", verdict="deny")
    page = page_of(admin_client, url_of(record) + "?verdict=allow&text=ORDER")
    assert f'id="call-{kept}"' in page
    assert f'id="call-{left}"' not in page


@pytest.mark.parametrize("query", ["?after=x", "?after=-1", "?after=99999999999999999999", "?verdict=%00&text=%00"])
def test_a_query_that_makes_no_sense_is_not_an_error(admin_client, record, query):
    record.call()
    assert admin_client.get(url_of(record) + query).status_code == 200


def test_a_session_without_calls_says_so(admin_client, record):
    assert "No calls yet" in page_of(admin_client, url_of(record))
    record.call()
    assert "No call matches" in page_of(admin_client, url_of(record) + "?text=nothing")


def test_a_long_session_offers_its_next_page(admin_client, record, monkeypatch):
    monkeypatch.setitem(selectors.calls_of.__kwdefaults__, "limit", 2)
    calls = [record.call(f"tool{number}") for number in range(3)]
    page = page_of(admin_client, url_of(record))
    following = re.search(r'href="(\?[^"]*after=\d+)"', page)[1].replace("&amp;", "&")
    assert f'id="call-{calls[2]}"' not in page
    assert f'id="call-{calls[2]}"' in page_of(admin_client, url_of(record) + following)


def test_a_call_that_is_too_long_for_the_list_has_a_page_with_everything(admin_client, record, monkeypatch):
    monkeypatch.setattr(selectors, "PAGE_PAYLOAD_BYTES", 500)
    record.call()
    long = record.call(answers=({"text": " ".join(map(str, range(3_000)))},))
    own = reverse("admin:gateway_sessions_session_call", args=[record.session.pk, long])
    page = page_of(admin_client, url_of(record))
    assert f'href="{own}"' in page
    assert "2998 2999" not in page
    assert "2998 2999" in page_of(admin_client, own)


def test_a_call_that_does_not_exist_is_not_found(admin_client, record):
    own = reverse("admin:gateway_sessions_session_call", args=[record.session.pk, uuid.uuid4()])
    assert admin_client.get(own).status_code == 404


def test_the_evidence_of_a_call_names_its_place_in_the_chain(admin_client, record):
    record.call()
    page = page_of(admin_client, url_of(record))
    assert "ab" * 32 in page
    assert record.session.events.order_by("id").first().hash.hex() in page


def test_a_page_costs_a_fixed_number_of_queries(admin_client, record, django_assert_num_queries):
    for number in range(20):
        record.call(f"tool{number}")
    with django_assert_num_queries(8):
        admin_client.get(url_of(record))
