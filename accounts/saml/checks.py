"""What a SAML message has to look like before a signature is looked at: bytes in, tree or refusal out. Pure.

SAML's history is one of two parsers that read one document differently, and of signatures that covered something else
than what was used. So everything that SAML does not need is refused, and what is left has one reading:

1. Size, and one spelling of base64; what inflates is cut off at its cap.
2. UTF-8 without any declaration (`<!...`) and without processing instructions: no DTD, entity, comment or CDATA
   section, so that no text is split in two (CVE-2017-11427) and nothing expands (CVE-2023-28119, CVE-2023-26483).
3. Absolute namespaces only: canonicalisation of a relative one fails, and a failed one can look like an empty text
   that somebody once signed ("void canonicalisation"). No id in a namespace, no `xml:id`, no id twice. No
   `xsi:schemaLocation`, which would have the validator read a file of the sender's choice.
4. Exactly one message, and in a Response exactly one Assertion, at their places; nothing encrypted.
5. Signatures at the place where they belong, over the whole of the element that holds them: one reference, enveloped,
   exclusive canonicalisation, SHA-2, RSA or ECDSA. No HMAC, for a certificate is public. No XSLT, no XPath.

Sources: SAML Core 2.0 (sections 1.3.4, 5.4), SAML Bindings 2.0, XML Signature 1.1, RFC 7522 section 2.1;
Somorovsky et al., "On Breaking SAML" (USENIX Security 2012).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from accounts.exceptions import DomainError

MESSAGE_BYTES: Final = 256 * 1024
"""Most bytes of a message, as it is sent and as it is decoded."""
INFLATED_BYTES: Final = 1024 * 1024
"""Most bytes of a message that was sent deflated."""
MAX_ELEMENTS: Final = 5000
MAX_DEPTH: Final = 40
MAX_ATTRIBUTES: Final = 200
"""Most equals signs from one tag to the next: the parser's time grows with the square of an element's attributes."""

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"

EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
DIGESTS: Final = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
SIGNATURES: Final = {
    f"http://www.w3.org/2001/04/xmldsig-more#{kind}-{digest}": (kind, digest)
    for kind in ("rsa", "ecdsa")
    for digest in ("sha256", "sha384", "sha512")
}

_DECLARATION = re.compile(
    rb"""\A<\?xml[ \t\r\n]+version=(["'])1\.0\1([ \t\r\n]+encoding=(["'])utf-8\3)?"""
    rb"""([ \t\r\n]+standalone=(["'])(?:yes|no)\5)?[ \t\r\n]*\?>""",
    re.IGNORECASE,
)
_NAMESPACE = re.compile(rb"""xmlns(?::[^\s=<>"']*)?\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:[^\s&]+\Z")
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,254}")
_IDS = frozenset({"id", "assertionid"})
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+={0,2}")
_XML = "{http://www.w3.org/XML/1998/namespace}"


class AssertionRefused(DomainError):
    """A SAML message is not accepted. `code` is stable; the sentence repeats nothing of the message."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Signed:
    """An element that holds one well-formed enveloped signature; nothing is proven yet."""

    element: Any = field(repr=False)
    digest: str
    prefixes: tuple[str, ...]
    """The InclusiveNamespaces of the reference: prefixes that are canonicalised although they are not used."""


def from_post(encoded: str) -> bytes:
    """Return the message of the HTTP POST binding (SAML Bindings 3.5.4); line breaks of MIME are allowed.

    Raises:
        AssertionRefused: too long, or not base64 in its one spelling.
    """
    if len(encoded) > MESSAGE_BYTES:
        raise _too_large()
    return _base64(encoded.replace("\r", "").replace("\n", ""))


def from_redirect(encoded: str) -> bytes:
    """Return the message of the HTTP Redirect binding (SAML Bindings 3.4.4.1), inflated up to its cap.

    Raises:
        AssertionRefused: too long, not base64, or not exactly one complete deflate stream.
    """
    if len(encoded) > MESSAGE_BYTES:
        raise _too_large()
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        message = stream.decompress(_base64(encoded), INFLATED_BYTES + 1)
    except zlib.error:
        raise AssertionRefused("saml_encoding", "The message is not deflated as it should be.") from None
    if len(message) > INFLATED_BYTES:
        raise _too_large()
    if not stream.eof or stream.unused_data:
        raise AssertionRefused("saml_encoding", "The message is not deflated as it should be.")
    return message


def from_grant(encoded: bytes) -> bytes:
    """Return the assertion of a token request: base64url, padded or not (RFC 7522 section 2.1).

    Raises:
        AssertionRefused: too long, or not base64url in one of its two spellings.
    """
    if len(encoded) > MESSAGE_BYTES:
        raise _too_large()
    bare = encoded.rstrip(b"=")
    if not _BASE64URL.fullmatch(encoded) or len(encoded) not in {len(bare), len(bare) + -len(bare) % 4}:
        raise AssertionRefused("saml_encoding", "The assertion is not base64url.")
    try:
        message = base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        raise AssertionRefused("saml_encoding", "The assertion is not base64url.") from None
    if base64.urlsafe_b64encode(message).rstrip(b"=") != bare:
        raise AssertionRefused("saml_encoding", "The assertion is not base64url.")
    return message


def document(message: bytes) -> Any:
    """Return the root of `message`, which has one reading only.

    Raises:
        AssertionRefused: it has more than elements, attributes and text, or ids that are not unique.
    """
    if len(message) > INFLATED_BYTES:
        raise _too_large()
    _check_text(message)
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_blank_text=False
    )
    try:
        root = etree.fromstring(message, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise AssertionRefused("saml_xml", "The message is not well-formed XML.") from None
    _check_elements(root)
    return root


def response(root: Any) -> Any:
    """Return the one assertion of the Response `root`.

    Raises:
        AssertionRefused: it is no Response, or holds another number of assertions, at another place, or encrypted.
    """
    _check_root(root, f"{{{SAMLP}}}Response")
    _check_alone(root, responses=1, assertions=1)
    children = [child for child in root if child.tag == f"{{{SAML}}}Assertion"]
    if len(children) != 1:
        raise AssertionRefused("saml_structure", "The assertion is not where it belongs.")
    _check_version(children[0])
    return children[0]


def assertion(root: Any) -> Any:
    """Return `root`, when it is a single Assertion.

    Raises:
        AssertionRefused: it is not, or holds another.
    """
    _check_root(root, f"{{{SAML}}}Assertion")
    _check_alone(root, responses=0, assertions=1)
    return root


def logout_request(root: Any) -> Any:
    """Return `root`, when it is a LogoutRequest.

    Raises:
        AssertionRefused: it is not, or what it says is encrypted.
    """
    _check_root(root, f"{{{SAMLP}}}LogoutRequest")
    _check_alone(root, responses=0, assertions=0)
    return root


def signatures(root: Any, *holders: Any) -> list[Signed]:
    """Return the signatures of `holders`, of which each holds at most one; any elsewhere is refused.

    Raises:
        AssertionRefused: a signature is at the wrong place, covers something else, or is made in a way that is not
            accepted.
    """
    everywhere = sum(element.tag.rpartition("}")[2] == "Signature" for element in root.iter())
    held = [holder.findall(f"{{{DS}}}Signature") for holder in holders]
    if any(len(own) > 1 for own in held) or sum(map(len, held)) != everywhere:
        raise AssertionRefused("saml_signature_place", "A signature is not where it belongs.")
    if not everywhere:
        raise AssertionRefused("saml_unsigned", "Neither the message nor its assertion is signed.")
    return [_signed(signature) for own in held for signature in own]


def _base64(encoded: str) -> bytes:
    try:
        message = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise AssertionRefused("saml_encoding", "The message is not base64.") from None
    if not message or base64.b64encode(message).decode() != encoded:
        raise AssertionRefused("saml_encoding", "The message is not base64.")
    return message


def _too_large() -> AssertionRefused:
    return AssertionRefused("saml_too_large", "The message is larger than the gateway accepts.")


def _check_text(message: bytes) -> None:
    """Refuse by the bytes alone; what is refused here, no parser ever sees."""
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        raise AssertionRefused("saml_xml", "The message is not UTF-8.") from None
    if message.startswith(codecs.BOM_UTF8):
        raise AssertionRefused("saml_xml", "The message begins with a byte order mark.")
    declaration = _DECLARATION.match(message)
    body = message[declaration.end() :] if declaration else message
    if b"<!" in body or b"<?" in body:
        raise AssertionRefused("saml_declaration", "Declarations, comments and instructions are not accepted in SAML.")
    pieces = body.split(b"<")
    if len(pieces) > 2 * MAX_ELEMENTS or any(piece.count(b"=") > MAX_ATTRIBUTES for piece in pieces):
        raise AssertionRefused("saml_structure", "The message has too many elements or attributes.")
    for match in _NAMESPACE.finditer(body):
        if not _ABSOLUTE.match(match[1] if match[1] is not None else match[2]):
            raise AssertionRefused("saml_namespace", "A namespace of the message is not an absolute name.")


def _check_elements(root: Any) -> None:
    ids: set[str] = set()
    # A walk with a stack of its own: the depth is judged before anything recursive meets it.
    waiting = [(root, 1)]
    while waiting:
        element, depth = waiting.pop()
        if depth > MAX_DEPTH or not isinstance(element.tag, str):
            raise AssertionRefused("saml_structure", "The message is nested too deeply.")
        for name, value in element.items():
            _check_attribute(name, value, ids)
        waiting.extend((child, depth + 1) for child in element)


def _check_attribute(name: str, value: str, ids: set[str]) -> None:
    local = name.rpartition("}")[2].lower()
    if local.endswith("schemalocation") or name == f"{_XML}base":
        raise AssertionRefused("saml_structure", "The message points to other documents.")
    if local not in _IDS:
        return
    if name.startswith("{"):
        raise AssertionRefused("saml_id", "An id of the message is in a namespace.")
    if not _ID.fullmatch(value):
        raise AssertionRefused("saml_id", "An id of the message is not a name.")
    if value in ids:
        raise AssertionRefused("saml_id", "An id of the message occurs twice.")
    ids.add(value)


def _check_root(root: Any, tag: str) -> None:
    if root.tag != tag:
        raise AssertionRefused("saml_structure", "The message is not of the kind that is expected here.")
    _check_version(root)


def _check_version(element: Any) -> None:
    if element.get("Version") != "2.0" or not element.get("ID") or not element.get("IssueInstant"):
        raise AssertionRefused("saml_structure", "The message is not a SAML 2.0 message.")


def _check_alone(root: Any, *, responses: int, assertions: int) -> None:
    """Count by the local name, whatever the namespace: what looks like an assertion to any reader counts as one."""
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    if any(name.startswith("Encrypted") for name in names):
        raise AssertionRefused("saml_encrypted", "Encrypted assertions are not accepted: the connection is encrypted.")
    counted = (names.count("Response"), names.count("Assertion"))
    if counted != (responses, assertions) or "Extensions" in names or "Advice" in names:
        raise AssertionRefused("saml_structure", "The message must hold exactly what is expected, and hold it once.")


def _signed(signature: Any) -> Signed:
    """Return what `signature` claims to cover, which has to be the element that it is in."""
    holder = signature.getparent()
    parts = [child.tag for child in signature]
    expected = [f"{{{DS}}}SignedInfo", f"{{{DS}}}SignatureValue"]
    if parts not in (expected, [*expected, f"{{{DS}}}KeyInfo"]):
        raise _signature_refused("The signature has parts that are not accepted.")
    info = signature[0]
    if [child.tag for child in info] != [
        f"{{{DS}}}{name}" for name in ("CanonicalizationMethod", "SignatureMethod", "Reference")
    ]:
        raise _signature_refused("The signature has to have exactly one reference.")
    canonicalization, method, reference = info
    if canonicalization.get("Algorithm") != EXCLUSIVE or len(canonicalization):
        raise _algorithm_refused()
    if method.get("Algorithm") not in SIGNATURES or len(method):
        raise _algorithm_refused()
    if reference.get("URI") != f"#{holder.get('ID')}" or set(reference.attrib) - {"URI", "Id"}:
        raise _signature_refused("The signature covers something else than the element that it is in.")
    names = [child.tag for child in reference]
    if names != [f"{{{DS}}}{name}" for name in ("Transforms", "DigestMethod", "DigestValue")]:
        raise _signature_refused("The signature has parts that are not accepted.")
    transforms, digest_method, _ = reference
    if [child.tag for child in transforms] != [f"{{{DS}}}Transform"] * 2 or len(transforms[0]):
        raise _signature_refused("The signature's transforms are not the two that SAML allows.")
    if transforms[0].get("Algorithm") != ENVELOPED:
        raise _signature_refused("The signature's transforms are not the two that SAML allows.")
    digest = DIGESTS.get(digest_method.get("Algorithm", ""))
    if digest is None or len(digest_method):
        raise _algorithm_refused()
    return Signed(holder, digest, _prefixes(transforms[1]))


def _prefixes(method: Any) -> tuple[str, ...]:
    """Return the prefixes of an exclusive canonicalisation, and refuse every other one."""
    if method.get("Algorithm") != EXCLUSIVE:
        raise _algorithm_refused()
    children = list(method)
    if not children:
        return ()
    if len(children) != 1 or children[0].tag != f"{{{EXCLUSIVE}}}InclusiveNamespaces" or len(children[0]):
        raise _signature_refused("The signature's canonicalisation has parts that are not accepted.")
    return tuple(children[0].get("PrefixList", "").split())


def _signature_refused(sentence: str) -> AssertionRefused:
    return AssertionRefused("saml_signature_form", sentence)


def _algorithm_refused() -> AssertionRefused:
    return AssertionRefused(
        "saml_algorithm", "The signature is made with an algorithm that is not accepted: use RSA or ECDSA with SHA-256."
    )
