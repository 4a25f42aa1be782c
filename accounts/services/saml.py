"""SAML logins, assertions at the token endpoint, and logouts that the identity provider asks for.

Nobody is known by what a message says of itself: everything here comes out of `verified` trees, whose bytes a pinned
certificate signed. An assertion counts once, whichever process sees it first: PostgreSQL's unique index decides.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import tokens
from accounts.models import SamlAssertion, SamlProvider, SamlRequest
from accounts.saml import checks, messages, verified
from accounts.saml.checks import AssertionRefused
from accounts.saml.statements import Logout, Profile

from .people import console_sessions_end

REQUEST_SECONDS = 600
"""How long a login may take at the identity provider."""
MAX_OPEN_REQUESTS = 20_000
"""Most logins of one identity provider that may wait at the same time; whoever asks for one is not known yet."""
_REMEMBERED = timedelta(hours=1)
"""How much longer than necessary a used assertion is remembered: the leeway may be raised, and clocks differ."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who came back from the identity provider. `groups` is None when they are unknown.

    `authenticated_at` is when the person proved there who they are, which may be long before this login.
    """

    issuer: str
    subject: str
    groups: frozenset[str] | None
    display_name: str = field(repr=False)
    email: str = field(repr=False)
    provider_session: str
    authenticated_at: datetime
    next_path: str


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """How many sessions a logout request ended, and where to send the browser; empty when nowhere."""

    sessions: int
    url: str


def saml_places(saml_provider_id: UUID) -> messages.Places:
    """Return our URLs at this provider, which its administrator has to enter there."""
    base = f"{settings.WARDGATE_PUBLIC_URL}/saml/{saml_provider_id}"
    return messages.Places(entity_id=f"{base}/metadata", acs=f"{base}/acs", slo=f"{base}/slo")


@transaction.atomic
def login_begin(*, saml_provider_id: UUID, browser: str, next_path: str, is_proof: bool = False, now: datetime) -> str:
    """Return the URL at which the person logs in, after the request for it was stored.

    Args:
        saml_provider_id: whose.
        browser: the secret in the browser's cookie; only its digest is kept.
        next_path: where to go afterwards, a path of this console; anything else is forgotten.
        is_proof: the person has to log in anew at the provider, not by a session that is open there.
        now: the present.

    Raises:
        AssertionRefused: the provider is not active, or too many logins wait.
    """
    row = _active(saml_provider_id, for_console=True)
    SamlRequest.objects.filter(saml_provider=row, expires_at__lte=now).delete()
    if SamlRequest.objects.filter(saml_provider=row).count() >= MAX_OPEN_REQUESTS:
        raise AssertionRefused("saml_busy", "Too many logins are under way. Try again in some minutes.")
    request = SamlRequest.objects.create(
        request_id=messages.new_id(),
        saml_provider=row,
        browser_digest=_digest(browser),
        next_path=local_path(next_path),
        is_proof=is_proof,
        created_at=now,
        expires_at=now + timedelta(seconds=REQUEST_SECONDS),
    )
    return messages.login_url(
        sso_url=row.sso_url,
        places=saml_places(row.pk),
        request_id=request.request_id,
        is_proof=is_proof,
        now=now,
    )


def login_answer(*, saml_provider_id: UUID, encoded: str, now: datetime) -> str:
    """Check the answer of the identity provider, keep what it proves, and return the id of the request it answers.

    It logs nobody in: that takes `login_finish`, with the cookie of the browser that began. `encoded` is the form field
    SAMLResponse.

    Raises:
        AssertionRefused: with the code of the first check that fails; nothing is kept then, and the request stays open.
    """
    row = _active(saml_provider_id, for_console=True)
    root = checks.document(checks.from_post(encoded))
    request_id: str = root.get("InResponseTo", "")
    if not request_id:
        raise AssertionRefused("saml_unsolicited", "Begin the login here: answers that nobody asked for are refused.")
    # Before anything that costs more: whoever has not begun a login here cannot make us verify signatures.
    waiting = SamlRequest.objects.filter(saml_provider=row, expires_at__gt=now, answered_at=None)
    if not messages.is_id(request_id) or not waiting.filter(pk=request_id).exists():
        raise _unknown_request()
    statement = verified.login(
        root,
        certificates=row.certificates,
        profile=_profile(row),
        acs=saml_places(row.pk).acs,
        request_id=request_id,
        now=now,
    )
    with transaction.atomic():
        request = waiting.select_for_update().filter(pk=request_id).first()
        if request is None:
            raise _unknown_request()
        proved_at = min(now, statement.authenticated_at or now)
        if request.is_proof and proved_at < request.created_at - timedelta(seconds=row.provider.leeway_seconds):
            raise AssertionRefused("saml_not_proved", "The identity provider did not ask anew who you are.")
        _use_once(row, statement.assertion_id, statement.last_use_at, now)
        request.answered_at = now
        request.answer = {
            "subject": statement.subject,
            "groups": None if statement.groups is None else sorted(statement.groups),
            "display_name": statement.display_name,
            "email": statement.email,
            "session_index": statement.session_index,
            "authenticated_at": proved_at.isoformat(),
            "expires_at": statement.expires_at.isoformat(),
        }
        request.save(update_fields=["answered_at", "answer"])
    return request_id


@transaction.atomic
def login_finish(*, saml_provider_id: UUID, request_id: str, browser: str, now: datetime) -> Login:
    """Return who logged in, once, to the browser that began.

    Raises:
        AssertionRefused: there is no answer that waits for this browser, or its time is over.
    """
    row = _active(saml_provider_id, for_console=True)
    waiting = SamlRequest.objects.select_for_update().filter(saml_provider=row, expires_at__gt=now, used_at=None)
    waiting = waiting.exclude(answered_at=None)
    request = waiting.filter(pk=request_id).first() if messages.is_id(request_id) else None
    answer = None if request is None else request.answer
    if request is None or answer is None or not hmac.compare_digest(request.browser_digest, _digest(browser)):
        # One refusal for both: another browser learns nothing of the request, and does not use it up either.
        raise AssertionRefused("saml_browser", "This login was not begun in this browser, or is over. Begin again.")
    ends_at = datetime.fromisoformat(answer["expires_at"])
    if now >= ends_at + timedelta(seconds=row.provider.leeway_seconds):
        raise AssertionRefused("saml_expired", "The assertion has expired.")
    request.used_at, request.answer = now, None
    request.save(update_fields=["used_at", "answer"])
    return Login(
        issuer=row.provider.issuer,
        subject=answer["subject"],
        groups=None if answer["groups"] is None else frozenset(answer["groups"]),
        display_name=answer["display_name"],
        email=answer["email"],
        provider_session=answer["session_index"],
        authenticated_at=datetime.fromisoformat(answer["authenticated_at"]),
        next_path=request.next_path,
    )


def assertion_identity(*, encoded: bytes, recipient: str, audience: str, now: datetime) -> tokens.Identity:
    """Return who a bearer assertion at the token endpoint speaks for; it is used up by this (RFC 7522 section 3).

    Args:
        encoded: the assertion in base64url, one Assertion and no Response.
        recipient: the URL of the token endpoint.
        audience: accepted as Audience besides our entity id at its issuer.
        now: the present.

    Raises:
        AssertionRefused: with the code of the first check that fails.
    """
    message = checks.from_grant(encoded)
    root = checks.document(message)
    issuer = root.findtext(f"{{{checks.SAML}}}Issuer", "")
    row = (
        SamlProvider.objects.select_related("provider")
        .filter(entity_id=issuer, is_active=True, allows_token_exchange=True, provider__is_active=True)
        .first()
    )
    if row is None:
        raise AssertionRefused("saml_issuer", "The assertion's issuer may not get tokens at this gateway.")
    statement = verified.grant(
        root,
        certificates=row.certificates,
        profile=_profile(row),
        recipient=recipient,
        audiences={audience, saml_places(row.pk).entity_id},
        now=now,
    )
    provider = row.provider
    if not timedelta(0) < statement.expires_at - statement.issued_at <= timedelta(seconds=provider.max_token_seconds):
        raise AssertionRefused("saml_lifetime", "The assertion is valid for longer than this issuer may grant.")
    _use_once(row, statement.assertion_id, statement.last_use_at, now)
    return tokens.Identity(
        issuer=provider.issuer,
        subject=statement.subject,
        groups=statement.groups,
        expires_at=int(statement.expires_at.timestamp()),
        display_name=statement.display_name,
        email=statement.email,
        client_id="",
        token_digest=hashlib.sha256(message).digest(),
        provider_id=str(provider.pk),
        token_id=statement.assertion_id,
        audiences=frozenset({audience}),
        issued_at=int(statement.issued_at.timestamp()),
        session_id=statement.session_index,
        kind=provider.principal_kind,
    )


def logout_by_post(*, saml_provider_id: UUID, encoded: str, relay_state: str = "", now: datetime) -> LoggedOut:
    """End the sessions that a signed logout request names; `encoded` is the form field SAMLRequest.

    Raises:
        AssertionRefused: with the code of the first check that fails; no session ends then.
    """
    row = _active(saml_provider_id, for_console=False)
    root = checks.document(checks.from_post(encoded))
    logout = verified.logout_by_post(
        root,
        certificates=row.certificates,
        profile=_profile(row),
        destination=saml_places(row.pk).slo,
        now=now,
    )
    return _log_out(row, logout, relay_state, now)


def logout_by_redirect(*, saml_provider_id: UUID, query: str, now: datetime) -> LoggedOut:
    """End the sessions that a logout request names; `query` is the query string as it came, which has to be signed.

    Raises:
        AssertionRefused: with the code of the first check that fails; no session ends then.
    """
    row = _active(saml_provider_id, for_console=False)
    logout, relay_state = verified.logout_by_redirect(
        query,
        certificates=row.certificates,
        profile=_profile(row),
        destination=saml_places(row.pk).slo,
        now=now,
    )
    return _log_out(row, logout, relay_state, now)


def saml_sweep(*, now: datetime) -> int:
    """Delete logins that are over and assertions that can no longer be used; return how many. Idempotent."""
    requests, _ = SamlRequest.objects.filter(expires_at__lte=now).delete()
    assertions, _ = SamlAssertion.objects.filter(expires_at__lte=now - _REMEMBERED).delete()
    return requests + assertions


def local_path(text: str) -> str:
    """Return `text` when it is a path of this console, else nothing: no login ends on another site."""
    is_path = text.startswith("/") and not text.startswith("//") and text.isprintable() and len(text) <= 500
    return text if is_path and url_has_allowed_host_and_scheme(text, allowed_hosts=None) else ""


def _active(saml_provider_id: UUID, *, for_console: bool) -> SamlProvider:
    rows = SamlProvider.objects.select_related("provider").filter(is_active=True, provider__is_active=True)
    row = (rows.filter(allows_console_login=True) if for_console else rows).filter(pk=saml_provider_id).first()
    if row is None:
        raise AssertionRefused("saml_provider", "There is no such SAML login.")
    return row


def _profile(row: SamlProvider) -> Profile:
    return Profile(
        entity_id=row.entity_id,
        our_entity_id=saml_places(row.pk).entity_id,
        subject_attribute=row.subject_attribute,
        groups_attribute=row.groups_attribute,
        name_attribute=row.name_attribute,
        email_attribute=row.email_attribute,
        missing_groups_are_unknown=row.provider.missing_groups_are_unknown,
        leeway_seconds=row.provider.leeway_seconds,
    )


def _use_once(row: SamlProvider, message_id: str, until: datetime, now: datetime) -> None:
    """Remember that a message was used; of any number at the same time, the unique index lets one pass."""
    try:
        with transaction.atomic():
            SamlAssertion.objects.create(saml_provider=row, assertion_id=message_id, used_at=now, expires_at=until)
    except IntegrityError:
        raise AssertionRefused("saml_replayed", "The assertion was used before.") from None


def _log_out(row: SamlProvider, logout: Logout, relay_state: str, now: datetime) -> LoggedOut:
    issuer = row.provider.issuer
    with transaction.atomic():
        _use_once(row, logout.request_id, logout.last_use_at, now)
        ended = 0
        for index in logout.session_indexes or ("",):
            ended += console_sessions_end(issuer=issuer, subject=logout.subject, provider_session=index, now=now)
    if not row.slo_url:
        return LoggedOut(ended, "")
    relay_state = relay_state if len(relay_state) <= messages.MAX_RELAY_STATE else ""
    url = messages.logout_url(
        slo_url=row.slo_url,
        places=saml_places(row.pk),
        in_response_to=logout.request_id,
        relay_state=relay_state,
        now=now,
    )
    return LoggedOut(ended, url)


def _unknown_request() -> AssertionRefused:
    return AssertionRefused("saml_request_unknown", "The answer is for no login that waits here. Begin again.")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
