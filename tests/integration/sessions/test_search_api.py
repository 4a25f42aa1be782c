"""Search, saved views, readings, live reading and the end of a session, over REST."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission

from accounts.models import ConsoleSession
from sessions.models import ReadEvent, SavedView, SessionStop
from tests.support.record import START, Record

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/"


@pytest.fixture
def record():
    return Record()


def send(client, method, path, body=None):
    answer = getattr(client, method)(
        ROOT + path, **({} if body is None else {"data": json.dumps(body), "content_type": "application/json"})
    )
    return answer.status_code, answer.json() if answer.content else None


def logged_in(client, django_user_model, name, *codenames):
    user = django_user_model.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return user


def test_calls_of_all_sessions_are_searched_in_pages(admin_client, record):
    for number in range(5):
        record.call(f"tool{number}")
    record.call("delete_order", verdict="deny")
    status, first = send(admin_client, "get", "calls/?q=tool:tool*&limit=3")
    assert status == 200
    assert [call["name"] for call in first["results"]] == ["tool4", "tool3", "tool2"]
    assert first["results"][0]["session"] == str(record.session.pk)
    _, second = send(admin_client, "get", f"calls/?q=tool:tool*&limit=3&following={first['following']}")
    assert [call["name"] for call in second["results"]] == ["tool1", "tool0"]
    assert second["following"] is None
    assert list(ReadEvent.objects.values_list("kind", "detail")) == [("search", "tool:tool*")] * 2


def test_a_search_that_is_not_understood_is_refused_at_its_field(admin_client):
    status, answer = send(admin_client, "get", "calls/?q=colour:red")
    assert status == 400
    assert answer["fields"]["q"][0]["code"] == "not_understood"
    assert not ReadEvent.objects.exists()


def test_the_calls_of_a_session_are_filtered_by_the_same_language(admin_client, record):
    record.call("get_order", upstream_us=9_000_000)
    record.call("delete_order", verdict="deny")
    status, page = send(admin_client, "get", f"sessions/{record.session.pk}/calls/?q=is:slow")
    assert (status, [call["name"] for call in page["results"]]) == (200, ["get_order"])
    assert send(admin_client, "get", f"sessions/{record.session.pk}/calls/?q=x:y")[0] == 400


def test_without_the_permission_to_read_contents_calls_come_without_messages(client, django_user_model, record):
    call = record.call(answers=({"result": "needle"},))
    logged_in(client, django_user_model, "operator", "view_session", "see_all_sessions")
    status, page = send(client, "get", f"sessions/{record.session.pk}/calls/")
    assert status == 200
    assert "needle" not in json.dumps(page)
    assert page["shortened"] == [str(call)]


def test_a_session_is_followed_from_a_position(admin_client, record):
    record.call("one")
    path = f"sessions/{record.session.pk}/tail/"
    status, first = send(admin_client, "get", path + "?limit=1")
    assert status == 200
    assert [event["name"] for event in first["results"]] == ["gateway:call:intent"]
    _, rest = send(admin_client, "get", f"{path}?after={first['after']}")
    assert [event["name"] for event in rest["results"]] == ["gateway:call:completed"]
    assert rest["is_open"]
    _, nothing = send(admin_client, "get", f"{path}?after={rest['after']}")
    assert (nothing["results"], nothing["after"]) == ([], rest["after"])
    assert ReadEvent.objects.filter(kind="tail").count() == 2


def test_a_session_is_ended_with_a_reason_by_those_who_may(client, django_user_model, record):
    path = f"sessions/{record.session.pk}/end/"
    user = logged_in(client, django_user_model, "operator", "view_session", "see_all_sessions")
    assert send(client, "post", path, {"reason": "x"})[0] == 403
    user.user_permissions.add(Permission.objects.get(codename="end_session"))
    assert send(client, "post", path, {})[0] == 400
    assert send(client, "post", path, {"reason": "x", "colour": "red"})[0] == 400
    status, stop = send(client, "post", path, {"reason": "It deletes orders."})
    assert (status, stop["reason"], stop["username"]) == (201, "It deletes orders.", "operator")
    status, again = send(client, "post", path, {"reason": "x"})
    assert (status, again["code"]) == (409, "already_ended")
    ConsoleSession.objects.update(authenticated_at=START)
    other = Record(slug="wiki")
    status, refused = send(client, "post", f"sessions/{other.session.pk}/end/", {"reason": "x"})
    assert (status, refused["code"]) == (403, "proof_needed")
    assert SessionStop.objects.count() == 1


def test_saved_views_are_ones_own_and_shared_ones_are_only_used(admin_client, client, django_user_model):
    body = {"name": "Denied", "query": "verdict:deny", "is_shared": True}
    status, view = send(admin_client, "post", "saved-views/", body)
    assert (status, view["query"]) == (201, "verdict:deny")
    assert send(admin_client, "post", "saved-views/", body)[0] == 400
    rights = [f"{verb}_savedview" for verb in ("view", "add", "change", "delete")]
    logged_in(client, django_user_model, "other", *rights)
    assert [row["name"] for row in send(client, "get", "saved-views/")[1]["results"]] == ["Denied"]
    assert send(client, "put", f"saved-views/{view['id']}/", body)[0] == 404
    assert send(client, "delete", f"saved-views/{view['id']}/")[0] == 404
    send(admin_client, "put", f"saved-views/{view['id']}/", {**body, "is_shared": False})
    assert send(client, "get", "saved-views/")[1]["results"] == []
    assert send(admin_client, "delete", f"saved-views/{view['id']}/")[0] == 204
    assert not SavedView.objects.exists()


def test_readings_are_listed_newest_first_and_never_written(admin_client, client, django_user_model, record):
    send(admin_client, "get", "calls/?q=tool:a")
    send(admin_client, "get", f"sessions/{record.session.pk}/calls/")
    status, page = send(admin_client, "get", "readings/")
    assert (status, [row["kind"] for row in page["results"]]) == (200, ["session", "search"])
    assert page["results"][0]["prev_hash"] == page["results"][1]["hash"]
    assert send(admin_client, "post", "readings/", {})[0] == 405
    logged_in(client, django_user_model, "operator", "view_session", "see_all_sessions")
    assert send(client, "get", "readings/")[0] == 403


def test_record_access_is_given_and_taken(admin_client, admin_user, record):
    body = {"user": admin_user.pk, "connection": str(record.connection.pk), "sees_contents": True}
    status, row = send(admin_client, "post", "record-access/", body)
    assert status == 201, row
    assert send(admin_client, "post", "record-access/", body)[0] == 400
    assert send(admin_client, "delete", f"record-access/{row['id']}/")[0] == 204
