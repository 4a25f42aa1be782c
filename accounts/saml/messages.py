"""The messages that we send: the request to log somebody in, the answer to a logout, and who we are (metadata).

None of them is signed. The request tells nothing that a stranger could not ask for, and the answer to it is bound to
the request; so the gateway needs no SAML key of its own, and identity providers must not insist on signed requests.

Sources: SAML Core 2.0 (3.4.1, 3.7.2), SAML Bindings 2.0 (3.4.4.1), SAML Metadata 2.0 (2.4.4).
"""

from __future__ import annotations

import base64
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from lxml import etree

from .checks import METADATA, SAML, SAMLP

POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
MAX_RELAY_STATE = 1024

_OURS = re.compile(r"_[0-9a-f]{40}")
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"


@dataclass(frozen=True, slots=True)
class Places:
    """Our URLs at one identity provider; `entity_id` is also where our metadata is."""

    entity_id: str
    acs: str
    slo: str


def new_id() -> str:
    """Return an id of a message: an XML name that nobody guesses (SAML Core 1.3.4)."""
    return f"_{secrets.token_hex(20)}"


def is_id(text: str) -> bool:
    """Return whether `text` has the form of ids that we give."""
    return _OURS.fullmatch(text) is not None


def login_url(*, sso_url: str, places: Places, request_id: str, is_proof: bool = False, now: datetime) -> str:
    """Return where to send a browser so that its person logs in; with `is_proof`, anew and not by an open session."""
    root = _message("AuthnRequest", request_id, sso_url, places, now)
    if is_proof:
        root.set("ForceAuthn", "true")
    root.set("ProtocolBinding", POST)
    root.set("AssertionConsumerServiceURL", places.acs)
    etree.SubElement(root, f"{{{SAMLP}}}NameIDPolicy", AllowCreate="true")
    return _redirect(sso_url, "SAMLRequest", root)


def logout_url(*, slo_url: str, places: Places, in_response_to: str, relay_state: str, now: datetime) -> str:
    """Return where to send a browser whose logout request was done.

    `relay_state` goes back as it came, to the identity provider and nowhere else.
    """
    root = _message("LogoutResponse", new_id(), slo_url, places, now)
    root.set("InResponseTo", in_response_to)
    status = etree.SubElement(root, f"{{{SAMLP}}}Status")
    etree.SubElement(status, f"{{{SAMLP}}}StatusCode", Value=_SUCCESS)
    return _redirect(slo_url, "SAMLResponse", root, relay_state)


def our_metadata(places: Places) -> bytes:
    """Return our metadata, for the administrator of an identity provider."""
    root = etree.Element(f"{{{METADATA}}}EntityDescriptor", nsmap={"md": METADATA}, entityID=places.entity_id)
    service = etree.SubElement(
        root,
        f"{{{METADATA}}}SPSSODescriptor",
        AuthnRequestsSigned="false",
        WantAssertionsSigned="true",
        protocolSupportEnumeration=SAMLP,
    )
    for binding in (REDIRECT, POST):
        etree.SubElement(service, f"{{{METADATA}}}SingleLogoutService", Binding=binding, Location=places.slo)
    etree.SubElement(
        service,
        f"{{{METADATA}}}AssertionConsumerService",
        Binding=POST,
        Location=places.acs,
        index="0",
        isDefault="true",
    )
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True))


def _message(name: str, message_id: str, destination: str, places: Places, now: datetime) -> Any:
    root = etree.Element(
        f"{{{SAMLP}}}{name}",
        nsmap={"samlp": SAMLP, "saml": SAML},
        ID=message_id,
        Version="2.0",
        IssueInstant=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        Destination=destination,
    )
    etree.SubElement(root, f"{{{SAML}}}Issuer").text = places.entity_id
    return root


def _redirect(url: str, name: str, root: Any, relay_state: str = "") -> str:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(etree.tostring(root, encoding="utf-8")) + deflater.flush()
    values = {name: base64.b64encode(deflated).decode()}
    if relay_state:
        values["RelayState"] = relay_state
    return f"{url}{'&' if '?' in url else '?'}{urlencode(values)}"
