"""Whether a pinned certificate signed an element, and what exactly it signed.

Each signature is judged twice, and both have to agree. The library judges it in the document, after the schema. Then
the element is taken out of its document and judged again by xmlsec, with nothing allowed but the transforms that
`checks` found, and without its KeyInfo: which key counts is the administrator's to say, never the message's. Last, the
canonical bytes are made once more and compared with the digest that was signed. **Those bytes are what is used**:
whoever reads the statement reads a parse of the very bytes that the signature covers, and of nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import xmlsec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML
from xmlsec import constants

from .checks import DS, SAML, SAMLP, SIGNATURES, AssertionRefused, Signed, document

_TRANSFORMS = {
    ("rsa", "sha256"): constants.TransformRsaSha256,
    ("rsa", "sha384"): constants.TransformRsaSha384,
    ("rsa", "sha512"): constants.TransformRsaSha512,
    ("ecdsa", "sha256"): constants.TransformEcdsaSha256,
    ("ecdsa", "sha384"): constants.TransformEcdsaSha384,
    ("ecdsa", "sha512"): constants.TransformEcdsaSha512,
}
_PREFIXES = {SAML: "saml", SAMLP: "samlp"}
_DIGESTS = {
    "sha256": constants.TransformSha256,
    "sha384": constants.TransformSha384,
    "sha512": constants.TransformSha512,
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def check_schema(root: Any, schema: str) -> None:
    """Refuse a tree that is not what OASIS's schema describes.

    Args:
        root: the tree.
        schema: saml-schema-protocol-2.0.xsd for messages, saml-schema-assertion-2.0.xsd for bare assertions,
            saml-schema-metadata-2.0.xsd for metadata; the files are python3-saml's.

    Raises:
        AssertionRefused: it is not.
    """
    if isinstance(OneLogin_Saml2_XML.validate_xml(root, schema), str):
        raise AssertionRefused("saml_schema", "The message does not follow the SAML schema.")


def covered(signed: Signed, certificates: Sequence[str]) -> Any:
    """Return a fresh tree of the bytes that the signature covers.

    Args:
        signed: from `checks.signatures`.
        certificates: the pinned ones, in PEM; one of them has to have signed.

    Raises:
        AssertionRefused: none of the certificates signed these bytes.
    """
    whole = signed.element.getroottree().getroot()
    # The bytes go through the library's own parser: it never shares a tree with ours.
    text, place = etree.tostring(whole, encoding="utf-8"), _place(signed.element)
    if not any(OneLogin_Saml2_Utils.validate_sign(text, certificate, xpath=place) for certificate in certificates):
        raise _invalid()
    alone = document(etree.tostring(signed.element, encoding="utf-8", with_tail=False))
    signature = alone.find(f"{{{DS}}}Signature")
    for key_info in signature.findall(f"{{{DS}}}KeyInfo"):
        signature.remove(key_info)
    if not any(_is_signed_by(alone, signature, signed.digest, certificate) for certificate in certificates):
        raise _invalid()
    return _canonical(alone, signature, signed)


def is_query_signed(signed: bytes, algorithm: str, signature: str, certificates: Sequence[str]) -> bool:
    """Return whether one of `certificates` signed a query string (SAML Bindings 3.4.4.1).

    Args:
        signed: `SAMLRequest=...&RelayState=...&SigAlg=...` exactly as it was sent.
        algorithm: the URI of SigAlg.
        signature: base64.
        certificates: the pinned ones, in PEM.

    Raises:
        AssertionRefused: the algorithm is not accepted.
    """
    if algorithm not in SIGNATURES:
        raise AssertionRefused("saml_algorithm", "The signature is made with an algorithm that is not accepted.")
    try:
        value = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(_verifies(_public_key(certificate), algorithm, signed, value) for certificate in certificates)


def _place(element: Any) -> str:
    """Return where the signature of `element` is, as XPath in the prefixes of the library."""
    line = [element, *element.iterancestors()]
    names = (ancestor.tag.removeprefix("{").split("}") for ancestor in reversed(line))
    return "".join(f"/{_PREFIXES[namespace]}:{local}" for namespace, local in names) + "/ds:Signature"


def _is_signed_by(root: Any, signature: Any, digest: str, certificate: str) -> bool:
    kind = SIGNATURES[signature[0][1].get("Algorithm")]
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(certificate, constants.KeyDataFormatCertPem)
    for transform in (constants.TransformEnveloped, constants.TransformExclC14N, _DIGESTS[digest]):
        context.enable_reference_transform(transform)
    for transform in (constants.TransformExclC14N, _TRANSFORMS[kind]):
        context.enable_signature_transform(transform)
    try:
        context.verify(signature)
    except (xmlsec.Error, ValueError):
        return False
    return True


def _canonical(root: Any, signature: Any, signed: Signed) -> Any:
    """Return a parse of the canonical bytes of `root` without `signature`, when their digest is the one signed."""
    expected = signature.findtext(f"{{{DS}}}SignedInfo/{{{DS}}}Reference/{{{DS}}}DigestValue", "")
    info = etree.tostring(signature[0], method="c14n", exclusive=True, with_comments=False)
    _take_out(signature)
    canonical = etree.tostring(
        root, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=list(signed.prefixes)
    )
    try:
        digest = base64.b64decode("".join(expected.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    if not info or not canonical or not hmac.compare_digest(hashlib.new(signed.digest, canonical).digest(), digest):
        raise _invalid()
    return document(canonical)


def _take_out(element: Any) -> None:
    """Remove `element` and nothing else: lxml would remove the text behind it too."""
    parent, before = element.getparent(), element.getprevious()
    if element.tail:
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
        element.tail = None
    parent.remove(element)


def _verifies(key: object, algorithm: str, message: bytes, signature: bytes) -> bool:
    kind, digest = SIGNATURES[algorithm]
    try:
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), _HASHES[digest])
            return True
        if kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            pair = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
            key.verify(encode_dss_signature(*pair), message, ec.ECDSA(_HASHES[digest]))
            return True
    except InvalidSignature:
        return False
    return False


@lru_cache(maxsize=64)
def _public_key(certificate: str) -> object:
    return x509.load_pem_x509_certificate(certificate.encode()).public_key()


def _invalid() -> AssertionRefused:
    return AssertionRefused(
        "saml_signature", "The signature was not made with a certificate of this identity provider."
    )
