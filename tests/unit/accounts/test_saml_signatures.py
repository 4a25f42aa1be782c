"""Signatures that are good, in all the forms that providers use. Bad ones are in tests/security/test_saml.py."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
import xmlsec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lxml import etree

from accounts.saml import checks, signatures
from accounts.saml.checks import AssertionRefused
from tests.support.saml_idp import SAML, SamlIdp, key_and_certificate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOUND = {"to": "_r", "acs": "https://gateway.example/acs", "audience": "https://gateway.example/metadata"}
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"


def covered(message: bytes, certificates: list[str]):
    root = checks.document(message)
    return [signatures.covered(one, certificates) for one in checks.signatures(root, root, checks.response(root))]


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
@pytest.mark.parametrize("sign", ["assertion", "response", "both"])
def test_every_accepted_algorithm_is_verified(sign, kind, digest):
    idp = SamlIdp(kind=kind, now=NOW)
    algorithm = f"{'rsa' if kind == 'rsa' else 'ecdsa'}-{digest}"
    message = idp.response(sign=sign, signing={"algorithm": algorithm, "digest": digest}, **SOUND)
    assert len(covered(message, [idp.certificate])) == (2 if sign == "both" else 1)


def test_the_new_certificate_counts_beside_the_old_one():
    old, new = SamlIdp(key_name="one", now=NOW), SamlIdp(key_name="two", now=NOW)
    both = [old.certificate, new.certificate]
    assert covered(old.response(**SOUND), both)
    assert covered(new.response(**SOUND), both)
    with pytest.raises(AssertionRefused):
        covered(new.response(**SOUND), [old.certificate])


def test_what_is_read_is_only_what_the_signature_covers():
    message = SamlIdp(now=NOW).response(**SOUND)
    (tree,) = covered(message, [SamlIdp().certificate])
    assert tree.tag == f"{{{SAML}}}Assertion"
    assert tree.getparent() is None
    assert b"Signature" not in etree.tostring(tree)


def test_prefixes_that_the_signer_names_are_covered_wherever_they_were_declared():
    """As OpenSAML signs: InclusiveNamespaces with prefixes that only the Response declares."""
    declared = ' xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:unused="urn:unused"'
    root = etree.fromstring(SamlIdp(now=NOW).response(sign="nothing", declarations=declared, **SOUND))
    assertion = root.find(f"{{{SAML}}}Assertion")
    signature = xmlsec.template.create(
        assertion, xmlsec.constants.TransformExclC14N, xmlsec.constants.TransformRsaSha256, ns="ds"
    )
    assertion.insert(1, signature)
    reference = xmlsec.template.add_reference(
        signature, xmlsec.constants.TransformSha256, uri=f"#{assertion.get('ID')}"
    )
    xmlsec.template.add_transform(reference, xmlsec.constants.TransformEnveloped)
    canonical = xmlsec.template.add_transform(reference, xmlsec.constants.TransformExclC14N)
    xmlsec.template.transform_add_c14n_inclusive_namespaces(canonical, ["xs", "unused"])
    xmlsec.tree.add_ids(root, ["ID"])
    key, _ = key_and_certificate()
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        xmlsec.constants.KeyDataFormatPem,
    )
    context.sign(signature)
    (tree,) = covered(etree.tostring(root), [SamlIdp().certificate])
    assert b"urn:unused" in etree.tostring(tree)


def test_text_around_the_signature_stays_where_it_was():
    text = SamlIdp(now=NOW).response(sign="nothing", **SOUND).decode()
    pretty = text.replace("<saml:Subject>", "\n  <saml:Subject>")
    here = '\n <ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>'
    message = SamlIdp().signed(
        pretty.replace("\n  <saml:Subject>", here + "\n  <saml:Subject>"), f"{{{SAML}}}Assertion"
    )
    (tree,) = covered(message, [SamlIdp().certificate])
    assert tree[0].tail == "\n \n  "


def test_a_query_is_verified_with_an_elliptic_curve_too():
    key, _ = key_and_certificate("one", "p256")
    certificate = SamlIdp(kind="p256").certificate
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(b"query", ec.ECDSA(hashes.SHA256())))
    value = base64.b64encode(r.to_bytes(32) + s.to_bytes(32)).decode()
    assert signatures.is_query_signed(b"query", ECDSA_SHA256, value, [certificate])
    assert not signatures.is_query_signed(b"other", ECDSA_SHA256, value, [certificate])
    assert not signatures.is_query_signed(b"query", ECDSA_SHA256, value[:-4], [certificate])
    assert not signatures.is_query_signed(b"query", ECDSA_SHA256, "?", [certificate])
    assert not signatures.is_query_signed(b"query", ECDSA_SHA256, value, [SamlIdp().certificate])
