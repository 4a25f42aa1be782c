"""From a message to what it proves: every check in its order. Values in, values out; no database.

    root = checks.document(checks.from_post(form field))      # one reading, see `checks`
    login(root, ...)                                          # schema, signatures, envelope, statement

Nobody but this module puts trees of `signatures.covered` into `statements`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from . import checks, signatures, statements
from .checks import AssertionRefused
from .statements import Logout, Profile, Statement

_PROTOCOL = "saml-schema-protocol-2.0.xsd"
_ASSERTION = "saml-schema-assertion-2.0.xsd"
_SIGNED_PARTS = ("SAMLRequest", "RelayState", "SigAlg")
"""What the signature of a query covers, in the order of SAML Bindings 3.4.4.1."""


def login(
    root: Any, *, certificates: Sequence[str], profile: Profile, acs: str, request_id: str, now: datetime
) -> Statement:
    """Return what the Response `root` proves, received at `acs` in answer to `request_id`.

    The assertion's own signature counts first, then that of the Response around it. Both have to be good if both are
    there, and everything is read from bytes that one of them covers.

    Raises:
        AssertionRefused: with the code of the first check that fails.
    """
    statements.check_status(root)
    signed = checks.signatures(root, root, checks.response(root))
    signatures.check_schema(root, _PROTOCOL)
    envelope, assertion = root, None
    for one in signed:
        tree = signatures.covered(one, certificates)
        if tree.tag == root.tag:
            envelope, assertion = tree, checks.response(tree)
        else:
            assertion = tree
    statements.check_envelope(envelope, profile, destination=acs, request_id=request_id, is_signed=envelope is not root)
    return statements.read(
        assertion, profile, audiences={profile.our_entity_id}, recipient=acs, request_id=request_id, now=now
    )


def grant(
    root: Any,
    *,
    certificates: Sequence[str],
    profile: Profile,
    recipient: str,
    audiences: Collection[str],
    now: datetime,
) -> Statement:
    """Return what the bare Assertion `root` proves at the token endpoint `recipient` (RFC 7522 section 3).

    Raises:
        AssertionRefused: with the code of the first check that fails.
    """
    signed = checks.signatures(root, checks.assertion(root))
    signatures.check_schema(root, _ASSERTION)
    tree = signatures.covered(signed[0], certificates)
    return statements.read(tree, profile, audiences=audiences, recipient=recipient, request_id=None, now=now)


def logout_by_post(
    root: Any, *, certificates: Sequence[str], profile: Profile, destination: str, now: datetime
) -> Logout:
    """Return whose sessions the LogoutRequest `root` ends, which has to hold its signature.

    Raises:
        AssertionRefused: with the code of the first check that fails.
    """
    signed = checks.signatures(root, checks.logout_request(root))
    signatures.check_schema(root, _PROTOCOL)
    tree = signatures.covered(signed[0], certificates)
    return statements.read_logout(tree, profile, destination=destination, now=now)


def logout_by_redirect(
    query: str, *, certificates: Sequence[str], profile: Profile, destination: str, now: datetime
) -> tuple[Logout, str]:
    """Return whose sessions a query string ends, which has to be signed as it was sent, and its RelayState.

    Raises:
        AssertionRefused: with the code of the first check that fails.
    """
    parts = _parts(query)
    if not {"SigAlg", "Signature"} <= parts.keys():
        raise AssertionRefused("saml_unsigned", "The logout request is not signed.")
    root = checks.document(checks.from_redirect(unquote_plus(parts.get("SAMLRequest", ""))))
    checks.logout_request(root)
    signed = "&".join(f"{name}={parts[name]}" for name in _SIGNED_PARTS if name in parts).encode()
    algorithm, signature = unquote_plus(parts["SigAlg"]), unquote_plus(parts["Signature"])
    if not signatures.is_query_signed(signed, algorithm, signature, certificates):
        raise AssertionRefused("saml_signature", "The logout request was not signed by this identity provider.")
    signatures.check_schema(root, _PROTOCOL)
    logout = statements.read_logout(root, profile, destination=destination, now=now)
    return logout, unquote_plus(parts.get("RelayState", ""))


def _parts(query: str) -> dict[str, str]:
    """Return the parts of a query string as they were sent, for the signature covers their spelling."""
    if len(query) > checks.MESSAGE_BYTES:
        raise AssertionRefused("saml_too_large", "The message is larger than the gateway accepts.")
    parts: dict[str, str] = {}
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if name in parts:
            raise AssertionRefused("saml_encoding", "A part of the query occurs twice.")
        parts[name] = value
    return parts
