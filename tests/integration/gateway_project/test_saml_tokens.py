"""A SAML assertion at the token endpoint: a token of minutes, once."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ExchangedToken, Principal
from connections.services import connection_save
from gateway_project import oauth
from policies.services import grant_save
from tests.support.saml_idp import granted
from tests.support.saml_site import ISSUER, saml_site

PUBLIC = "http://127.0.0.1:8080"
HERE = f"{PUBLIC}/oauth/token"
ORDERS = f"{PUBLIC}/mcp/orders"
FORM = "application/x-www-form-urlencoded"

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(settings):
    settings.WARDGATE_PUBLIC_URL = PUBLIC
    site = saml_site(datetime.now(UTC).replace(microsecond=0))
    now = timezone.now()
    connection = connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=now)
    principal = Principal.objects.create(issuer=ISSUER, subject="batch-7")
    grant_save(connection=connection, principal=principal, tools=["get_*"], now=now)
    return site


def post(**fields: str):
    answer = Client().post("/oauth/token", urlencode({"resource": ORDERS, **fields}), content_type=FORM)
    return answer.status_code, answer.json()


def asserted(site, **values) -> str:
    given = {"recipient": HERE, "audience": HERE, "subject": "batch-7", **values}
    return granted(site.idp.assertion(**given)).decode()


@pytest.mark.parametrize("profile", ["bearer", "exchange"])
def test_an_assertion_gets_a_token_once(site, profile):
    assertion = asserted(site)
    fields = (
        {"grant_type": oauth.SAML_BEARER, "assertion": assertion}
        if profile == "bearer"
        else {"grant_type": oauth.EXCHANGE, "subject_token": assertion, "subject_token_type": oauth.SAML2}
    )
    status, body = post(**fields)
    assert status == 200, body
    row = ExchangedToken.objects.get()
    assert (row.principal.issuer, row.principal.subject, row.connection_slug) == (ISSUER, "batch-7", "orders")
    status, body = post(**fields)
    assert status == 400
    assert ExchangedToken.objects.count() == 1


@pytest.mark.parametrize(
    "values",
    [
        {"sign": False},
        {"signing": {"algorithm": "rsa-sha1"}},
        {"audience": "https://other.example"},
        {"recipient": "https://other.example"},
    ],
    ids=str,
)
def test_an_assertion_that_proves_nothing_here_gets_none(site, values):
    status, body = post(grant_type=oauth.SAML_BEARER, assertion=asserted(site, **values))
    assert (status, body["error"]) == (400, "invalid_grant")
    assert not ExchangedToken.objects.exists()
