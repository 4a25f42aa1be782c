"""Providers and principals at the console and over REST: presets, keys on demand, the test of a token."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse

from accounts import services
from accounts.models import IdentityProvider, Principal
from accounts.presets import PRESETS
from tests.support.idp import Issuer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESOURCE = "https://gateway.example/mcp/orders"
ISSUER = Issuer("https://idp.example", audience=RESOURCE)
SECRET = "introspection-canary-4W"

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return services.provider_save(name="Main", issuer=ISSUER.issuer, pinned_jwks=ISSUER.jwks(), now=NOW)


@pytest.fixture
def reader(client, django_user_model):
    user = django_user_model.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_identityprovider"))
    client.force_login(user)
    return client


def page(name, provider):
    return reverse(f"admin:accounts_identityprovider_{name}", args=[provider.pk])


def post(client, path, body=None):
    answer = client.post(f"/api/v1/{path}", data=json.dumps(body or {}), content_type="application/json")
    return answer.status_code, answer.json()


def add(client, **values):
    fields = {
        "groups_claim": "groups",
        "subject_claim": "sub",
        "tenant_claim": "tid",
        "required_claims": "{}",
        "principal_kind": "unknown",
        "scim_subject": "external_id",
        "scim_group_name": "display_name",
        "algorithms": "RS256",
        "max_token_seconds": "3600",
        "leeway_seconds": "30",
        "dormant_days": "0",
        **values,
    }
    return client.post(reverse("admin:accounts_identityprovider_add"), fields)


class TestPresets:
    @pytest.mark.parametrize("key", PRESETS)
    def test_a_preset_fills_the_form_and_says_what_is_left_to_do(self, admin_client, key):
        answer = admin_client.get(reverse("admin:accounts_identityprovider_add"), {"preset": key})
        form = answer.context["adminform"].form
        assert {name: form.get_initial_for_field(form.fields[name], name) for name in PRESETS[key].values} == dict(
            PRESETS[key].values
        )
        assert PRESETS[key].title in answer.content.decode()

    def test_an_unknown_preset_fills_nothing(self, admin_client):
        answer = admin_client.get(reverse("admin:accounts_identityprovider_add"), {"preset": "nobody"})
        assert answer.status_code == 200
        assert answer.context["preset"] is None

    def test_a_preset_as_it_is_is_refused_and_one_that_was_filled_in_is_saved(self, admin_client):
        github = {"name": "GitHub", "issuer": PRESETS["github-actions"].values["issuer"], "preset": "github-actions"}
        refused = add(admin_client, **github, required_claims='{"repository_owner": ["{organisation}"]}')
        assert [error.code for error in refused.context["adminform"].form.errors.as_data()["required_claims"]] == [
            "placeholder"
        ]
        saved = add(admin_client, **github, required_claims='{"repository_owner": ["acme"]}')
        assert saved.status_code == 302
        assert IdentityProvider.objects.get().required_claims == {"repository_owner": ["acme"]}

    def test_presets_are_listed_over_rest(self, admin_client):
        listed = admin_client.get("/api/v1/provider-presets/").json()
        assert [preset["key"] for preset in listed] == list(PRESETS)
        assert admin_client.get("/api/v1/provider-presets/entra/").json()["values"]["subject_claim"] == "oid"
        assert admin_client.get("/api/v1/provider-presets/nobody/").status_code == 404

    def test_presets_are_for_those_who_may_see_providers(self, client, django_user_model):
        assert client.get("/api/v1/provider-presets/").status_code in {401, 403}
        client.force_login(django_user_model.objects.create_user("nobody"))
        assert client.get("/api/v1/provider-presets/").status_code == 403


class TestTestingAToken:
    def test_the_page_says_claim_by_claim_why_and_never_holds_the_token(self, admin_client, provider, caplog):
        caplog.set_level(logging.DEBUG)
        token = ISSUER.token(sub="ada")
        answer = admin_client.post(page("test_token", provider), {"token": f"Bearer {token}\n", "audience": RESOURCE})
        shown = answer.content.decode()
        assert answer.status_code == 200
        assert "Accepted" in shown
        assert "ada" in shown
        assert token not in shown
        assert not any(part in shown + caplog.text for part in token.split(".")[1:])
        assert "no-store" in answer["Cache-Control"]

    def test_the_page_names_the_reason_of_a_refusal(self, admin_client, provider):
        answer = admin_client.post(page("test_token", provider), {"token": ISSUER.token(aud="other"), "audience": ""})
        assert "Refused: token_audience" in answer.content.decode()

    @pytest.mark.parametrize("token", ["", " ", "é.é.é", "..", "a" * 70_000, "\x00", "<script>alert(1)</script>"])
    def test_nonsense_is_judged_or_refused_and_not_repeated(self, admin_client, provider, token):
        answer = admin_client.post(page("test_token", provider), {"token": token})
        assert answer.status_code == 200
        assert "<script>alert" not in answer.content.decode()

    def test_hostile_claims_are_shown_as_text(self, admin_client, provider):
        token = ISSUER.token(sub="<img src=x onerror=alert(1)>", groups=["<b>"])
        shown = admin_client.post(page("test_token", provider), {"token": token, "audience": RESOURCE}).content.decode()
        assert "<img src=x" not in shown
        assert "&lt;img src=x" in shown

    def test_nothing_of_the_token_reaches_the_database(self, admin_client, provider):
        token = ISSUER.token(sub="nobody-stores-this")
        admin_client.post(page("test_token", provider), {"token": token, "audience": RESOURCE})
        assert not Principal.objects.exists()
        with connection.cursor() as cursor:
            cursor.execute("SELECT query FROM pg_stat_activity WHERE query LIKE %s", ["%nobody-stores%this%"])
            assert all("pg_stat_activity" in row[0] for row in cursor.fetchall())

    def test_a_token_in_the_address_is_not_looked_at(self, admin_client, provider):
        answer = admin_client.get(page("test_token", provider), {"token": ISSUER.token()})
        assert answer.context["report"] is None
        assert ISSUER.token()[:40] not in answer.content.decode()

    def test_over_rest_the_same_report_is_had(self, admin_client, provider):
        path = f"providers/{provider.pk}/test-token/"
        status, accepted = post(admin_client, path, {"token": ISSUER.token(sub="ada"), "audience": RESOURCE})
        assert (status, accepted["accepted"], accepted["identity"]["subject"]) == (200, True, "ada")
        status, refused = post(admin_client, path, {"token": ISSUER.token(sub="ada")})
        assert (status, refused["accepted"], refused["code"]) == (200, False, "token_audience")
        assert [row["code"] for row in refused["rows"] if row["result"] == "failed"] == ["token_audience"]

    def test_over_rest_the_body_is_strict(self, admin_client, provider):
        path = f"providers/{provider.pk}/test-token/"
        assert post(admin_client, path, {})[0] == 400
        assert post(admin_client, path, {"token": "x", "provider": "y"})[0] == 400
        assert admin_client.get(f"/api/v1/{path}").status_code == 405

    def test_those_who_may_see_providers_may_test_and_nobody_else(self, reader, provider, django_user_model):
        path = f"providers/{provider.pk}/test-token/"
        assert reader.get(page("test_token", provider)).status_code == 200
        assert post(reader, path, {"token": "x"})[0] == 200
        reader.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
        assert reader.get(page("test_token", provider)).status_code == 403
        assert post(reader, path, {"token": "x"})[0] == 403

    def test_keys_that_cannot_be_had_are_the_reason(self, admin_client):
        unreachable = services.provider_save(name="Away", issuer="https://idp.invalid", now=NOW)
        token = Issuer("https://idp.invalid").token()
        _, report = post(admin_client, f"providers/{unreachable.pk}/test-token/", {"token": token})
        assert report["code"] == "keys_unavailable"


class TestFetchingKeys:
    def test_the_page_says_what_was_found(self, admin_client, provider):
        assert provider.keys_flushed_at is None
        shown = admin_client.post(page("keys", provider)).content.decode()
        assert "Tokens of this issuer can be verified" in shown
        assert "RS256-1" in shown
        provider.refresh_from_db()
        assert provider.keys_flushed_at is not None

    def test_looking_at_the_page_fetches_and_forgets_nothing(self, admin_client, provider):
        answer = admin_client.get(page("keys", provider))
        assert answer.context["found"] is None
        provider.refresh_from_db()
        assert provider.keys_flushed_at is None

    @pytest.mark.parametrize(
        ("misbehaviour", "sentence"),
        [
            ({}, ""),
            ({"status": 500}, "The server answered with the status 500 instead of 200."),
            ({"redirect_to": "https://attacker.example/"}, "instead of 200"),
            ({"discovery": {"issuer": "https://other.example"}}, "The discovery document is of another issuer."),
            ({"discovery": {"jwks_uri": 7}}, "The discovery document names no acceptable key url."),
            ({"jwks": b"<html>"}, "The answer cannot be used: it is not JSON in UTF-8."),
            ({"jwks": b'{"keys":[],"keys":[]}'}, "duplicate member"),
            ({"jwks": b'{"keys":7}'}, "The key set has no list of keys."),
            ({"jwks": b'{"keys":[]}'}, "0 keys can be used."),
            ({"padding_bytes": 3_000_000}, "larger than the gateway accepts"),
        ],
    )
    def test_over_rest_every_failure_has_its_sentence(self, admin_client, misbehaviour, sentence):
        issuer = Issuer()
        for name, value in misbehaviour.items():
            setattr(issuer.misbehaviour, name, value)
        with issuer.serving() as url:
            row = services.provider_save(name="Local", issuer=url, allowed_networks=["127.0.0.0/8"], now=NOW)
            status, found = post(admin_client, f"providers/{row.pk}/fetch-keys/")
        assert status == 200
        assert found["is_ok"] is (not misbehaviour)
        if misbehaviour:
            assert sentence in found["steps"][-1]["sentence"]
            assert not found["steps"][-1]["is_ok"]
        else:
            assert {key["key_id"] for key in found["usable"]} == {"RS256-1", "ES256-1"}

    def test_a_private_address_is_not_asked(self, admin_client):
        row = services.provider_save(name="Local", issuer="https://127.0.0.1:9", now=NOW)
        _, found = post(admin_client, f"providers/{row.pk}/fetch-keys/")
        assert not found["is_ok"]
        assert len(found["steps"]) == 1

    def test_those_who_may_not_change_providers_may_not_fetch(self, reader, provider):
        assert reader.get(page("keys", provider)).status_code == 200
        assert reader.post(page("keys", provider)).status_code == 403
        assert post(reader, f"providers/{provider.pk}/fetch-keys/")[0] == 403


class TestTheIntrospectionSecret:
    def test_goes_in_and_never_comes_out(self, admin_client):
        body = {
            "name": "Main",
            "issuer": "https://login.example.com",
            "introspection_url": "https://login.example.com/introspect",
            "introspection_client_id": "gateway",
            "introspection_secret": SECRET,
        }
        status, added = post(admin_client, "providers/", body)
        assert status == 201, added
        assert (added["has_introspection_secret"], "introspection_secret" in added) == (True, False)
        path = f"/api/v1/providers/{added['id']}/"
        changed = admin_client.patch(path, data='{"dormant_days": 90}', content_type="application/json").json()
        assert (changed["has_introspection_secret"], changed["dormant_days"]) == (True, 90)
        row = IdentityProvider.objects.get()
        shown = admin_client.get(reverse("admin:accounts_identityprovider_change", args=[row.pk])).content.decode()
        assert SECRET not in shown + json.dumps(changed) + json.dumps(added)
        assert services.introspection_secret(row).reveal() == SECRET.encode()


class TestPrincipals:
    def test_a_principal_is_declared_described_and_deleted_at_the_console(self, admin_client):
        values = {"issuer": "https://idp.example", "subject": "robot", "kind": "machine", "notes": "nightly"}
        assert admin_client.post(reverse("admin:accounts_principal_add"), values).status_code == 302
        row = Principal.objects.get()
        owner = services.principal_ensure(issuer="https://idp.example", subject="ada", kind="human", now=NOW)
        change = reverse("admin:accounts_principal_change", args=[row.pk])
        said = {"kind": "agent", "is_kind_fixed": "on", "owner": str(owner.pk), "notes": "weekly"}
        assert admin_client.post(change, {**said, "issuer": "https://evil.example", "subject": "x"}).status_code == 302
        row.refresh_from_db()
        assert (row.issuer, row.subject, row.kind, row.owner, row.notes) == (
            "https://idp.example",
            "robot",
            "agent",
            owner,
            "weekly",
        )
        gone = reverse("admin:accounts_principal_delete", args=[row.pk])
        assert admin_client.post(gone, {"post": "yes"}).status_code == 302
        assert not Principal.objects.filter(pk=row.pk).exists()

    def test_what_was_seen_is_not_edited_and_evidence_is_not_deleted(self, admin_client):
        row = services.principal_seen(
            issuer="https://idp.example", subject="ada", address="192.0.2.7", client="ide 1", now=NOW
        )
        change = reverse("admin:accounts_principal_change", args=[row.pk])
        said = {"kind": "human", "last_address": "10.0.0.1", "display_name": "Root", "email": "root@example.org"}
        assert admin_client.post(change, said).status_code == 302
        row.refresh_from_db()
        assert (row.kind, row.last_address, row.display_name, row.email) == ("human", "192.0.2.7", "", "")
        gone = reverse("admin:accounts_principal_delete", args=[row.pk])
        assert admin_client.post(gone, {"post": "yes"}).status_code == 403
        assert admin_client.delete(f"/api/v1/principals/{row.pk}/").json()["code"] == "principal_has_evidence"

    def test_an_owner_that_is_not_human_is_refused_at_its_field(self, admin_client):
        row = services.principal_ensure(issuer="https://idp.example", subject="robot", kind="machine", now=NOW)
        other = services.principal_ensure(issuer="https://idp.example", subject="other", kind="machine", now=NOW)
        answer = admin_client.patch(
            f"/api/v1/principals/{row.pk}/", data=json.dumps({"owner": str(other.pk)}), content_type="application/json"
        )
        assert answer.status_code == 400
        assert answer.json()["fields"]["owner"][0]["code"] == "owner_not_human"

    def test_over_rest_evidence_is_read_only(self, admin_client):
        row = services.principal_ensure(issuer="https://idp.example", subject="robot", now=NOW)
        answer = admin_client.patch(
            f"/api/v1/principals/{row.pk}/",
            data='{"last_seen": "2026-01-01T00:00:00Z"}',
            content_type="application/json",
        )
        assert answer.json()["fields"]["last_seen"][0]["code"] == "unknown_field"
