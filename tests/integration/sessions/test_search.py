"""The index of calls, filled from the record, and searches in it."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.utils import timezone

from sessions import search, search_index
from sessions.models import CallIndex, IndexCursor, RecordAccess
from sessions.search_query import parse
from sessions.tasks import index_calls
from tests.support.record import START, Record

pytestmark = pytest.mark.django_db


@pytest.fixture
def record():
    return Record()


@pytest.fixture
def root(django_user_model):
    return django_user_model.objects.create_superuser("root")


def request(name="get_order", **arguments):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def found(user, text, **options):
    search_index.catch_up()
    page = search.calls_found(user=user, query=parse(text, now=START + timedelta(hours=1)), **options)
    return [call.name for call in page.calls]


def permitted(django_user_model, name, *codenames, **fields):
    user = django_user_model.objects.create_user(name, **fields)
    permissions = Permission.objects.filter(content_type__app_label="gateway_sessions", codename__in=codenames)
    user.user_permissions.set(permissions)
    return user


def test_calls_are_found_by_every_term(record, root):
    record.call("get_order", request=request(order_id=1042, city="Zürich"), hits={"email": 2})
    record.call("delete_order", verdict="deny", reason="no")
    record.call("refund_order", verdict="hold")
    record.call("list_orders", state="outcome_unknown", answers=(), upstream_us=30_000_000)
    record.call("", method="tools/list")
    Record(slug="wiki", subject="grace").call("read_page", answers=({"result": {"text": "The quick brown fox"}},))
    expected = {
        "who:ADA tool:*order": ["refund_order", "delete_order", "get_order"],
        "who:nobody": [],
        "tool:get_*": ["get_order"],
        "tool:*_orders tool:refund_order": ["list_orders", "refund_order"],
        "method:tools/list": [""],
        "connection:wiki": ["read_page"],
        "verdict:deny": ["delete_order"],
        "verdict:hold": ["refund_order"],
        'rule:"deny it"': ["delete_order"],
        "rule:*it": ["refund_order", "delete_order"],
        "state:outcome_unknown": ["list_orders"],
        "is:masked": ["get_order"],
        "is:slow": ["list_orders"],
        "is:error": ["list_orders"],
        "is:held": ["refund_order"],
        "is:denied": ["delete_order"],
        "duration:>10s": ["list_orders"],
        "value:1042": ["get_order"],
        "value:order_id=1042": ["get_order"],
        "value:city=Zürich": ["get_order"],
        "value:city=1042": [],
        "quick fox": ["read_page"],
        '"brown fox"': ["read_page"],
        '"fox brown"': [],
        "quick -fox": [],
        "zürich": ["get_order"],
        f"session:{record.session.pk} tool:get_order": ["get_order"],
        "since:2h until:2026-03-02 connection:wiki": ["read_page"],
        "until:2026-03-01T12:00": [],
    }
    assert {text: found(root, text) for text in expected} == expected


def test_calls_come_newest_first_in_pages_without_a_gap_or_a_double(record, root):
    for number in range(7):
        record.call(f"tool{number}")
    search_index.catch_up()
    names, following = [], ""
    while following is not None:
        page = search.calls_found(user=root, query=parse("", now=START), following=following, limit=3)
        names += [call.name for call in page.calls]
        following = page.following
    assert names == [f"tool{number}" for number in reversed(range(7))]


@pytest.mark.parametrize("following", ["x", "1", "1.x", "9" * 18 + "." + "a" * 36, "1." + "-" * 36, "1.\0" + "a" * 35])
def test_a_place_that_makes_no_sense_is_the_first_page(record, root, following):
    record.call("one")
    assert found(root, "", following=following) == ["one"]


def test_the_index_goes_on_where_it_stopped_and_a_second_run_changes_nothing(record, root):
    early = record.call("early", state="open")
    assert search_index.catch_up(batch_events=1) == 1
    assert CallIndex.objects.get().state == "open"
    record.event("gateway:call:completed", {"hits": {"email": 1}, "total_us": 5}, call=early, payload={"a": "späte"})
    assert search_index.catch_up() == 1
    row = CallIndex.objects.get()
    assert (row.state, row.hits, row.total_us, row.name, row.verdict) == ("completed", 1, 5, "early", "allow")
    assert found(root, "späte tool:early") == ["early"]
    before = list(CallIndex.objects.values())
    assert search_index.catch_up() == 0
    assert list(CallIndex.objects.values()) == before


def test_an_outcome_that_another_process_wrote_is_indexed_whichever_comes_first(record):
    call = record.call("crashed", state="open")
    other = Record(slug="wiki")
    other.session = record.session
    other.event("gateway:call:outcome_unknown", {"reason": "gateway_crash"}, call=call)
    search_index._advance(other.instance.pk, has_ended=False, batch_events=10)
    assert CallIndex.objects.get().state == "outcome_unknown"
    search_index.catch_up()
    row = CallIndex.objects.get()
    assert (row.name, row.state, row.verdict, row.session_id) == (
        "crashed", "outcome_unknown", "allow", record.session.pk
    )  # fmt: skip


def test_a_process_that_has_ended_is_not_looked_at_again(record):
    record.call()
    record.instance.ended_at = timezone.now()
    record.instance.save()
    index_calls()
    assert IndexCursor.objects.get().is_done
    record.call()
    assert search_index.catch_up() == 0


def test_a_session_can_be_indexed_again_and_forgotten(record, root):
    record.call("one")
    search_index.catch_up()
    CallIndex.objects.all().delete()
    assert search_index.index_session(session=record.session) == 1
    assert found(root, "tool:one") == ["one"]
    assert search_index.forget_session(session_id=record.session.pk) == 1
    assert found(root, "") == []


@pytest.mark.parametrize(
    "payload",
    [b"\x28\xb5\x2f\xfdbroken", b"\xff\xfe not text", b'{"a": "\\u0000 \\ud800 x"}', b"[" * 100_000, b"\0" * 100],
)
def test_a_record_that_cannot_be_read_is_indexed_as_far_as_it_goes(record, root, payload):
    call = uuid.uuid4()
    record.event(
        "gateway:call:intent", '{"name": "od\\u0000d\\ud800", "verdict": "allow' * 1, call=call, payload=payload
    )
    record.event("gateway:call:completed", "no json", call=call, payload=payload)
    record.event("x:y:z", {"name": ["x"] * 1000}, call=uuid.uuid4())
    record.call("good")
    assert "good" in found(root, "")
    assert CallIndex.objects.count() == 3


def test_values_and_words_of_a_long_message_are_bounded(record):
    words = " ".join(f"word{number}" for number in range(100_000))
    call = record.call("long", request=request(text=words), answers=({"t": words},), state="open")
    for _ in range(3):
        record.event("upstream:message:relayed", {"kind": "notification"}, call=call, payload={"t": words})
    search_index.catch_up(batch_events=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT length(document), pg_column_size(document) FROM gateway_sessions_callindex")
        lexemes, size = cursor.fetchone()
    assert 1_000 < lexemes < 10_000
    assert size < search_index.DOCUMENT_BYTES + 100_000


def test_only_calls_of_sessions_that_one_may_see_are_found(record, django_user_model):
    other = Record(slug="wiki", subject="grace")
    record.call("mine", request=request(id=5))
    other.call("theirs", request=request(id=5))
    nobody = django_user_model.objects.create_user("nobody")
    own = permitted(django_user_model, "own", "view_session", principal=record.principal)
    team = permitted(django_user_model, "team", "view_session")
    RecordAccess.objects.create(user=team, connection=other.connection)
    everybody = permitted(django_user_model, "all", "view_session", "see_all_sessions")
    assert found(nobody, "") == []
    assert found(own, "") == ["mine"]
    assert found(team, "") == ["theirs"]
    assert sorted(found(everybody, "")) == ["mine", "theirs"]


def test_words_and_values_find_only_what_one_may_read(record, django_user_model):
    record.call("secret_tool", request=request(id=5), answers=({"text": "needle"},))
    everybody = permitted(django_user_model, "all", "view_session", "see_all_sessions")
    auditor = permitted(django_user_model, "auditor", "view_session", "see_all_sessions", "view_event")
    team = permitted(django_user_model, "team", "view_session")
    access = RecordAccess.objects.create(user=team, connection=record.connection)
    for text in ("needle", "value:5"):
        assert found(everybody, text) == []
        assert found(team, text) == []
        assert found(auditor, text) == ["secret_tool"]
    access.sees_contents = True
    access.save()
    assert found(team, "needle") == ["secret_tool"]


def test_a_search_that_takes_too_long_is_given_up_with_a_word(record, root, monkeypatch):
    record.call()
    search_index.catch_up()
    monkeypatch.setattr(search, "SECONDS", 0.05)
    slow = Q(pk__in=RawSQL("SELECT gen_random_uuid() FROM pg_sleep(2)", []))
    monkeypatch.setattr(search, "_MARKS", {"slow": slow})
    with pytest.raises(search.SearchTooWide, match="Narrow it"):
        search.calls_found(user=root, query=parse("is:slow", now=START))


def test_no_value_stands_in_the_index(record):
    record.call("get_order", request=request(order_id="needle-4711-value"))
    search_index.catch_up()
    with connection.cursor() as cursor:
        cursor.execute("SELECT (to_jsonb(c) - 'document')::text FROM gateway_sessions_callindex c")
        assert "4711" not in cursor.fetchone()[0].replace(str(record.session.pk), "")
