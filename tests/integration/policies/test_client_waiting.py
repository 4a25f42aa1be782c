"""For how long clients are held: learned, set for one of them, set for their kind, here or everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import IdentityProvider, Principal, User
from connections.models import Connection
from policies import services
from policies.models import ClientBudget, ClientPatience

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://idp.test.example"


@pytest.fixture
def connection() -> Connection:
    return Connection.objects.create(name="Orders", slug="orders", upstream_url="https://up.example.com/mcp")


@pytest.fixture
def alice() -> Principal:
    IdentityProvider.objects.create(name="Test", issuer=ISSUER)
    return Principal.objects.create(issuer=ISSUER, subject="alice")


def who(connection: Connection, agent: str = "python-httpx2/2.16.2") -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "subject": "alice",
        "connection_id": connection.pk,
        "client_name": "mcp",
        "user_agent": agent,
    }


def held(connection: Connection, kind: str = "python") -> float | None:
    return services.patience_of(kind=kind, **who(connection))


def gave_up(connection: Connection, *seconds: float) -> None:
    for one in seconds:
        services.patience_learn(held_seconds=one, now=NOW, **who(connection))


def test_who_gives_up_twice_at_about_the_same_time_is_held_for_four_fifths_of_it(
    connection: Connection, alice: Principal
) -> None:
    assert held(connection) is None
    gave_up(connection, 5.0)
    assert held(connection) is None
    gave_up(connection, 9.0)
    assert held(connection) is None
    gave_up(connection, 8.8)
    assert held(connection) == pytest.approx(0.8 * 8.8)
    assert ClientPatience.objects.count() == 1


def test_the_number_of_a_connection_counts_before_that_of_all(connection: Connection, alice: Principal) -> None:
    other = Connection.objects.create(name="Other", slug="other", upstream_url="https://up.example.com/mcp")
    services.client_budget_save(kind="python", seconds=100, now=NOW)
    services.client_budget_save(kind="python", connection=connection, seconds=300, now=NOW)
    assert held(connection) == 300.0
    assert held(other) == 100.0
    assert held(connection, kind="codex") is None
    gave_up(connection, 50.0, 50.0)
    assert held(connection) == 40.0
    gave_up(other, 900.0, 900.0)
    assert held(other) == 100.0


def test_what_a_person_sets_for_one_client_counts_most_and_is_not_learned_away(
    connection: Connection, alice: Principal
) -> None:
    gave_up(connection, 50.0, 50.0)
    services.client_budget_save(kind="python", seconds=100, now=NOW)
    row = ClientPatience.objects.get()
    services.patience_set(patience_id=row.pk, budget_seconds=700.0, now=NOW)
    gave_up(connection, 20.0, 20.0)
    assert held(connection) == 700.0
    services.patience_set(patience_id=row.pk, budget_seconds=None, now=NOW)
    assert held(connection) == 100.0


@pytest.mark.parametrize(("kind", "seconds"), [("python", 0), ("python", 30 * 86_400 + 1), ("telnet", 10)])
def test_what_makes_no_sense_is_refused(kind: str, seconds: int) -> None:
    with pytest.raises(ValidationError):
        services.client_budget_save(kind=kind, seconds=seconds, now=NOW)


def test_there_is_one_number_for_a_kind_at_a_place(connection: Connection) -> None:
    services.client_budget_save(kind="python", seconds=100, now=NOW)
    services.client_budget_save(kind="python", seconds=200, now=NOW)
    assert list(ClientBudget.objects.values_list("seconds", flat=True)) == [200]
    other = services.client_budget_save(kind="codex", seconds=100, now=NOW)
    with pytest.raises(ValidationError):
        services.client_budget_save(budget_id=other.pk, kind="python", seconds=1, now=NOW)


def test_the_page_of_a_connection_says_which_clients_give_up_and_what_to_change(
    connection: Connection, alice: Principal, admin_client: Client
) -> None:
    gave_up(connection, 5.0, 5.0)
    page = admin_client.get(f"/admin/connections/connection/{connection.pk}/change/").content.decode()
    assert "This client gives up after 5 s; raise client_session_timeout_seconds" in page
    assert "It is held for 4 s" in page


def test_a_client_is_given_a_number_at_the_console_and_learned_anew_without_one(
    connection: Connection, alice: Principal, admin_client: Client
) -> None:
    gave_up(connection, 5.0, 5.0)
    path = f"/admin/policies/clientpatience/{ClientPatience.objects.get().pk}/change/"
    assert "raise client_session_timeout_seconds" in admin_client.get(path).content.decode()
    admin_client.post(path, {"budget_seconds": "90"})
    assert held(connection) == 90.0
    admin_client.post(path, {"budget_seconds": ""})
    assert held(connection) is None
    refused = admin_client.post(path, {"budget_seconds": "-1"}).content.decode()
    assert "Give a number of seconds" in refused


def test_operators_set_numbers_over_rest(connection: Connection, alice: Principal, admin_client: Client) -> None:
    given = {"kind": "codex", "connection": str(connection.pk), "seconds": 600}
    made = admin_client.post("/api/v1/client-budgets/", given, content_type="application/json")
    assert made.status_code == 201, made.content
    assert held(connection, kind="codex") == 600.0
    gave_up(connection, 5.0, 5.0)
    row = ClientPatience.objects.get()
    path = f"/api/v1/client-patiences/{row.pk}/"
    changed = admin_client.patch(path, {"budget_seconds": 30}, content_type="application/json")
    assert changed.json()["is_fixed"] is True
    assert changed.json()["advice"].startswith("This client gives up after 5 s;")
    assert held(connection) == 30.0
    refused = admin_client.patch(path, {"budget_seconds": 0}, content_type="application/json")
    assert refused.status_code == 400
    assert User.objects.count() == 1
