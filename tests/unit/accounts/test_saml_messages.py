"""The messages that we send, and the metadata that we read."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser

from accounts.saml import messages, signatures
from accounts.saml.checks import AssertionRefused
from accounts.saml.metadata import their_metadata
from tests.support.saml_idp import SamlIdp, request_in

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACES = messages.Places(
    "https://gateway.example/metadata", "https://gateway.example/acs", "https://gateway.example/slo"
)
PROTOCOL, METADATA = "saml-schema-protocol-2.0.xsd", "saml-schema-metadata-2.0.xsd"


def test_a_login_request_follows_the_schema_and_names_our_places():
    request_id = messages.new_id()
    url = messages.login_url(sso_url="https://idp.example/sso?x=1", places=PLACES, request_id=request_id, now=NOW)
    root = request_in(url)
    signatures.check_schema(root, PROTOCOL)
    assert url.startswith("https://idp.example/sso?x=1&SAMLRequest=")
    assert (root.get("ID"), root.get("AssertionConsumerServiceURL")) == (request_id, PLACES.acs)
    assert (root.get("Destination"), root.get("IssueInstant")) == (
        "https://idp.example/sso?x=1",
        "2026-03-01T12:00:00Z",
    )
    assert root.get("ForceAuthn") is None


def test_a_proof_asks_for_a_fresh_login():
    url = messages.login_url(sso_url="https://idp.example", places=PLACES, request_id="_a", is_proof=True, now=NOW)
    root = request_in(url)
    signatures.check_schema(root, PROTOCOL)
    assert root.get("ForceAuthn") == "true"


def test_an_answer_to_a_logout_follows_the_schema_and_gives_the_relay_state_back():
    url = messages.logout_url(
        slo_url="https://idp.example/slo", places=PLACES, in_response_to="_x", relay_state="a&b=c", now=NOW
    )
    root = request_in(url)
    signatures.check_schema(root, PROTOCOL)
    assert root.get("InResponseTo") == "_x"
    assert parse_qs(urlsplit(url).query)["RelayState"] == ["a&b=c"]


def test_our_metadata_follows_the_schema():
    signatures.check_schema(etree.fromstring(messages.our_metadata(PLACES)), METADATA)


def test_ids_are_never_the_same_and_are_recognised():
    ids = {messages.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(messages.is_id, ids))
    assert not any(map(messages.is_id, ["", "_", "_" + "g" * 40, "_" + "a" * 40 + "\n", "_" + "A" * 40]))


def test_metadata_is_read_as_the_library_reads_it():
    text = SamlIdp().metadata()
    found = their_metadata(text, now=NOW)
    theirs = OneLogin_Saml2_IdPMetadataParser.parse(text)["idp"]
    assert found.entity_id == theirs["entityId"]
    assert found.sso_url == theirs["singleSignOnService"]["url"]
    assert found.slo_url == theirs["singleLogoutService"]["url"]
    assert found.certificates == (theirs["x509cert"],)


def test_a_key_for_encryption_is_no_key_for_signing():
    """The library falls back to it when there is no other."""
    text = SamlIdp().metadata().replace('use="signing"', 'use="encryption"')
    with pytest.raises(AssertionRefused, match="no signing certificate"):
        their_metadata(text, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "<x/>",
        lambda text: "<!-- a comment -->" + text,
        lambda text: "<!DOCTYPE x>" + text,
        lambda text: text.replace("HTTP-Redirect", "HTTP-POST"),
        lambda text: text.replace("IDPSSODescriptor", "SPSSODescriptor"),
        lambda text: text.replace("<md:EntityDescriptor", '<md:EntityDescriptor validUntil="2026-03-01T12:00:00Z"'),
        lambda text: text.replace("<md:EntityDescriptor", '<md:EntityDescriptor validUntil="soon"'),
        lambda text: text + " " * 10 + "x" * 300_000,
        lambda text: text.replace('entityID="https://idp.example/saml"', ""),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(change):
    text = SamlIdp().metadata()
    assert change(text) != text
    with pytest.raises(AssertionRefused):
        their_metadata(change(text), now=NOW)
