"""Bad input is refused when it is saved, at its field, with the place and what to write instead."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import User
from connections.services import connection_save
from policies import services
from policies.models import AccessGrant, Guardrail

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OFFICE = {"days": ["mon"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=NOW)


def refusal(call, **values) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        call(**values, now=NOW)
    return {field: errors[0].message for field, errors in refused.value.error_dict.items()}


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"condition": "args.q =="}, "condition", "At character 10: something is missing"),
        ({"condition": "arsg.q == 1"}, "condition", "At character 1: 'arsg' is not known; there are identity"),
        ({"condition": "identity.subject > 5"}, "condition", "At character 18: text cannot be compared with number"),
        ({"condition": 'args.q.matches("a(?=b)")'}, "condition", "At character 16: look-around"),
        ({"condition": 'in_cidr(request.ip, "10.0.0/8")'}, "condition", "write one such as 10.20.0.0/16"),
        ({"condition": 'hour(request.time, "Berlin") > 1'}, "condition", "write one such as Europe/Berlin"),
        ({"condition": "session.count('') > 1"}, "condition", "At character 15: an empty glob"),
        ({"condition": "1 + 1"}, "condition", "a condition is true or false"),
        ({"annotations": {"readOnly": True}}, "annotations", "The annotations are readOnlyHint"),
        ({"annotations": {"readOnlyHint": "yes"}}, "annotations", "each true or false"),
        ({"names": []}, "names", ""),
        ({"names": ["a\x00"]}, "names", "control character"),
        ({"methods": ["\x00"]}, "methods", "control character"),
        ({"effect": "permit"}, "effect", ""),
    ],
)
def test_a_guardrail_that_is_wrong_is_refused(values, field, words):
    found = refusal(services.guardrail_save, **{"name": "r", "effect": "deny", **values})
    assert list(found) == [field]
    assert words in found[field]
    assert not Guardrail.objects.exists()


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"condition": "args.q == 1"}, "condition", "use a guardrail for that"),
        ({"condition": "session.calls > 1"}, "condition", "use a guardrail for that"),
        ({"condition": "identity.kind = 'human'"}, "condition", "At character 15"),
        ({"networks": ["10.0.0.0/33"]}, "networks", ""),
        ({"networks": ["10.0.0.1/8"]}, "networks", ""),
        ({"windows": [{**OFFICE, "zone": "Europe/Atlantis"}]}, "windows", "IANA"),
        ({"windows": [{**OFFICE, "from": "8am"}]}, "windows", "22:00"),
        ({"windows": [OFFICE, {**OFFICE, "days": ["monday"]}]}, "windows", "mon, tue"),
    ],
)
def test_a_grant_that_is_wrong_is_refused(connection, values, field, words):
    whole = {"connection": connection, "tools": ["*"], "condition": "identity.kind == 'human'", **values}
    found = refusal(services.grant_save, **whole)
    assert list(found) == [field]
    assert words in found[field]
    assert not AccessGrant.objects.exists()


def test_rest_refuses_with_the_same_place_and_hint():
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    body = {"name": "r", "effect": "deny", "condition": "arsg.q == 1"}
    answer = client.post("/api/v1/guardrails/", body, content_type="application/json")
    assert answer.status_code == 400
    assert "At character 1: 'arsg' is not known" in answer.content.decode()
