"""Second factors of local accounts: one-time codes (RFC 6238), security keys (WebAuthn), recovery codes.

The rows, the arithmetic and the WebAuthn ceremonies are django-allauth's; none of its pages, flows, e-mails or URLs
are. Three things are done here instead. Its secrets are sealed with the gateway's master keys. A one-time code is
good once on all processes, because the last step that was accepted is kept in the row and not in a cache. And only the
codes that this module makes are shown, once.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.webauthn.internal import auth as webauthn
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import sealing, vault
from accounts.exceptions import DomainError
from accounts.models import User

PERIOD_SECONDS: Final = 30
STEPS_AROUND_NOW: Final = (-1, 0, 1)
MAX_KEYS: Final = 10
_AAD: Final = b"mfa_authenticator\x00data"


class SealedAdapter(DefaultMFAAdapter):
    """django-allauth's door to this project: where its secrets are sealed, and what a person's device shows."""

    def encrypt(self, text: str) -> str:
        """Return `text` sealed under the first master key."""
        return _text(vault.seal(sealing.key_ring(), text.encode(), aad=_AAD))

    def decrypt(self, encrypted_text: str) -> str:
        """Return what was sealed.

        Raises:
            CannotOpen: its master key is gone, or it was changed.
        """
        return vault.open_sealed(sealing.key_ring(), _sealed(encrypted_text), aad=_AAD).reveal().decode()

    def get_totp_issuer(self) -> str:
        """Return under which name an authenticator application lists the codes."""
        return f"Wardgate {urlsplit(settings.WARDGATE_PUBLIC_URL).hostname or ''}".strip()

    def get_totp_label(self, user: Any) -> str:
        """Return whose codes they are."""
        return str(user.get_username())

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return for which site a security key signs: the gateway's own name, whatever the request calls it."""
        return {"id": urlsplit(settings.WARDGATE_PUBLIC_URL).hostname or "localhost", "name": "Wardgate"}

    def get_public_key_credential_user_entity(self, user: Any) -> dict[str, Any]:
        """Return whose key it is; no e-mail address leaves for the device."""
        return {"id": str(user.pk).encode(), "display_name": user.get_username(), "name": user.get_username()}


class WrongCode(DomainError):
    """The code is not one that the device would show at this moment."""

    code = "wrong_code"

    def __init__(self) -> None:
        super().__init__("This is not the code of this moment. Check the clock of your device, then try the next one.")


class FactorRefused(DomainError):
    """A factor cannot be added or taken away; the text says what to do."""

    code = "factor_refused"


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor, as its person sees it."""

    id: int
    kind: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    left: int | None
    """How many recovery codes are left; None for the other kinds."""


def factors_of(user: User) -> list[Factor]:
    """Return the factors of `user`, recovery codes last."""
    rows = list(Authenticator.objects.filter(user=user).order_by("created_at"))
    return sorted((_shown(row) for row in rows), key=lambda factor: factor.kind == Authenticator.Type.RECOVERY_CODES)


def has_factor(user: User) -> bool:
    """Tell whether `user` has a factor besides recovery codes."""
    return bool(Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES).exists())


def has_key(user: User) -> bool:
    """Tell whether `user` has a security key."""
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).exists())


def totp_secret() -> str:
    """Return a new secret of 160 bits in base32 (RFC 4226 section 4)."""
    return str(generate_totp_secret())


def totp_image(user: User, secret: str) -> tuple[str, str]:
    """Return the URL that an authenticator application reads, and its QR code as a data URL."""
    adapter = SealedAdapter()
    url = adapter.build_totp_url(user, secret)
    return url, "data:image/svg+xml;base64," + base64.b64encode(adapter.build_totp_svg(url).encode()).decode()


@transaction.atomic
def totp_add(*, user: User, secret: str, code: str, now: datetime) -> None:
    """Give `user` the factor of `secret`, after `code` has shown that their device has it; an older one is replaced.

    Raises:
        WrongCode: it is not the code of this moment.
    """
    step = _step_of(secret, code, now, after=-1)
    if step is None:
        raise WrongCode
    Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).delete()
    data = {"secret": SealedAdapter().encrypt(secret), "step": step}
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data=data, created_at=now, last_used_at=now)


@transaction.atomic
def code_check(*, user: User, code: str, now: datetime) -> str:
    """Return `totp` or `recovery` when `code` is good, and empty when it is not. No code is good twice."""
    rows = Authenticator.objects.select_for_update().filter(user=user)
    totp = rows.filter(type=Authenticator.Type.TOTP).first()
    if totp is not None:
        adapter = SealedAdapter()
        secret = adapter.decrypt(totp.data["secret"])
        step = _step_of(secret, code, now, after=int(totp.data.get("step", -1)))
        if step is not None:
            totp.data = {"secret": adapter.encrypt(secret), "step": step}
            totp.last_used_at = now
            totp.save(update_fields=["data", "last_used_at"])
            return "totp"
    recovery = rows.filter(type=Authenticator.Type.RECOVERY_CODES).first()
    if recovery is not None and RecoveryCodes(recovery).validate_code(code):
        Authenticator.objects.filter(pk=recovery.pk).update(last_used_at=now)
        return "recovery"
    return ""


@transaction.atomic
def recovery_codes_make(*, user: User, now: datetime) -> list[str]:
    """Return new recovery codes for `user`; those from before are void. This is the only time that they are shown."""
    Authenticator.objects.filter(user=user, type=Authenticator.Type.RECOVERY_CODES).delete()
    made = RecoveryCodes.activate(user)
    Authenticator.objects.filter(pk=made.instance.pk).update(created_at=now)
    codes: list[str] = made.generate_codes()
    return codes


@transaction.atomic
def factor_remove(*, user: User, factor_id: int) -> None:
    """Take a factor of `user` away. Recovery codes alone are no factor, so they go with the last one.

    Raises:
        Authenticator.DoesNotExist: the person has no such factor.
        FactorRefused: it is the last one, and the settings ask for one.
    """
    row = Authenticator.objects.select_for_update().get(user=user, pk=factor_id)
    others = Authenticator.objects.filter(user=user).exclude(pk=row.pk).exclude(type=Authenticator.Type.RECOVERY_CODES)
    is_last = row.type != Authenticator.Type.RECOVERY_CODES and not others.exists()
    if is_last and settings.WARDGATE_REQUIRE_SECOND_FACTOR:
        raise FactorRefused("This is your only second factor: add another one first.")
    row.delete()
    if is_last:
        Authenticator.objects.filter(user=user).delete()


def factors_forget(*, user: User) -> int:
    """Take every factor of `user` away, for somebody who lost them; they enrol anew at their next login."""
    count, _ = Authenticator.objects.filter(user=user).delete()
    return int(count)


def key_options(user: User) -> dict[str, Any]:
    """Return what the browser needs to make a new security key; the challenge waits in the session."""
    options: dict[str, Any] = webauthn.begin_registration(user, passwordless=False)
    return options


def key_add(*, user: User, name: str, response: dict[str, Any], now: datetime) -> None:
    """Give `user` the security key that answered the challenge of `key_options`.

    Raises:
        FactorRefused: the answer is not one to the challenge, or there are too many keys.
    """
    if Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).count() >= MAX_KEYS:
        raise FactorRefused(f"There are {MAX_KEYS} keys already: remove one first.")
    try:
        webauthn.parse_registration_response(response)
        webauthn.complete_registration(response)
    except (ValidationError, ValueError, TypeError, KeyError):
        webauthn.clear_state()
        raise FactorRefused("The security key did not answer as it should: try again.") from None
    row = webauthn.WebAuthn.add(user, name.strip()[:60] or "Security key", response).instance
    Authenticator.objects.filter(pk=row.pk).update(created_at=now)


def key_challenge(user: User) -> dict[str, Any]:
    """Return what the browser needs to ask the security keys of `user`; the challenge waits in the session."""
    options: dict[str, Any] = webauthn.begin_authentication(user)
    return options


def key_check(*, user: User, response: dict[str, Any], now: datetime) -> bool:
    """Tell whether a security key of `user` answered the challenge of `key_challenge`, which is good once."""
    try:
        webauthn.parse_authentication_response(response)
        row = webauthn.complete_authentication(user, response)
    except (ValidationError, ValueError, TypeError, KeyError):
        webauthn.clear_state()
        return False
    Authenticator.objects.filter(pk=row.pk).update(last_used_at=now)
    return True


def factor_secrets_seal_again() -> tuple[int, int]:
    """Seal every factor's secret under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    ring = sealing.key_ring()

    def seal_again(row: Authenticator) -> list[str]:
        field = "secret" if row.type == Authenticator.Type.TOTP else "seed"
        try:
            kept = _sealed(row.data[field])
        except (KeyError, ValueError):
            raise vault.CannotOpen from None
        again = vault.rewrap(ring, kept, aad=_AAD)
        if again is kept:
            return []
        row.data[field] = _text(again)
        return ["data"]

    rows = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN)
    moved, stuck = sealing.each_row_seals_again(rows, seal_again)
    return moved, len(stuck)


def _step_of(secret: str, code: str, now: datetime, *, after: int) -> int | None:
    """Return the time step whose code is `code`, later than `after`; None when there is none around `now`."""
    current = int(now.timestamp()) // PERIOD_SECONDS
    given = normalize_user_code(code).encode()
    found = None
    for step in (current + offset for offset in STEPS_AROUND_NOW):
        is_same = hmac.compare_digest(format_hotp_value(hotp_value(secret, step)).encode(), given)
        if is_same and step > after:
            found = step
    return found


def _shown(row: Authenticator) -> Factor:
    wrapped = row.wrap()
    is_recovery = row.type == Authenticator.Type.RECOVERY_CODES
    names = {
        Authenticator.Type.TOTP: "Authenticator application",
        Authenticator.Type.RECOVERY_CODES: "Recovery codes",
    }
    return Factor(
        id=row.pk,
        kind=row.type,
        name=names.get(row.type) or wrapped.name,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        left=len(wrapped.get_unused_codes()) if is_recovery else None,
    )


def _text(sealed: vault.Sealed) -> str:
    parts = (base64.b64encode(part).decode() for part in (sealed.wrapped_key, sealed.ciphertext))
    return ":".join((sealed.key_id, *parts))


def _sealed(text: str) -> vault.Sealed:
    key_id, wrapped_key, ciphertext = text.split(":")
    return vault.Sealed(key_id, base64.b64decode(wrapped_key), base64.b64decode(ciphertext))
