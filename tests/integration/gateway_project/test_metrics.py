"""The numbers of a gateway process, over REST."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from proxy import wiring

pytestmark = pytest.mark.django_db
URL = "/api/v1/metrics/"


class Path:
    """Stands in for a data path: what it says is passed on."""

    is_ready = False

    def numbers(self) -> dict[str, float]:
        return {"wardgate_ready": 0.0, "wardgate_record_waiting_events": 7.0}


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_running", [Path()])


def browser(**values: bool) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("somebody", is_staff=True, **values))
    return client


def test_nobody_unknown_and_nobody_without_the_permission_sees_them() -> None:
    assert Client().get(URL).status_code == 401
    assert browser().get(URL).status_code == 403


def test_a_process_without_a_data_path_is_not_ready() -> None:
    answer = browser(is_superuser=True).get(URL)
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "\nwardgate_ready 0\n" in answer.content.decode()


@pytest.mark.usefixtures("refusing")
def test_what_the_data_path_says_is_told_and_its_refusing_stands_on_the_first_page() -> None:
    client = browser(is_superuser=True)
    assert "\nwardgate_record_waiting_events 7\n" in client.get(URL).content.decode()
    assert "refuses every call" in client.get("/admin/").content.decode()
