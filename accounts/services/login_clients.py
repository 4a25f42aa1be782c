"""Writes of the console's clients at OpenID providers, whose secrets are sealed and read back by nobody."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts import sealing, vault
from accounts.exceptions import DomainError
from accounts.models import IdentityProvider, LoginClient
from accounts.saving import Refusals

MAX_SECRET = 4096
_SCOPE_CHARACTERS = frozenset(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')


class SecretUnusable(DomainError):
    """There is no master key that seals or opens the secret of a login client."""

    code = "master_keys_unusable"

    def __init__(self) -> None:
        super().__init__("The secret cannot be sealed or opened: look at WARDGATE_MASTER_KEYS.")


@transaction.atomic
def login_client_save(
    *,
    login_client_id: UUID | None = None,
    provider: IdentityProvider,
    client_id: str,
    secret: str = "",
    scopes: Iterable[str] = (),
    is_active: bool = True,
    now: datetime,
) -> LoginClient:
    """Create or change the console's client at `provider`; without an id, the one of that provider if there is one.

    An empty `secret` leaves the one that is there; a client that never had one is public and proves itself by PKCE
    alone. The secret stays with its provider and its client id: with another of either it has to be given again.

    Raises:
        LoginClient.DoesNotExist: there is no client `login_client_id`.
        SecretUnusable: there is no usable master key.
        ValidationError: by field, what cannot be saved; it never repeats the secret.
    """
    if login_client_id is None:
        row = LoginClient.objects.select_for_update().filter(provider=provider).first()
        row = row or LoginClient(created_at=now)
    else:
        row = LoginClient.objects.select_for_update().get(pk=login_client_id)
    refusals = Refusals()
    is_same = row._state.adding or (row.provider_id == provider.pk and row.client_id == client_id)
    row.provider, row.client_id, row.is_active = provider, client_id, is_active
    row.scopes = refusals.texts("scopes", scopes)
    if any(not _SCOPE_CHARACTERS.issuperset(scope) for scope in row.scopes):
        refusals.add("scopes", "bad_scope", "A scope has no blanks and no quotes (RFC 6749, section 3.3).")
    if provider.pinned_jwks is not None and not provider.issuer.startswith(("https://", "http://")):
        refusals.add("provider", "no_discovery", "People log in at a provider whose issuer is a URL.")
    if secret:
        if len(secret) > MAX_SECRET or not secret.isprintable():
            refusals.add("secret", "bad_secret", "A client secret has no control characters.")
        else:
            _keep(row, secret)
    elif row.ciphertext is not None and not is_same:
        refusals.add("secret", "secret_needed", "The secret is of another client: give the one of this client.")
    refusals.save(row)
    return row


@transaction.atomic
def login_client_delete(*, login_client_id: UUID) -> None:
    """Delete a client; nobody logs in at its provider from then on. Logins that are open stay until they end.

    Raises:
        LoginClient.DoesNotExist: there is no such client.
    """
    LoginClient.objects.get(pk=login_client_id).delete()


@transaction.atomic
def login_client_reseal(*, login_client_id: UUID) -> LoginClient:
    """Seal the secret's data key under the first master key.

    Raises:
        SecretUnusable: its master key is gone.
    """
    row = LoginClient.objects.select_for_update().get(pk=login_client_id)
    if row.ciphertext is not None:
        try:
            sealed = vault.rewrap(_ring(), _sealed(row), aad=_aad(row))
        except (vault.VaultSealed, vault.CannotOpen):
            raise SecretUnusable from None
        row.key_id, row.wrapped_key, row.ciphertext = sealed.key_id, sealed.wrapped_key, sealed.ciphertext
        row.save(update_fields=["key_id", "wrapped_key", "ciphertext"])
    return row


def login_client_secrets_seal_again() -> tuple[int, int]:
    """Seal the secrets of all clients under the first master key; return how many moved, and how many do not open.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    moved, stuck = sealing.bound_rows_seal_again(LoginClient.objects.exclude(ciphertext=None), bound_to=_aad)
    return moved, len(stuck)


def secret_of(row: LoginClient) -> vault.Secret | None:
    """Return the secret of `row`, None for a public client.

    Raises:
        SecretUnusable: its master key is gone.
    """
    if row.ciphertext is None:
        return None
    try:
        return vault.open_sealed(_ring(), _sealed(row), aad=_aad(row))
    except (vault.VaultSealed, vault.CannotOpen):
        raise SecretUnusable from None


def _keep(row: LoginClient, secret: str) -> None:
    try:
        sealed = vault.seal(_ring(), secret.encode(), aad=_aad(row))
    except vault.VaultSealed:
        raise SecretUnusable from None
    row.key_id, row.wrapped_key, row.ciphertext = sealed.key_id, sealed.wrapped_key, sealed.ciphertext


def _sealed(row: LoginClient) -> vault.Sealed:
    return vault.Sealed(row.key_id, bytes(row.wrapped_key or b""), bytes(row.ciphertext or b""))


def _aad(row: LoginClient) -> bytes:
    """Bind the secret to its table, column and row, and to whom it may be sent."""
    return b"\x00".join(
        (b"accounts_loginclient", b"secret", row.pk.bytes, row.provider_id.bytes, row.client_id.encode())
    )


def _ring() -> vault.KeyRing:
    return vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
