"""Writes of connections and their credentials. Every one is a use case, in one transaction, with the time passed in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts import addresses, sealing
from accounts.models import User
from accounts.saving import Refusals

from . import vault
from .exceptions import CredentialUnreadable, MasterKeysUnusable
from .models import Connection, Credential


@transaction.atomic
def connection_save(
    *,
    connection_id: UUID | None = None,
    slug: str,
    name: str,
    upstream_url: str,
    allowed_networks: Iterable[str] = (),
    timeout_seconds: int = 300,
    labels: Iterable[str] = (),
    taints: Iterable[str] = (),
    pins_tools: bool = True,
    owners: Iterable[User] | None = None,
    allows_sampling: bool = False,
    allows_elicitation: bool = False,
    allows_roots: bool = False,
    is_active: bool = True,
    now: datetime,
) -> Connection:
    """Create or change the connection `connection_id`; without an id, the one of that `slug` if there is one.

    `owners` None leaves them as they are.

    Raises:
        Connection.DoesNotExist: there is no connection `connection_id`.
        ValidationError: by field, what cannot be saved and what to write instead.
    """
    if connection_id is None:
        connection = Connection.objects.select_for_update().filter(slug=slug).first() or Connection(created_at=now)
    else:
        connection = Connection.objects.select_for_update().get(pk=connection_id)
    refusals = Refusals()
    connection.slug = slug
    connection.name = name
    connection.upstream_url = upstream_url
    connection.allowed_networks = refusals.texts("allowed_networks", allowed_networks)
    connection.timeout_seconds = timeout_seconds
    connection.labels = refusals.labels("labels", labels)
    connection.taints = refusals.labels("taints", taints)
    connection.pins_tools = pins_tools
    connection.allows_sampling = allows_sampling
    connection.allows_elicitation = allows_elicitation
    connection.allows_roots = allows_roots
    connection.is_active = is_active
    connection.updated_at = now
    _refuse_bad_addresses(connection, refusals)
    refusals.save(connection)
    if owners is not None:
        connection.owners.set(owners)
    return connection


@transaction.atomic
def connection_delete(*, connection_id: UUID) -> None:
    """Delete a connection, its credential, and the grants, guardrails and patterns of it alone.

    Raises:
        Connection.DoesNotExist: there is no such connection.
        django.db.models.ProtectedError: it has sessions, which stay evidence: deactivate it instead.
    """
    Connection.objects.get(pk=connection_id).delete()


@transaction.atomic
def credential_set(
    *, connection: Connection, kind: str, secret: str | bytes, header_name: str = "", now: datetime
) -> Credential:
    """Seal `secret` as the credential of `connection`; an earlier one is replaced and the version moves by one.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
        ValidationError: by field, what cannot be saved; it never repeats the secret.
    """
    held = Connection.objects.select_for_update().get(pk=connection.pk)
    credential = Credential.objects.select_for_update().filter(connection=held).first()
    if credential is None:
        credential = Credential(connection=held, version=1, created_at=now)
    else:
        credential.version += 1
    refusals = Refusals()
    plain = secret.encode() if isinstance(secret, str) else secret
    credential.kind = kind
    credential.header_name = header_name
    credential.rotated_at = now
    _refuse_bad_secret(credential, plain, refusals)
    _keep(credential, vault.seal(_key_ring(), plain, aad=credential_aad(credential)))
    refusals.save(credential)
    return credential


@transaction.atomic
def credential_rewrap(*, credential_id: UUID) -> Credential:
    """Seal a credential under the first master key, so that an older key can be retired. The version stays.

    Raises:
        Credential.DoesNotExist: there is no such credential.
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
        CredentialUnreadable: no configured master key opens it.
    """
    credential = Credential.objects.select_for_update().select_related("connection").get(pk=credential_id)
    held = vault.Sealed(credential.key_id, bytes(credential.wrapped_key), bytes(credential.ciphertext))
    try:
        _keep(credential, vault.rewrap(_key_ring(), held, aad=credential_aad(credential)))
    except vault.CannotOpen:
        raise CredentialUnreadable from None
    Refusals().save(credential)
    return credential


def credentials_seal_again() -> tuple[int, int]:
    """Seal all credentials under the first master key; return how many moved, and how many do not open.

    The versions stay.

    Raises:
        MasterKeysUnusable: WARDGATE_MASTER_KEYS is missing or malformed.
    """
    moved, stuck = sealing.bound_rows_seal_again(Credential.objects.all(), bound_to=credential_aad)
    return moved, len(stuck)


@transaction.atomic
def credential_delete(*, credential_id: UUID) -> None:
    """Delete a credential: from then on the upstream is called without one.

    Raises:
        Credential.DoesNotExist: there is no such credential.
    """
    Credential.objects.get(pk=credential_id).delete()


def credential_aad(credential: Credential) -> bytes:
    """Return what a sealed secret is bound to: its table, its row and its connection."""
    return f"connections_credential|{credential.pk}|{credential.connection_id}".encode()


def _key_ring() -> vault.KeyRing:
    try:
        return vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    except vault.VaultSealed:
        raise MasterKeysUnusable from None


def _keep(credential: Credential, sealed: vault.Sealed) -> None:
    credential.key_id = sealed.key_id
    credential.wrapped_key = sealed.wrapped_key
    credential.ciphertext = sealed.ciphertext


def _refuse_bad_addresses(connection: Connection, refusals: Refusals) -> None:
    try:
        addresses.parse_networks(connection.allowed_networks)
    except addresses.NetworkRefused as error:
        refusals.add("allowed_networks", error.code, error.message)
    if connection.upstream_url:
        try:
            addresses.parse_upstream_url(connection.upstream_url)
        except addresses.UrlRefused as error:
            refusals.add("upstream_url", error.code, error.message)


def _refuse_bad_secret(credential: Credential, plain: bytes, refusals: Refusals) -> None:
    """Refuse now what the data path would refuse to send; the model itself says when a header name is missing."""
    if credential.kind == Credential.Kind.HEADER and not credential.header_name:
        refusals.add("header_name", "header_name_missing", "Name the header, such as X-API-Key.")
        return
    if credential.kind != Credential.Kind.HEADER and credential.header_name:
        refusals.add("header_name", "header_name_not_used", "Only a header of its own has a name: leave this empty.")
    try:
        vault.header_for(credential.kind, credential.header_name, vault.Secret(plain))
    except vault.CredentialRefused as error:
        field = {"credential_header": "header_name", "credential_kind": "kind"}.get(error.code, "secret")
        refusals.add(field, error.code, error.message)
