"""Providers and groups as they are saved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from joserfc.jwk import ECKey, OctKey

from accounts import services
from accounts.exceptions import MasterKeysUnusable
from accounts.models import Group, IdentityProvider
from accounts.values import provider_value
from accounts.vault import CannotOpen
from policies.models import PolicyState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ECKey.generate_key("P-256")
PUBLIC = {"kid": "one", **KEY.as_dict(private=False)}

pytestmark = pytest.mark.django_db


def save(**values):
    return services.provider_save(
        **{"name": "Main", "issuer": "https://login.example.com", "audiences": ["gateway"], **values}, now=NOW
    )


def codes(refused: pytest.ExceptionInfo[ValidationError]) -> dict[str, list[str]]:
    return {field: [error.code for error in errors] for field, errors in refused.value.error_dict.items()}


def test_a_provider_is_saved_with_the_defaults_of_large_providers():
    provider = save()
    assert (provider.algorithms, provider.groups_claim, provider.max_token_seconds) == (
        ["RS256", "ES256"],
        "groups",
        3600,
    )
    assert provider.created_at == NOW


def test_saving_the_same_name_twice_changes_the_one_provider():
    first = save()
    second = save(issuer="https://login2.example.com")
    assert first.pk == second.pk
    assert IdentityProvider.objects.get().issuer == "https://login2.example.com"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"algorithms": ["HS256"]}, {"algorithms": ["unknown_algorithm"]}),
        ({"algorithms": ["none", "RS256"]}, {"algorithms": ["unknown_algorithm"]}),
        ({"algorithms": []}, {"algorithms": ["blank"]}),
        ({"issuer": "login.example.com"}, {"issuer": ["bad_url"]}),
        ({"jwks_url": "file:///etc/keys"}, {"jwks_url": ["bad_url"]}),
        ({"jwks_url": "https://user:pw@login.example.com/keys"}, {"jwks_url": ["bad_url"]}),
        ({"jwks_url": "https://login.example.com:99999/keys"}, {"jwks_url": ["bad_url"]}),
        ({"issuer": "http://login.example.com"}, {"issuer": ["plain_http"]}),
        ({"allowed_networks": ["10.0.0.1/8"]}, {"allowed_networks": ["bad_network"]}),
        ({"max_token_seconds": 5}, {"max_token_seconds": ["min_value"]}),
        ({"audiences": "gateway"}, {"audiences": ["not_a_list_of_texts"]}),
        ({"audiences": [1]}, {"audiences": ["not_a_list_of_texts"]}),
        ({"pinned_jwks": {"keys": []}}, {"pinned_jwks": ["no_usable_key"]}),
        ({"pinned_jwks": ["key"]}, {"pinned_jwks": ["key_set_refused"]}),
        ({"pinned_jwks": {"keys": [{"kid": "one", **KEY.as_dict(private=True)}]}}, {"pinned_jwks": ["private_key"]}),
        ({"pinned_jwks": {"keys": [OctKey.generate_key(256).as_dict()]}}, {"pinned_jwks": ["private_key"]}),
        ({"pinned_jwks": {"keys": [PUBLIC]}, "algorithms": ["RS256"]}, {"pinned_jwks": ["no_usable_key"]}),
    ],
)
def test_what_the_data_path_could_not_use_is_refused_at_its_field(values, expected):
    with pytest.raises(ValidationError) as refused:
        save(**values)
    assert codes(refused) == expected
    assert not IdentityProvider.objects.exists()


def test_everything_that_is_wrong_is_said_in_one_go():
    with pytest.raises(ValidationError) as refused:
        save(name="", algorithms=["HS256"], allowed_networks=["here"])
    assert codes(refused) == {
        "name": ["blank"],
        "algorithms": ["unknown_algorithm"],
        "allowed_networks": ["bad_network"],
    }


def test_keys_come_over_plain_http_only_from_a_named_private_network():
    assert save(issuer="http://127.0.0.1:4000", allowed_networks=["127.0.0.0/8"]).pk


def test_a_pinned_key_set_lets_the_issuer_be_any_name():
    assert save(issuer="build-robots", pinned_jwks={"keys": [PUBLIC]}).pk


def test_entries_lose_their_blanks_and_their_doubles():
    assert save(audiences=[" a ", "a", "", "b"]).audiences == ["a", "b"]


def test_the_same_group_name_of_two_providers_is_two_groups():
    one, two = save(), save(name="Other", issuer="https://other.example.com")
    groups = [services.group_save(provider=provider, name="sre", now=NOW) for provider in (one, two, one)]
    assert Group.objects.count() == 2
    assert groups[0].pk == groups[2].pk


def test_deleting_a_provider_deletes_its_groups():
    provider = save()
    services.group_save(provider=provider, name="sre", now=NOW)
    services.provider_delete(provider_id=provider.pk)
    assert not Group.objects.exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"preset": "nobody"}, {"preset": ["unknown_preset"]}),
        ({"issuer": "https://login.microsoftonline.com/{tenant id}/v2.0"}, {"issuer": ["placeholder", "bad_issuer"]}),
        ({"issuer": "https://login.microsoftonline.com/common/v2.0"}, {"issuer": ["issuer_of_all_tenants"]}),
        ({"issuer": "https://login.example.com?tenant=1"}, {"issuer": ["bad_url"]}),
        ({"issuer": "https://login.example.com|x"}, {"issuer": ["bad_issuer"]}),
        ({"audiences": ["{client id}"]}, {"audiences": ["placeholder"]}),
        ({"audiences": ["a\x00b"]}, {"audiences": ["bad_text"]}),
        ({"audiences": [str(number) for number in range(101)]}, {"audiences": ["too_many"]}),
        ({"tenants": ["t" * 256]}, {"tenants": ["bad_text"]}),
        ({"authorized_parties": [7]}, {"authorized_parties": ["not_a_list_of_texts"]}),
        ({"token_types": ["id+jwt"]}, {"token_types": ["not_access_tokens"]}),
        ({"token_types": ["application/Logout+JWT"]}, {"token_types": ["not_access_tokens"]}),
        ({"token_types": ["a b"]}, {"token_types": ["bad_type"]}),
        ({"subject_claim": "email"}, {"subject_claim": ["not_an_identifier"]}),
        ({"subject_claim": "user.Preferred_Username"}, {"subject_claim": ["not_an_identifier"]}),
        ({"subject_claim": ""}, {"subject_claim": ["blank"]}),
        ({"groups_claim": "a..b"}, {"groups_claim": ["bad_path"]}),
        ({"groups_claim": ".a"}, {"groups_claim": ["bad_path"]}),
        ({"roles_claim": "a b"}, {"roles_claim": ["bad_path"]}),
        ({"condition_claims": ["a..b"]}, {"condition_claims": ["bad_path"]}),
        ({"condition_claims": [f"c{number}" for number in range(21)]}, {"condition_claims": ["too_many"]}),
        ({"required_claims": ["owner"]}, {"required_claims": ["bad_required_claims"]}),
        ({"required_claims": {"owner": []}}, {"required_claims": ["bad_required_claims"]}),
        ({"required_claims": {"owner": [7]}}, {"required_claims": ["bad_required_claims"]}),
        ({"required_claims": {"owner": 7}}, {"required_claims": ["bad_required_claims"]}),
        ({"required_claims": {"": ["acme"]}}, {"required_claims": ["bad_required_claims"]}),
        ({"required_claims": {"hd": ["{your domain}"]}}, {"required_claims": ["placeholder"]}),
        ({"principal_kind": "robot"}, {"principal_kind": ["invalid_choice"]}),
        ({"scim_subject": "email"}, {"scim_subject": ["invalid_choice"]}),
        ({"dormant_days": -1}, {"dormant_days": ["min_value"]}),
        ({"leeway_seconds": 121}, {"leeway_seconds": ["max_value"]}),
        (
            {"introspection_url": "http://login.example.com/introspect"},
            {
                "introspection_url": ["plain_http"],
                "introspection_client_id": ["required"],
                "introspection_secret": ["required"],
            },
        ),
        ({"introspection_secret": "s"}, {"introspection_secret": ["without_url"]}),
    ],
)
def test_values_that_would_let_the_wrong_people_in_or_nobody_are_refused(values, expected):
    with pytest.raises(ValidationError) as refused:
        save(**values)
    assert codes(refused) == expected
    assert not IdentityProvider.objects.exists()


def test_required_claims_are_kept_as_lists_and_refused_with_their_place():
    assert save(required_claims={"repository_owner": "acme"}).required_claims == {"repository_owner": ["acme"]}
    with pytest.raises(ValidationError) as refused:
        save(required_claims={"good": ["a"], "repository_owner": ["a\nb"]})
    assert "repository_owner" in str(refused.value)


INTROSPECTION = {
    "introspection_url": "https://login.example.com/introspect",
    "introspection_client_id": "gateway",
}


def test_the_introspection_secret_is_sealed_kept_and_dropped_with_its_url():
    provider = save(**INTROSPECTION, introspection_secret="canary-7Q")
    assert b"canary-7Q" not in bytes(provider.introspection_ciphertext)
    assert services.introspection_secret(IdentityProvider.objects.get()).reveal() == b"canary-7Q"
    assert services.introspection_secret(save(**INTROSPECTION)).reveal() == b"canary-7Q"
    assert services.introspection_secret(save(**INTROSPECTION, introspection_secret="next-8R")).reveal() == b"next-8R"
    assert services.introspection_secret(save()) is None
    assert save().introspection_ciphertext is None


def test_a_sealed_secret_opens_only_in_its_own_row():
    one = save(**INTROSPECTION, introspection_secret="canary-7Q")
    two = save(name="Other", issuer="https://other.example.com", **INTROSPECTION, introspection_secret="other")
    two.introspection_wrapped_key, two.introspection_ciphertext = (
        one.introspection_wrapped_key,
        one.introspection_ciphertext,
    )
    with pytest.raises(CannotOpen):
        services.introspection_secret(two)


def test_without_master_keys_no_secret_is_taken(settings):
    settings.WARDGATE_MASTER_KEYS = ""
    with pytest.raises(MasterKeysUnusable):
        save(**INTROSPECTION, introspection_secret="canary-7Q")
    assert save().pk


def test_flushing_the_keys_is_told_to_the_gateway_processes_as_a_change_of_policy():
    provider = save()
    before = PolicyState.objects.get().version
    assert provider_value(provider).keys_flushed_at == 0
    flushed = services.provider_keys_flush(provider_id=provider.pk, now=NOW)
    assert provider_value(flushed).keys_flushed_at == NOW.timestamp()
    assert PolicyState.objects.get().version > before
