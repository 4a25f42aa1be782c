"""SAML identity providers as they are saved: by the service, at the console, and over REST."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client

from accounts import services
from accounts.models import SamlProvider, SamlRequest
from accounts.services import saml
from tests.support.saml_idp import SamlIdp, granted, key_and_certificate, pem
from tests.support.saml_site import ISSUER, saml_site

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN_ENDPOINT = "https://gateway.example/oauth/token"
TYPED = {
    "name": "Main SAML",
    "entity_id": "https://idp.example/saml",
    "sso_url": "https://idp.example/sso",
    "certificates": [SamlIdp().certificate],
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return services.provider_save(
        name="Main", issuer=ISSUER, jwks_url="https://login.example.com/keys", requires_nbf=False, now=NOW
    )


def codes(refused: pytest.ExceptionInfo[ValidationError]) -> dict[str, list[str]]:
    return {field: [error.code for error in errors] for field, errors in refused.value.error_dict.items()}


def test_metadata_gives_what_else_would_be_typed(provider):
    row = services.saml_provider_save(
        name="Main SAML", provider=provider, metadata=SamlIdp().metadata(), entity_id="ignored", now=NOW
    )
    assert (row.entity_id, row.sso_url) == (TYPED["entity_id"], TYPED["sso_url"])
    assert (row.slo_url, row.certificates) == ("https://idp.example/slo", TYPED["certificates"])


def test_saving_the_same_name_twice_changes_the_one_row(provider):
    first = services.saml_provider_save(provider=provider, **TYPED, now=NOW)
    second = services.saml_provider_save(provider=provider, **TYPED, slo_url="https://idp.example/slo", now=NOW)
    assert first.pk == second.pk
    assert SamlProvider.objects.get().slo_url == "https://idp.example/slo"


def test_certificates_are_kept_in_one_form_and_once(provider):
    two = pem(key_and_certificate("two")[1])
    text = SamlIdp().certificate.replace("\n", "\r\n") + two
    row = services.saml_provider_save(provider=provider, **{**TYPED, "certificates": [text, two]}, now=NOW)
    assert row.certificates == [SamlIdp().certificate, two]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"certificates": []}, {"certificates": ["blank"]}),
        ({"certificates": ["x"]}, {"certificates": ["bad_certificate", "blank"]}),
        ({"certificates": SamlIdp().certificate}, {"certificates": ["not_a_list_of_texts", "blank"]}),
        ({"entity_id": ""}, {"entity_id": ["blank"]}),
        ({"sso_url": ""}, {"sso_url": ["blank"]}),
        ({"sso_url": "http://idp.example/sso"}, {"sso_url": ["plain_http"]}),
        ({"sso_url": "javascript:alert(1)"}, {"sso_url": ["bad_url"]}),
        ({"sso_url": "https://idp.example/sso#x"}, {"sso_url": ["bad_url"]}),
        ({"sso_url": "https://u:p@idp.example/sso"}, {"sso_url": ["bad_url"]}),
        ({"sso_url": "https://idp.example/a b"}, {"sso_url": ["bad_url"]}),
        ({"sso_url": "https://idp.example\\@evil.example/"}, {"sso_url": ["bad_url"]}),
        ({"slo_url": "//idp.example"}, {"slo_url": ["bad_url"]}),
        ({"groups_attribute": ""}, {"groups_attribute": ["blank"]}),
        ({"metadata": "<x/>"}, {"metadata": ["saml_metadata"]}),
        ({"metadata": "<!DOCTYPE x><x/>"}, {"metadata": ["saml_declaration"]}),
    ],
)
def test_what_could_not_be_used_is_refused_at_its_field(provider, values, expected):
    with pytest.raises(ValidationError) as refused:
        services.saml_provider_save(provider=provider, **{**TYPED, **values}, now=NOW)
    assert codes(refused) == expected
    assert not SamlProvider.objects.exists()


def test_plain_http_is_for_a_named_private_network(provider):
    provider.allowed_networks = ["10.0.0.0/8"]
    provider.save()
    row = services.saml_provider_save(provider=provider, **{**TYPED, "sso_url": "http://idp.corp/sso"}, now=NOW)
    assert row.sso_url == "http://idp.corp/sso"


@pytest.mark.django_db(transaction=True)
def test_an_assertion_that_was_used_stays_used_for_a_process_that_starts_later():
    site = saml_site(NOW)
    document = site.idp.assertion(recipient=TOKEN_ENDPOINT, audience=TOKEN_ENDPOINT)
    saml.assertion_identity(encoded=granted(document), recipient=TOKEN_ENDPOINT, audience=TOKEN_ENDPOINT, now=NOW)
    program = (
        "import sys, datetime, django; from django.conf import settings\n"
        "settings.DATABASES['default']['NAME'] = sys.argv[1]; django.setup()\n"
        "from accounts.services import saml\n"
        "try:\n"
        "    saml.assertion_identity(encoded=sys.argv[2].encode(), recipient=sys.argv[3], audience=sys.argv[3],\n"
        "        now=datetime.datetime.fromisoformat(sys.argv[4]))\n"
        "except saml.AssertionRefused as error: print(error.code)\n"
        "else: print('accepted')\n"
    )
    name = str(connection.settings_dict["NAME"])
    again = site.idp.assertion(recipient=TOKEN_ENDPOINT, audience=TOKEN_ENDPOINT)
    for message, expected in ((document, "saml_replayed"), (again, "accepted")):
        arguments = [name, granted(message).decode(), TOKEN_ENDPOINT, NOW.isoformat()]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "gateway_project.settings.test"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip() == expected, done.stderr


# At the console.


def form(provider, **values):
    return {
        "name": "Main SAML",
        "provider": str(provider.pk),
        "is_active": "on",
        "metadata": "",
        "entity_id": "",
        "sso_url": "",
        "slo_url": "",
        "certificates": "",
        "groups_attribute": "groups",
        "allows_console_login": "on",
        **values,
    }


def test_pasting_metadata_is_enough(admin_client, provider):
    answer = admin_client.post("/admin/accounts/samlprovider/add/", form(provider, metadata=SamlIdp().metadata()))
    assert answer.status_code == 302, answer.context["errors"]
    row = SamlProvider.objects.get()
    assert row.certificates == [SamlIdp().certificate]


def test_a_row_without_certificates_is_refused_at_its_field(admin_client, provider):
    values = {"entity_id": TYPED["entity_id"], "sso_url": TYPED["sso_url"]}
    answer = admin_client.post("/admin/accounts/samlprovider/add/", form(provider, **values))
    assert answer.status_code == 200
    assert "certificates" in answer.context["adminform"].form.errors
    assert not SamlProvider.objects.exists()


def test_the_page_shows_what_the_other_side_needs_and_what_the_certificates_are(admin_client, provider):
    row = services.saml_provider_save(provider=provider, **TYPED, now=NOW)
    page = admin_client.get(f"/admin/accounts/samlprovider/{row.pk}/change/").content.decode()
    places = saml.saml_places(row.pk)
    for text in (places.entity_id, places.acs, places.slo, "CN=idp one", "RSA, 2048 bits"):
        assert text in page
    changed = form(provider, **{**TYPED, "certificates": TYPED["certificates"][0]}, slo_url="https://idp.example/slo")
    answer = admin_client.post(f"/admin/accounts/samlprovider/{row.pk}/change/", changed)
    assert answer.status_code == 302
    row.refresh_from_db()
    assert (row.slo_url, row.certificates) == ("https://idp.example/slo", TYPED["certificates"])


def test_the_evidence_of_logins_shows_neither_who_came_nor_the_browser(admin_client):
    site = saml_site(NOW)
    request = site.begin(now=NOW)
    site.answer(site.response(request, assertion_id="_seen"))
    page = admin_client.get(f"/admin/accounts/samlrequest/{request}/change/").content.decode()
    assert request in page
    assert "u-17" not in page
    assert SamlRequest.objects.get().browser_digest not in page
    assert "_seen" in admin_client.get("/admin/accounts/samlassertion/").content.decode()


def test_a_row_is_deleted_at_the_console(admin_client, provider):
    row = services.saml_provider_save(provider=provider, **TYPED, now=NOW)
    admin_client.post(f"/admin/accounts/samlprovider/{row.pk}/delete/", {"post": "yes"})
    assert not SamlProvider.objects.exists()


def test_the_login_page_offers_the_provider(provider):
    row = services.saml_provider_save(provider=provider, **TYPED, now=NOW)
    assert f"/saml/{row.pk}/login" in Client().get("/admin/login/").content.decode()
    services.saml_provider_save(provider=provider, **TYPED, allows_console_login=False, now=NOW)
    assert f"/saml/{row.pk}/login" not in Client().get("/admin/login/").content.decode()


# Over REST.


def send(client, method, url, body=None):
    return getattr(client, method)(url, json.dumps(body), content_type="application/json")


def test_a_provider_is_added_changed_and_deleted_over_rest(admin_client, provider):
    body = {"name": "Main SAML", "provider": str(provider.pk), "metadata": SamlIdp().metadata()}
    answer = send(admin_client, "post", "/api/v1/saml-providers/", body)
    assert answer.status_code == 201, answer.content
    found = answer.json()
    assert "metadata" not in found
    assert found["service_provider"]["acs"] == saml.saml_places(found["id"]).acs
    assert found["certificate_details"][0]["key"] == "RSA, 2048 bits"
    url = f"/api/v1/saml-providers/{found['id']}/"
    answer = send(admin_client, "patch", url, {"allows_token_exchange": True})
    assert answer.status_code == 200, answer.content
    assert answer.json()["allows_token_exchange"]
    assert answer.json()["certificates"] == [SamlIdp().certificate]
    assert admin_client.delete(url).status_code == 204


@pytest.mark.parametrize("member", ["service_provider", "certificate_details", "created_at", "id", "surprise"])
def test_what_the_gateway_writes_nobody_sets(admin_client, provider, member):
    body = {"provider": str(provider.pk), **TYPED, member: "x"}
    answer = send(admin_client, "post", "/api/v1/saml-providers/", body)
    assert answer.status_code == 400
    assert answer.json()["fields"][member][0]["code"] == "unknown_field"


def test_without_the_permission_there_is_nothing_to_see(client, django_user_model, provider):
    services.saml_provider_save(provider=provider, **TYPED, now=NOW)
    client.force_login(django_user_model.objects.create_user("somebody", is_staff=True))
    assert client.get("/api/v1/saml-providers/").status_code == 403
    assert client.get("/admin/accounts/samlprovider/").status_code == 403
