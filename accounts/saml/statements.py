"""What a signed assertion says, and whether it says it to us, now, about this login. Pure.

Only trees from `signatures.covered` belong here: a parse of the bytes that a pinned certificate signed. Every element
and attribute that is read occurs once or is refused: of two readers, none can take the first and the other the last.

Sources: SAML Core 2.0 (2.3 to 2.7), SAML Profiles 2.0 (4.1.4.3, 4.4), RFC 7522 section 3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from accounts.claims import display, is_clean

from .checks import SAML, SAMLP, AssertionRefused

MAX_TEXT: Final = 255
MAX_EMAIL: Final = 320
MAX_GROUPS: Final = 1000
MAX_URL: Final = 2048
LOGOUT_SECONDS: Final = 600
"""How long after it was made a logout request that names no end of its own is accepted."""

_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_TIME = re.compile(r"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(?:Z|\+00:00)")
_LINKED_GROUPS = "http://schemas.microsoft.com/claims/groups.link"
_CONDITIONS = frozenset(f"{{{SAML}}}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction"))


@dataclass(frozen=True, slots=True)
class Profile:
    """How a provider's assertions are read; the plain values of its row."""

    entity_id: str
    our_entity_id: str
    subject_attribute: str
    groups_attribute: str
    name_attribute: str
    email_attribute: str
    missing_groups_are_unknown: bool
    leeway_seconds: int


@dataclass(frozen=True, slots=True)
class Statement:
    """Who a verified assertion speaks for. `groups` is None when they are unknown.

    `expires_at` is the earliest end that the assertion names; with the leeway it is `last_use_at`, until which the
    assertion has to be remembered as used.
    """

    assertion_id: str
    subject: str
    groups: frozenset[str] | None
    display_name: str = field(repr=False)
    email: str = field(repr=False)
    session_index: str
    issued_at: datetime
    authenticated_at: datetime | None
    expires_at: datetime
    last_use_at: datetime


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose sessions a verified logout request ends. `subject` is empty when the NameID is not the principal's key."""

    request_id: str
    subject: str
    session_indexes: tuple[str, ...]
    last_use_at: datetime


def check_envelope(root: Any, profile: Profile, *, destination: str, request_id: str, is_signed: bool) -> None:
    """Check what a Response says around its assertion; none of it is relied on, and nothing may contradict.

    Raises:
        AssertionRefused: it was not for us, not for this request, of somebody else, or no success.
    """
    _check_destination(root, destination, is_required=is_signed)
    if root.get("InResponseTo", request_id) != request_id:
        raise AssertionRefused("saml_in_response_to", "The answer is for another login.")
    issuers = root.findall(f"{{{SAML}}}Issuer")
    if len(issuers) > 1 or any(_text(issuer, MAX_URL) != profile.entity_id for issuer in issuers):
        raise _foreign()
    check_status(root)


def check_status(root: Any) -> None:
    """Check that a Response tells of a success; a refusal comes without an assertion and often without a signature.

    Raises:
        AssertionRefused: it does not.
    """
    statuses = [status.get("Value") for status in root.iterfind(f"{{{SAMLP}}}Status/{{{SAMLP}}}StatusCode")]
    if statuses != [_SUCCESS]:
        raise AssertionRefused("saml_status", "The identity provider refused the login.")


def read(
    root: Any,
    profile: Profile,
    *,
    audiences: Collection[str],
    recipient: str,
    request_id: str | None,
    now: datetime,
) -> Statement:
    """Return what the assertion `root` says, when it says it to us and now.

    Args:
        root: from `signatures.covered`.
        profile: whose assertion it has to be.
        audiences: the names by which we may be addressed; every audience restriction has to hold one of them.
        recipient: the URL at which it was received.
        request_id: the request that it has to answer; None for an assertion that answers none (RFC 7522).
        now: the present.

    Raises:
        AssertionRefused: with the code of the first check that fails.
    """
    if _text(_only(root, "Issuer"), MAX_URL) != profile.entity_id:
        raise _foreign()
    leeway = timedelta(seconds=profile.leeway_seconds)
    issued_at = _time(root.get("IssueInstant"))
    if issued_at > now + leeway:
        raise AssertionRefused("saml_not_yet_valid", "The assertion was issued in the future.")
    subject = _only(root, "Subject")
    ends = [
        *_check_conditions(_only(root, "Conditions"), audiences, now, leeway),
        _check_confirmation(_only(subject, "SubjectConfirmation"), recipient, request_id, now, leeway),
    ]
    logins = root.findall(f"{{{SAML}}}AuthnStatement")
    if len(logins) > 1 or (request_id is not None and not logins):
        raise AssertionRefused("saml_structure", "The assertion has to tell of exactly one login.")
    session_index, authenticated_at = "", None
    for login in logins:
        session_index = login.get("SessionIndex", "")
        authenticated_at = _time(login.get("AuthnInstant"))
        if session_index and not is_clean(session_index, MAX_TEXT):
            raise AssertionRefused("saml_structure", "The assertion's session index cannot be used.")
        if login.get("SessionNotOnOrAfter") is not None:
            ends.append(_end(login.get("SessionNotOnOrAfter"), now, leeway))
    attributes = _attributes(root)
    return Statement(
        assertion_id=root.get("ID"),
        subject=_subject(subject, attributes, profile),
        groups=_groups(attributes, profile),
        display_name=display(next(iter(_values(attributes, profile.name_attribute)), ""), MAX_TEXT),
        email=display(next(iter(_values(attributes, profile.email_attribute)), ""), MAX_EMAIL),
        session_index=session_index,
        issued_at=issued_at,
        authenticated_at=authenticated_at,
        expires_at=min(ends),
        last_use_at=min(ends) + leeway,
    )


def read_logout(root: Any, profile: Profile, *, destination: str, now: datetime) -> Logout:
    """Return whose sessions the logout request `root` ends.

    Raises:
        AssertionRefused: it is not for us, of somebody else, too old, or names nobody.
    """
    leeway = timedelta(seconds=profile.leeway_seconds)
    _check_destination(root, destination, is_required=True)
    if _text(_only(root, "Issuer"), MAX_URL) != profile.entity_id:
        raise _foreign()
    issued_at = _time(root.get("IssueInstant"))
    ends_at = issued_at + timedelta(seconds=LOGOUT_SECONDS)
    if root.get("NotOnOrAfter") is not None:
        ends_at = min(ends_at, _time(root.get("NotOnOrAfter")))
    if issued_at > now + leeway or ends_at <= now - leeway:
        raise AssertionRefused("saml_expired", "The logout request is too old, or from the future.")
    name_id = _only(root, "NameID")
    _check_qualifiers(name_id, profile)
    subject = "" if profile.subject_attribute else _subject_text(name_id)
    indexes = tuple(_text(index, MAX_TEXT) for index in root.iterfind(f"{{{SAMLP}}}SessionIndex"))
    if not subject and not indexes:
        raise AssertionRefused("saml_logout_nobody", "The logout request names no session that is known here.")
    return Logout(root.get("ID"), subject, indexes, ends_at + leeway)


def _check_destination(root: Any, destination: str, *, is_required: bool) -> None:
    """Compare to the letter; SAML Bindings 3.5.5.2: a signed message has to name its destination."""
    named = root.get("Destination")
    if named != destination and (named is not None or is_required):
        raise AssertionRefused("saml_destination", "The message was meant for another place.")


def _check_conditions(conditions: Any, audiences: Collection[str], now: datetime, leeway: timedelta) -> list[datetime]:
    """Return the end that the conditions name, if any; SAML Core 2.5.1: what is not understood refuses."""
    if any(condition.tag not in _CONDITIONS for condition in conditions):
        raise AssertionRefused("saml_conditions", "The assertion has a condition that is not known here.")
    restrictions = conditions.findall(f"{{{SAML}}}AudienceRestriction")
    for restriction in restrictions:
        named = {_text(audience, MAX_URL) for audience in restriction}
        if named.isdisjoint(audiences):
            raise AssertionRefused("saml_audience", "The assertion was made for somebody else.")
    if not restrictions:
        raise AssertionRefused("saml_audience", "The assertion does not say for whom it was made.")
    _check_beginning(conditions.get("NotBefore"), now, leeway)
    ending = conditions.get("NotOnOrAfter")
    return [] if ending is None else [_end(ending, now, leeway)]


def _check_confirmation(
    confirmation: Any, recipient: str, request_id: str | None, now: datetime, leeway: timedelta
) -> datetime:
    """Return the end of the bearer confirmation; SAML Profiles 4.1.4.2, RFC 7522 section 3, number 5."""
    if confirmation.get("Method") != _BEARER:
        raise AssertionRefused("saml_confirmation", "The assertion is not one that its bearer may use.")
    data = _only(confirmation, "SubjectConfirmationData")
    if data.get("Recipient") != recipient:
        raise AssertionRefused("saml_recipient", "The assertion was meant for another place.")
    if data.get("InResponseTo") != request_id:
        raise AssertionRefused("saml_in_response_to", "The assertion does not answer the request that was made.")
    _check_beginning(data.get("NotBefore"), now, leeway)
    return _end(data.get("NotOnOrAfter"), now, leeway)


def _check_beginning(text: str | None, now: datetime, leeway: timedelta) -> None:
    if text is not None and _time(text) > now + leeway:
        raise AssertionRefused("saml_not_yet_valid", "The assertion is not valid yet.")


def _end(text: str | None, now: datetime, leeway: timedelta) -> datetime:
    ends_at = _time(text)
    if now >= ends_at + leeway:
        raise AssertionRefused("saml_expired", "The assertion has expired.")
    return ends_at


def _subject(subject: Any, attributes: Mapping[str, tuple[Any, ...]], profile: Profile) -> str:
    if profile.subject_attribute:
        values = _values(attributes, profile.subject_attribute)
        if len(values) != 1 or not _is_key(values[0]):
            raise AssertionRefused(
                "saml_subject", "The assertion has to have exactly one value of the subject attribute."
            )
        return values[0]
    name_id = _only(subject, "NameID")
    if name_id.get("Format") == _TRANSIENT:
        raise AssertionRefused(
            "saml_subject", "The NameID changes with each login: name an attribute that is the subject's key."
        )
    _check_qualifiers(name_id, profile)
    return _subject_text(name_id)


def _subject_text(name_id: Any) -> str:
    text = _text(name_id, MAX_TEXT)
    if not _is_key(text):
        raise AssertionRefused("saml_subject", "The assertion's NameID cannot be used as a key.")
    return text


def _check_qualifiers(name_id: Any, profile: Profile) -> None:
    """Refuse names out of other name spaces: with another qualifier, equal texts are other persons (Core 8.3.7)."""
    if name_id.get("NameQualifier", profile.entity_id) != profile.entity_id:
        raise AssertionRefused("saml_subject", "The NameID is qualified by somebody else's name.")
    if name_id.get("SPNameQualifier", profile.our_entity_id) != profile.our_entity_id:
        raise AssertionRefused("saml_subject", "The NameID is qualified by somebody else's name.")


def _is_key(text: str) -> bool:
    return is_clean(text, MAX_TEXT) and text == text.strip()


def _groups(attributes: Mapping[str, tuple[Any, ...]], profile: Profile) -> frozenset[str] | None:
    """Return the groups; None when the provider left them out, as Microsoft Entra ID does of more than 150."""
    if profile.groups_attribute not in attributes:
        is_unknown = profile.missing_groups_are_unknown or _LINKED_GROUPS in attributes
        return None if is_unknown else frozenset()
    names = _values(attributes, profile.groups_attribute)
    if len(names) > MAX_GROUPS or not all(_is_key(name) for name in names):
        raise AssertionRefused("saml_groups", "The assertion's groups cannot be used.")
    return frozenset(names)


def _attributes(root: Any) -> dict[str, tuple[Any, ...]]:
    """Return the value elements by the attribute's name."""
    found: dict[str, tuple[Any, ...]] = {}
    for attribute in root.iterfind(f"{{{SAML}}}AttributeStatement/{{{SAML}}}Attribute"):
        name = attribute.get("Name", "")
        if name in found:
            raise AssertionRefused("saml_attributes", "An attribute of the assertion occurs twice.")
        found[name] = tuple(attribute)
    return found


def _values(attributes: Mapping[str, tuple[Any, ...]], name: str) -> tuple[str, ...]:
    elements = attributes.get(name, ()) if name else ()
    if any(len(element) for element in elements):
        raise AssertionRefused("saml_attributes", "An attribute of the assertion has a value that is not a text.")
    return tuple(element.text or "" for element in elements)


def _only(parent: Any, name: str) -> Any:
    """Return the one child `name` of `parent`."""
    found = parent.findall(f"{{{SAML}}}{name}")
    if len(found) != 1:
        raise AssertionRefused("saml_structure", f"The message has to have exactly one {name} at its place.")
    return found[0]


def _text(element: Any, longest: int) -> str:
    text = element.text or ""
    if len(element) or not is_clean(text, longest):
        raise AssertionRefused("saml_structure", "A text of the message is missing, too long or has parts.")
    return text


def _time(text: str | None) -> datetime:
    """Return a moment in UTC; SAML Core 1.3.3: no other time zone."""
    match = _TIME.fullmatch(text or "")
    try:
        if match is not None:
            return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise AssertionRefused("saml_time", "A time of the message is missing or not in UTC.")


def _foreign() -> AssertionRefused:
    return AssertionRefused("saml_issuer", "The message is not of the identity provider that was expected.")
