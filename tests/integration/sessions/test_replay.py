"""The replay pages as HTML, for those who may see them; who sees is recorded."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts.models import ConsoleSession
from sessions import panels, parts, reading, search_index, selectors
from sessions.models import ReadEvent, RecordAccess, SessionStop
from sessions.recordings import RecordingUnreadable
from tests.support.record import START, Record

pytestmark = pytest.mark.django_db


@pytest.fixture
def record():
    return Record()


def url_of(record, name="replay", *more):
    return reverse(f"admin:gateway_sessions_session_{name}", args=[record.session.pk, *more])


def page_of(client, url):
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def listed(page):
    """The ids of the calls in the list, in order."""
    return re.findall(r'data-call="([0-9a-f-]{36})" data-panel', page)


def permitted(django_user_model, name, *codenames, **fields):
    user = django_user_model.objects.create_user(name, is_staff=True, **fields)
    permissions = Permission.objects.filter(content_type__app_label="gateway_sessions", codename__in=codenames)
    user.user_permissions.set(permissions)
    return user


def test_every_call_is_listed_and_the_first_is_shown_with_everything(admin_client, record):
    allowed = record.call("get_order", hits={"email": 2}, answers=({"result": {"to": "[MASKED:email]"}},))
    denied = record.call("delete_order", verdict="deny", reason="Deleting needs a ticket.")
    page = page_of(admin_client, url_of(record))
    assert listed(page) == [str(allowed), str(denied)]
    for part in ("Ada", "Orders", "a-client 1.0", "email masked × 2", "2.00 ms", "1 masked", "1 denied", "Allowed"):
        assert part in page
    assert '<mark class="masked">[MASKED:email]</mark>' in page
    own = page_of(admin_client, url_of(record, "call", denied))
    for part in ("Deleting needs a ticket.", "deny it", "the upstream saw nothing of this call"):
        assert part in own


def test_a_panel_is_the_piece_of_the_page_that_shows_the_call(admin_client, record):
    call = record.call("get_order", request={"method": "tools/call", "params": {"arguments": {"id": 1.0}}})
    piece = page_of(admin_client, url_of(record, "panel", call))
    assert piece.lstrip().startswith("<article")
    assert "1.0" in piece
    assert "<html" not in piece


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
    calls = [
        record.call(
            payload, method=payload, request={payload: payload}, answers=({payload: payload},), hits={payload: 1}
        ),
        record.call(payload, verdict="deny", reason=payload),
        record.call(state="open"),
    ]
    record.event(payload[:64], {"reason": payload}, call=calls[2], payload=payload.encode())
    record.event("approval:request:decided", {payload: payload, "by": [payload]}, call=calls[2])
    search_index.catch_up()
    places = [url_of(record), reverse("admin:gateway_sessions_session_search"), url_of(record, "end")]
    places += [url_of(record, "call", call) for call in calls]
    for place in places:
        page = page_of(admin_client, place)
        for dangerous in ("<script>alert", "<img src=x", "<svg/onload", "</pre></article><h1>x", 'href="javascript:'):
            assert dangerous not in page
        assert len(re.findall(r"<script src=", page)) == len(re.findall(r"<script\b", page))


@pytest.mark.parametrize("name", ["replay", "tail", "end"])
def test_the_policy_of_the_pages_allows_no_inline_script_and_no_eval(admin_client, record, name):
    record.call()
    policy = admin_client.get(url_of(record, name)).headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy
    assert "unsafe" not in policy


def test_a_message_is_saved_as_a_file_that_no_browser_runs(admin_client, record):
    call = record.call(answers=({"progress": 1}, {"html": "<script>alert(1)</script>"}))
    answer = admin_client.get(url_of(record, "message", call, 2))
    assert answer.content == b'{"html": "<script>alert(1)</script>"}'
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"tools/call" in admin_client.get(url_of(record, "message", call, 0)).content
    assert admin_client.get(url_of(record, "message", call, 3)).status_code == 404


class TestWhoSees:
    """Roles, one's own sessions, and those of a team."""

    def test_without_the_permission_nobody_gets_in(self, client, django_user_model, record):
        client.force_login(permitted(django_user_model, "reader"))
        call = record.call()
        for name, *more in (["replay"], ["tail"], ["call", call], ["panel", call], ["message", call, 0]):
            assert client.get(url_of(record, name, *more)).status_code == 403
        assert client.get(reverse("admin:gateway_sessions_session_search")).status_code == 403

    def test_a_session_of_somebody_else_does_not_exist(self, client, django_user_model, record):
        client.force_login(permitted(django_user_model, "reader", "view_session"))
        assert client.get(url_of(record)).status_code == 404
        changelist = page_of(client, reverse("admin:gateway_sessions_session_changelist"))
        assert str(record.session.pk) not in changelist

    def test_whoever_sees_all_sessions_sees_no_contents_without_the_permission(self, client, django_user_model, record):
        call = record.call(request={"params": {"arguments": {"a": "needle"}}}, answers=({"result": "needle"},))
        client.force_login(permitted(django_user_model, "operator", "view_session", "see_all_sessions"))
        for place in (url_of(record), url_of(record, "call", call), url_of(record, "panel", call)):
            page = page_of(client, place)
            assert "get_order" in page
            assert "needle" not in page
            assert "Your role does not show" in page
        assert client.get(url_of(record, "message", call, 0)).status_code == 403
        user = permitted(django_user_model, "auditor", "view_session", "see_all_sessions", "view_event")
        client.force_login(user)
        assert "needle" in page_of(client, url_of(record))

    def test_everybody_sees_their_own_sessions_and_those_of_their_machines(self, client, django_user_model, record):
        record.call(answers=({"result": "needle"},))
        machine = Record(slug="wiki", subject="robot")
        machine.principal.owner = record.principal
        machine.principal.save()
        machine.call(answers=({"result": "needle"},))
        client.force_login(permitted(django_user_model, "ada", "view_session", principal=record.principal))
        assert "needle" in page_of(client, url_of(record))
        assert "needle" not in page_of(client, url_of(machine))

    @pytest.mark.parametrize("sees_contents", [False, True])
    def test_a_team_sees_the_sessions_of_its_connection(self, client, django_user_model, record, sees_contents):
        record.call(answers=({"result": "needle"},))
        user = permitted(django_user_model, "team", "view_session")
        RecordAccess.objects.create(user=user, connection=record.connection, sees_contents=sees_contents)
        client.force_login(user)
        assert ("needle" in page_of(client, url_of(record))) is sees_contents

    def test_somebody_who_is_not_logged_in_is_sent_to_the_login(self, client, record):
        answer = client.get(url_of(record))
        assert answer.status_code == 302
        assert answer.url.startswith(reverse("admin:login"))


class TestReadings:
    """Who reads is recorded, before anything is shown, in a chain that nobody changes."""

    def test_pages_panels_files_and_searches_are_recorded(self, admin_client, admin_user, record):
        call = record.call()
        admin_client.get(url_of(record) + "?q=is:slow")
        admin_client.get(url_of(record) + "?live=1")
        admin_client.get(url_of(record, "panel", call))
        admin_client.get(url_of(record, "call", call))
        admin_client.get(url_of(record, "message", call, 0))
        admin_client.get(reverse("admin:gateway_sessions_session_search") + "?q=tool:x")
        event = record.session.events.first()
        admin_client.get(reverse("admin:gateway_sessions_event_change", args=[event.pk]))
        rows = ReadEvent.objects.order_by("seq").values_list("kind", "session_id", "call_id", "detail")
        of = record.session.pk
        assert list(rows) == [
            ("session", of, None, "is:slow"),
            ("tail", of, None, ""),
            ("call", of, call, ""),
            ("call", of, call, ""),
            ("call", of, call, "saved message 0"),
            ("search", None, None, "tool:x"),
            ("event", None, None, f"event {event.pk}"),
        ]
        assert set(ReadEvent.objects.values_list("username", "user_id", "via", "address")) == {
            (admin_user.username, admin_user.pk, "console", "127.0.0.1")
        }

    def test_a_reading_that_cannot_be_recorded_shows_nothing(self, admin_client, record, monkeypatch):
        record.call(answers=({"result": "needle"},))

        def fail(**_):
            raise RuntimeError("the database is full")

        monkeypatch.setattr(reading, "reading_add", fail)
        admin_client.raise_request_exception = False
        answer = admin_client.get(url_of(record))
        assert answer.status_code == 500
        assert b"needle" not in answer.content

    def test_the_chain_holds_and_what_is_changed_is_found(self, record):
        reader = reading.Reader(1, "ada\0\ud800", "console", "192.0.2.1")
        for number in range(3):
            reading.reading_add(
                reader=reader,
                kind="call",
                session_id=record.session.pk,
                detail="x" * 3000,
                now=START + timedelta(number),
            )
        assert reading.readings_first_broken() is None
        from django.db import connection, transaction
        from django.db.utils import DatabaseError

        for statement in (
            "UPDATE gateway_sessions_readevent SET username = 'x'",
            "DELETE FROM gateway_sessions_readevent",
        ):
            with pytest.raises(DatabaseError, match="evidence"), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gateway_sessions_readevent DISABLE TRIGGER wardgate_row_is_final")
            cursor.execute("UPDATE gateway_sessions_readevent SET detail = 'y' WHERE seq = 2")
        assert reading.readings_first_broken() == 2

    def test_the_log_of_readings_is_for_those_who_may_see_it(self, admin_client, client, django_user_model, record):
        admin_client.get(url_of(record))
        changelist = reverse("admin:gateway_sessions_readevent_changelist")
        assert "Replay of a session" in page_of(admin_client, changelist)
        client.force_login(permitted(django_user_model, "reader", "view_session"))
        assert client.get(changelist).status_code == 403


class TestEnding:
    """A session is ended by those who may, with a fresh proof and a reason."""

    def test_it_takes_a_reason_and_is_recorded(self, admin_client, record):
        assert b"End session" in admin_client.get(url_of(record)).content
        refused = admin_client.post(url_of(record, "end"), {"reason": "  "})
        assert "Say why" in refused.content.decode()
        answer = admin_client.post(url_of(record, "end"), {"reason": "It deletes orders."})
        assert answer.url == url_of(record)
        record.session.refresh_from_db()
        assert record.session.ended_at is not None
        assert SessionStop.objects.get().reason == "It deletes orders."
        assert ReadEvent.objects.get(kind="end").detail == "It deletes orders."
        assert record.session.pk.bytes in selectors.stopped_sessions()
        page = page_of(admin_client, url_of(record))
        assert "It deletes orders." in page
        assert "End session" not in page
        again = admin_client.post(url_of(record, "end"), {"reason": "again"}, follow=True)
        assert "ended already" in again.content.decode()
        assert SessionStop.objects.count() == 1

    def test_it_takes_the_permission_and_a_fresh_proof(self, client, django_user_model, record):
        user = permitted(django_user_model, "operator", "view_session", "see_all_sessions")
        client.force_login(user)
        assert client.post(url_of(record, "end"), {"reason": "x"}).status_code == 403
        user.user_permissions.add(Permission.objects.get(codename="end_session"))
        ConsoleSession.objects.update(authenticated_at=START)
        assert "proof" in client.post(url_of(record, "end"), {"reason": "x"}).url
        assert not SessionStop.objects.exists()
        assert b"End session" in client.get(url_of(record)).content


def test_a_recording_that_cannot_be_read_is_said_to_be(admin_client, record, monkeypatch):
    def fail(*_, **__):
        raise RecordingUnreadable("The recording cannot be read: its file is gone.")

    call = record.call()
    monkeypatch.setattr(selectors, "events_of", fail)
    for place in (url_of(record), url_of(record, "call", call), url_of(record, "panel", call)):
        answer = admin_client.get(place)
        assert answer.status_code == 503
        assert "its file is gone" in answer.content.decode()


def test_the_files_of_a_session_are_offered_to_those_who_may_read_it(admin_client, client, django_user_model, record):
    assert f"{record.session.pk}/har/" in page_of(admin_client, url_of(record))
    client.force_login(permitted(django_user_model, "operator", "view_session", "see_all_sessions"))
    assert f"{record.session.pk}/har/" not in page_of(client, url_of(record))


def test_the_page_changes_nothing_and_is_not_kept_by_caches(admin_client, record):
    assert admin_client.post(url_of(record)).status_code == 405
    assert "no-store" in admin_client.get(url_of(record)).headers["Cache-Control"]


def test_the_filter_is_applied_on_the_server(admin_client, record):
    kept = record.call("get_order", state="outcome_unknown", answers=(), upstream_us=9_000_000)
    record.call("delete_order", verdict="deny")
    for query in ("verdict:allow", "tool:get_*", "is:slow", "state:outcome_unknown duration:>5s", "GET"):
        assert listed(page_of(admin_client, url_of(record) + f"?q={query.replace('>', '%3E')}")) == [str(kept)]


@pytest.mark.parametrize("query", ["colour:red", "value:1", "who:ada", "since:x"])
def test_a_filter_that_is_not_understood_says_so_and_shows_everything(admin_client, record, query):
    call = record.call()
    page = page_of(admin_client, url_of(record) + f"?q={query}")
    assert 'id="problem"' in page
    assert listed(page) == [str(call)]


@pytest.mark.parametrize(
    "query",
    [
        "?after=x",
        "?after=-1",
        "?after=99999999999999999999",
        "?q=%00",
        "?at=x",
        "?at=nan",
        "?at=-1",
        "?at=1e300",
        "?live",
    ],
)
def test_a_query_that_makes_no_sense_is_not_an_error(admin_client, record, query):
    record.call()
    assert admin_client.get(url_of(record) + query).status_code == 200


def test_a_session_without_calls_says_so(admin_client, record):
    assert "No calls yet" in page_of(admin_client, url_of(record))
    record.call()
    assert "No call matches" in page_of(admin_client, url_of(record) + "?q=nothing")


def test_a_long_session_offers_its_next_page(admin_client, record, monkeypatch):
    monkeypatch.setitem(selectors.outline_of.__kwdefaults__, "limit", 2)
    calls = [str(record.call(f"tool{number}")) for number in range(3)]
    page = page_of(admin_client, url_of(record))
    assert listed(page) == calls[:2]
    following = re.search(r'href="(\?[^"]*after=\d+)"', page)[1].replace("&amp;", "&")
    assert listed(page_of(admin_client, url_of(record) + following)) == calls[2:]


def test_a_link_to_a_moment_opens_the_page_that_has_it(admin_client, record, monkeypatch):
    monkeypatch.setitem(selectors.outline_of.__kwdefaults__, "limit", 20)
    calls = [str(record.call(f"tool{number}")) for number in range(60)]
    search_index.catch_up()
    page = page_of(admin_client, url_of(record) + "?at=40.9")
    assert calls[39] in listed(page)
    assert f'id="call-{calls[39]}"' in page


def test_an_open_session_is_followed_from_its_newest_calls(admin_client, record):
    calls = [str(record.call(f"tool{number}")) for number in range(70)]
    page = page_of(admin_client, url_of(record) + "?live=1")
    assert listed(page) == calls[20:]
    assert f'id="call-{calls[-1]}"' in page
    seen = re.search(r'data-seen="(\d+)" data-page="(\d+)"', page)
    tail = url_of(record, "tail") + f"?seen={seen[1]}&after={seen[2]}"
    assert admin_client.get(tail).status_code == 204
    new = str(record.call("new_one", answers=({"result": "needle"},)))
    piece = page_of(admin_client, tail)
    assert listed(piece) == [*calls[20:], new]
    assert "needle" not in piece


def test_a_look_for_news_costs_a_fixed_number_of_queries(admin_client, record, django_assert_max_num_queries):
    for number in range(50):
        record.call(f"tool{number}")
    newest = selectors.newest_position_of(session=record.session)
    with django_assert_max_num_queries(9):
        assert admin_client.get(url_of(record, "tail") + f"?seen={newest}").status_code == 204


def test_long_messages_are_cut_with_a_way_to_all_of_them(admin_client, record, monkeypatch):
    monkeypatch.setattr(parts, "SHOWN_CHARACTERS", 500)
    call = record.call(answers=({"text": " ".join(map(str, range(3_000)))},))
    page = page_of(admin_client, url_of(record, "call", call))
    assert f'href="{url_of(record, "message", call, 1)}"' in page
    assert "2998 2999" not in page
    assert b"2998 2999" in admin_client.get(url_of(record, "message", call, 1)).content


def test_a_call_with_more_messages_than_fit_is_shown_as_far_as_they_do(admin_client, record, monkeypatch):
    monkeypatch.setattr(panels, "MOST_ANSWERS", 3)
    monkeypatch.setattr(selectors, "CALL_PAYLOAD_BYTES", 60)
    call = record.call(answers=tuple({"progress": number, "text": "x" * 20} for number in range(5)))
    page = page_of(admin_client, url_of(record, "call", call))
    assert "does not fit on this page" in page
    assert "2 further messages" in page
    assert b'"progress": 4' in admin_client.get(url_of(record, "message", call, 5)).content


def test_a_call_that_does_not_exist_is_not_found(admin_client, record):
    for name in ("call", "panel"):
        assert admin_client.get(url_of(record, name, uuid.uuid4())).status_code == 404


def test_the_evidence_of_a_call_names_its_place_in_the_chain(admin_client, record):
    record.call()
    page = page_of(admin_client, url_of(record))
    assert "ab" * 32 in page
    assert record.session.events.order_by("id").first().hash.hex() in page


def test_the_approval_of_a_held_call_is_told(admin_client, record):
    call = record.call("refund_order", verdict="hold")
    record.now += timedelta(seconds=3)
    record.event("approval:request:approved", {"reviewer": "grace", "reason": "fine by me"}, call=call)
    page = page_of(admin_client, url_of(record, "call", call))
    for part in ("approved", "grace", "fine by me"):
        assert part in page


def test_a_page_costs_a_fixed_number_of_queries(admin_client, record, django_assert_max_num_queries):
    admin_client.get(url_of(record))
    for number in range(20):
        record.call(f"tool{number}")
    with django_assert_max_num_queries(20):
        admin_client.get(url_of(record))


@pytest.mark.parametrize(
    "payload",
    [b"\x28\xb5\x2f\xfdbroken", b"\xff\xfe", b"[" * 50_000, b"{" * 50_000, b'"' * 50_001, b"\x28\xb5\x2f\xfd", b"\0"],
)
def test_a_damaged_record_is_shown_as_far_as_it_goes(admin_client, record, payload):
    call = uuid.uuid4()
    record.event("gateway:call:completed", "[]", call=call, payload=payload)
    record.event("gateway:call:intent", '{"name": "x", "received_us": 9e99', call=call, payload=payload)
    record.event("upstream:message:relayed", {"hits": {"a": -1}, "kind": 7}, call=call, payload=payload)
    late = uuid.uuid4()
    record.event(
        "gateway:call:intent", {"received_us": 10**30, "name": None, "attributes": 5}, call=late, payload=payload
    )
    record.event("gateway:call:intent", {"received_us": 1, "observed": [1, {}]}, call=uuid.uuid4(), payload=payload)
    for place in (url_of(record), url_of(record, "call", call), url_of(record, "call", late)):
        page_of(admin_client, place)
