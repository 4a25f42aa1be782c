"""A SAML identity provider of our own: it writes any assertion, signs any element of it, and can be as wrong as asked.

Documents are made from texts, for what an attacker sends is text: a namespace declared twice, a comment, a DTD. What is
signed is signed by signxml, which shares no code with xmlsec, the verifier under test.

    idp = SamlIdp()
    post(idp.response(to=request_id, acs=url, audience=entity_id))
"""

from __future__ import annotations

import base64
import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import methods
from signxml.signer import XMLSigner

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
PERSISTENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"

_HERE = '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>'
_MARK = "<!--signature-->"
_FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def key_and_certificate(
    name: str = "one", kind: str = "rsa", bits: int = 2048, days: int = 3650
) -> tuple[Key, x509.Certificate]:
    """Return the key `name` with a self-signed certificate; the same for the whole process."""
    return _generated(name, kind, bits, days)


@cache
def _generated(name: str, kind: str, bits: int, days: int) -> tuple[Key, x509.Certificate]:
    key: Key = (
        rsa.generate_private_key(65537, bits)
        if kind == "rsa"
        else ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "k256": ec.SECP256K1()}[kind])
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"idp {name}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FIRST_DAY)
        .not_valid_after(_FIRST_DAY + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def pem(certificate: x509.Certificate) -> str:
    """Return the certificate as an administrator pastes it."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class _AnySigner(XMLSigner):
    """Signs with whatever it is told to, SHA-1 too."""

    def check_deprecated_methods(self) -> None:
        """Let everything pass."""


def posted(document: bytes | str) -> str:
    """Return a document as the form field of the POST binding."""
    raw = document.encode() if isinstance(document, str) else document
    return base64.b64encode(raw).decode()


def granted(document: bytes | str) -> bytes:
    """Return an assertion as the parameter of a token request."""
    raw = document.encode() if isinstance(document, str) else document
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def deflated(document: bytes | str) -> str:
    """Return a document as the parameter of the Redirect binding, not yet percent-encoded."""
    raw = document.encode() if isinstance(document, str) else document
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(deflater.compress(raw) + deflater.flush()).decode()


def request_in(url: str) -> Any:
    """Return the AuthnRequest or the LogoutResponse that `url` carries."""
    parameters = parse_qs(urlsplit(url).query)
    encoded = (parameters.get("SAMLRequest") or parameters["SAMLResponse"])[0]
    return etree.fromstring(zlib.decompress(base64.b64decode(encoded), -15))


def stamp(moment: datetime) -> str:
    """Return a moment as SAML writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class SamlIdp:
    """An identity provider. What a call does not say is what an honest one would write."""

    entity_id: str = "https://idp.example/saml"
    key_name: str = "one"
    kind: str = "rsa"
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @property
    def certificate(self) -> str:
        """The certificate to pin."""
        return pem(key_and_certificate(self.key_name, self.kind)[1])

    def metadata(self, *, sso_url: str = "https://idp.example/sso", slo_url: str = "https://idp.example/slo") -> str:
        """Return metadata to paste."""
        body = "".join(self.certificate.splitlines()[1:-1])
        return (
            f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="{DS}"'
            f' entityID={quoteattr(self.entity_id)}><md:IDPSSODescriptor protocolSupportEnumeration="{SAMLP}">'
            f'<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{body}'
            "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            '<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"'
            f" Location={quoteattr(slo_url)}/>"
            '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"'
            f" Location={quoteattr(sso_url)}/></md:IDPSSODescriptor></md:EntityDescriptor>"
        )

    def assertion_text(
        self,
        *,
        recipient: str,
        audience: str,
        to: str | None,
        subject: str = "u-17",
        name_format: str = PERSISTENT,
        groups: Iterable[str] | None = ("staff", "sre"),
        attributes: Mapping[str, Sequence[str]] | None = None,
        assertion_id: str = "",
        session_index: str = "s-1",
        issuer: str = "",
        method: str = BEARER,
        issued_at: datetime | None = None,
        not_before: datetime | None = None,
        ends_at: datetime | None = None,
        confirmation: str | None = None,
        conditions: str | None = None,
        logins: str | None = None,
        extra: str = "",
        declarations: str = "",
    ) -> str:
        """Return an assertion with a mark where its signature goes; namespaces are declared on it."""
        issued_at = issued_at or self.now
        ends_at = ends_at or issued_at + timedelta(minutes=5)
        everything = {**({} if groups is None else {"groups": list(groups)}), **(attributes or {})}
        if confirmation is None:
            answers = "" if to is None else f' InResponseTo="{to}"'
            confirmation = (
                f'<saml:SubjectConfirmation Method="{method}"><saml:SubjectConfirmationData'
                f' NotOnOrAfter="{stamp(ends_at)}" Recipient={quoteattr(recipient)}{answers}/>'
                "</saml:SubjectConfirmation>"
            )
        if conditions is None:
            conditions = (
                f'<saml:Conditions NotBefore="{stamp(not_before or issued_at)}" NotOnOrAfter="{stamp(ends_at)}">'
                f"<saml:AudienceRestriction><saml:Audience>{escape(audience)}</saml:Audience></saml:AudienceRestriction>"
                "</saml:Conditions>"
            )
        if logins is None:
            index = f' SessionIndex="{session_index}"' if session_index else ""
            logins = (
                f'<saml:AuthnStatement AuthnInstant="{stamp(issued_at)}"{index}><saml:AuthnContext>'
                "<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef>"
                "</saml:AuthnContext></saml:AuthnStatement>"
            )
        statement = "".join(
            f"<saml:Attribute Name={quoteattr(name)}>"
            + "".join(
                '<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xsi:type="xs:string"'
                f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{escape(value)}</saml:AttributeValue>'
                for value in values
            )
            + "</saml:Attribute>"
            for name, values in everything.items()
        )
        statement = f"<saml:AttributeStatement>{statement}</saml:AttributeStatement>" if statement else ""
        return (
            f'<saml:Assertion xmlns:saml="{SAML}"{declarations} ID="{assertion_id or new_id()}"'
            f' IssueInstant="{stamp(issued_at)}" Version="2.0"><saml:Issuer>{escape(issuer or self.entity_id)}'
            f'</saml:Issuer>{_MARK}<saml:Subject><saml:NameID Format="{name_format}">{escape(subject)}</saml:NameID>'
            f"{confirmation}</saml:Subject>{conditions}{logins}{statement}{extra}</saml:Assertion>"
        )

    def response(
        self,
        *,
        to: str | None,
        acs: str,
        audience: str,
        sign: str = "assertion",
        destination: str | None = "",
        status: str = "urn:oasis:names:tc:SAML:2.0:status:Success",
        response_to: str | None = "",
        response_id: str = "",
        response_issuer: str = "",
        recipient: str = "",
        signing: Mapping[str, Any] | None = None,
        declarations: str = "",
        **assertion: Any,
    ) -> bytes:
        """Return a Response. `sign` names what is signed: assertion, response, both or nothing.

        `destination` and `response_to` as None leave their attribute out.
        """
        inner = self.assertion_text(recipient=recipient or acs, audience=audience, to=to, **assertion)
        answers = to if response_to == "" else response_to
        place = acs if destination == "" else destination
        text = (
            f'<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}"{declarations} ID="{response_id or new_id()}"'
            f' Version="2.0" IssueInstant="{stamp(self.now)}"'
            + (f" Destination={quoteattr(place)}" if place is not None else "")
            + (f' InResponseTo="{answers}"' if answers is not None else "")
            + f"><saml:Issuer>{escape(response_issuer or self.entity_id)}</saml:Issuer>{_MARK}<samlp:Status>"
            f'<samlp:StatusCode Value="{status}"/></samlp:Status>{inner}</samlp:Response>'
        )
        # The first mark is the Response's, the second the assertion's.
        first, second, third = text.split(_MARK)
        options = dict(signing or {})
        if sign == "assertion":
            return self.signed(first + second + _HERE + third, f"{{{SAML}}}Assertion", **options)
        if sign == "response":
            return self.signed(first + _HERE + second + third, f"{{{SAMLP}}}Response", **options)
        if sign == "both":
            inside = self.signed(first + _MARK + second + _HERE + third, f"{{{SAML}}}Assertion", **options)
            text = inside.decode().replace(_MARK, _HERE)
            return self.signed(text, f"{{{SAMLP}}}Response", **options)
        return (first + second + third).encode()

    def assertion(self, *, recipient: str, audience: str, sign: bool = True, **values: Any) -> bytes:
        """Return a bare assertion for a token endpoint (RFC 7522)."""
        options = dict(values.pop("signing", {}))
        text = self.assertion_text(recipient=recipient, audience=audience, **{"to": None, **values})
        if not sign:
            return text.replace(_MARK, "").encode()
        return self.signed(text.replace(_MARK, _HERE), f"{{{SAML}}}Assertion", **options)

    def logout_request(
        self,
        *,
        destination: str,
        subject: str = "u-17",
        session_indexes: Iterable[str] = ("s-1",),
        issued_at: datetime | None = None,
        ends_at: datetime | None = None,
        issuer: str = "",
        sign: bool = True,
    ) -> bytes:
        """Return a LogoutRequest, signed inside."""
        indexes = "".join(f"<samlp:SessionIndex>{escape(index)}</samlp:SessionIndex>" for index in session_indexes)
        ending = f' NotOnOrAfter="{stamp(ends_at)}"' if ends_at else ""
        text = (
            f'<samlp:LogoutRequest xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="{new_id()}" Version="2.0"'
            f' IssueInstant="{stamp(issued_at or self.now)}"{ending} Destination={quoteattr(destination)}>'
            f"<saml:Issuer>{escape(issuer or self.entity_id)}</saml:Issuer>{_MARK}"
            f"<saml:NameID>{escape(subject)}</saml:NameID>{indexes}</samlp:LogoutRequest>"
        )
        if not sign:
            return text.replace(_MARK, "").encode()
        return self.signed(text.replace(_MARK, _HERE), f"{{{SAMLP}}}LogoutRequest")

    def logout_query(self, document: bytes, *, relay_state: str = "", algorithm: str = RSA_SHA256) -> str:
        """Return the query string that carries an unsigned logout request and signs it."""
        parts = [("SAMLRequest", deflated(document)), *([("RelayState", relay_state)] if relay_state else [])]
        query = urlencode([*parts, ("SigAlg", algorithm)])
        key = key_and_certificate(self.key_name, self.kind)[0]
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{query}&Signature={quote_plus(base64.b64encode(signature).decode())}"

    def signed(
        self,
        text: str,
        tag: str,
        *,
        algorithm: str = "",
        digest: str = "sha256",
        canonicalization: str = EXCLUSIVE,
        key: Any = None,
        with_key_info: bool = True,
    ) -> bytes:
        """Return `text` with a signature of the one element `tag` at its placeholder."""
        root = etree.fromstring(text.encode())
        element = root if root.tag == tag else next(root.iter(tag))
        own_key, certificate = key_and_certificate(self.key_name, self.kind)
        chosen = algorithm or ("rsa-sha256" if self.kind == "rsa" else "ecdsa-sha256")
        signer = _AnySigner(
            method=methods.enveloped,
            signature_algorithm=chosen,
            digest_algorithm=digest,
            c14n_algorithm=canonicalization,
        )
        options: dict[str, Any] = {"cert": [certificate]} if not chosen.startswith("hmac") else {}
        signed = signer.sign(
            root,
            key=own_key if key is None else key,
            reference_uri=f"#{element.get('ID')}",
            **options,
        )
        if not with_key_info:
            for info in list(signed.iter(f"{{{DS}}}KeyInfo")):
                info.getparent().remove(info)
        return bytes(etree.tostring(signed))


def new_id() -> str:
    """Return a fresh id of a message."""
    return f"_{secrets.token_hex(16)}"
