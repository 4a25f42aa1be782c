"""The pages of an identity provider: presets, keys, and the test of a token."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse

from accounts.services import provider_save
from tests.support.idp import Issuer

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER = Issuer("https://idp.example", audience="https://gateway.example/mcp/orders")


@pytest.fixture
def provider(transactional_db):
    pinned = {"keys": [*ISSUER.jwks()["keys"], {"kty": "RSA", "kid": "old", "use": "enc"}]}
    return provider_save(name="Main", issuer=ISSUER.issuer, audiences=["api://gateway"], pinned_jwks=pinned, now=NOW)


def look(page, found, name):
    found[name] = Axe().run(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_pages_of_a_provider_are_accessible_and_fit_their_window(open_page, provider, scheme, size):
    add = reverse("admin:accounts_identityprovider_add")
    change = reverse("admin:accounts_identityprovider_change", args=[provider.pk])
    keys = reverse("admin:accounts_identityprovider_keys", args=[provider.pk])
    test = reverse("admin:accounts_identityprovider_test_token", args=[provider.pk])
    token = ISSUER.token(
        aud="https://other.example/" + "long/" * 40, groups=["a-group-with-a-long-name-" * 8], act={"sub": "bot"}
    )
    found = {}
    with open_page(add, scheme=scheme, size=size) as page:
        look(page, found, "add")
        page.get_by_role("link", name="GitHub Actions").click()
        page.get_by_text("Left to do for GitHub Actions").wait_for()
        assert page.locator("#id_issuer").input_value() == "https://token.actions.githubusercontent.com"
        look(page, found, "preset")
        page.goto(change)
        page.get_by_role("link", name="Test a token").wait_for()
        look(page, found, "change")
        page.goto(keys)
        page.get_by_role("button", name="Look at the keys now").click()
        page.get_by_role("heading", name="Tokens of this issuer can be verified").wait_for()
        look(page, found, "keys")
        page.goto(test)
        look(page, found, "ask")
        page.get_by_label("Token", exact=True).fill(token)
        page.get_by_role("button", name="Test").click()
        page.get_by_role("heading", name="Refused: token_audience").wait_for()
        look(page, found, "refused")
        assert page.get_by_label("Token", exact=True).input_value() == ""
        page.get_by_label("Token", exact=True).fill(ISSUER.token())
        page.get_by_label("URL of the connection").fill("https://gateway.example/mcp/orders")
        page.get_by_role("button", name="Test").click()
        page.get_by_role("heading", name="Accepted").wait_for()
        look(page, found, "accepted")
        assert token not in page.content()
        assert page.url.endswith(test)
        assert page.problems == []
    assert {name: result.generate_report() for name, result in found.items() if result.violations_count} == {}
