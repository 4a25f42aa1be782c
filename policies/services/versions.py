"""Whole documents of policy: applied from a file, published from a draft, or rolled back to an earlier version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.exceptions import DomainError
from accounts.models import Group, Principal, User
from accounts.saving import Refusals
from accounts.services import principal_ensure
from connections.models import Connection
from policies import documents
from policies.documents import Change, DocumentRefused
from policies.merging import merged
from policies.models import (
    AccessGrant,
    ApprovalRule,
    Guardrail,
    MaskingPattern,
    PolicyDraft,
    PolicyState,
    PolicyTest,
    PolicyVersion,
)
from policies.reading import document_now, grant_entry, newest_number
from policies.rehearsal import CaseRefused, read_case

from .grants import grant_delete, grant_save
from .guardrails import guardrail_delete, guardrail_save
from .masking import masking_pattern_delete, masking_pattern_save
from .publishing import Publisher, gathering, publish


class DraftOutdated(DomainError):
    """Policy has changed since the draft was made; publishing it would undo that."""

    code = "draft_outdated"


class DocumentOutdated(DomainError):
    """Policy has changed since the version that a document was written for."""

    code = "document_outdated"


class AlreadyPublished(DomainError):
    """The draft is in force, or was."""

    code = "draft_published"


def document_apply(
    *,
    document: Mapping[str, Any],
    by: Publisher,
    base_number: int | None = None,
    is_dry_run: bool = False,
    now: datetime,
) -> list[Change]:
    """Make policy say what `document` says, all of it or nothing; return what changed.

    Connections, providers and groups must be there; a principal is declared when it is not. Entries that the document
    does not have are deleted. A dry run does everything, policy tests included, and undoes it. With `base_number`,
    nothing is done unless the newest version is that one.

    Raises:
        DocumentOutdated: another version came into force since `base_number`.
        DocumentRefused: with the entry and the member that cannot be applied.
        ValidationError: policy tests fail.
    """
    wanted = documents.canonical(document)
    with transaction.atomic():
        # The version row is what every writer of policy moves: who holds it is alone.
        PolicyState.objects.select_for_update().get(pk=1)
        if base_number is not None and base_number != (newest := newest_number()):
            raise DocumentOutdated(
                f"Policy has changed: this was written for version {base_number}, and version {newest} is in force. "
                "Look at the difference again."
            )
        before = document_now()
        changes = documents.diff(before, wanted)
        with gathering():
            for change in changes:
                if change.after is None:
                    _remove(change, now)
            for change in changes:
                if change.after is not None:
                    try:
                        _put(change, change.after, now)
                    except DocumentRefused as error:
                        raise DocumentRefused(error.place, error.hint, section=change.section, key=change.key) from None
        publish(by, now=now)
        if is_dry_run:
            transaction.set_rollback(True)
    return changes


def version_roll_back(*, number: int, by: Publisher, now: datetime) -> list[Change]:
    """Make policy say what version `number` said; that is a new version of its own.

    Raises:
        PolicyVersion.DoesNotExist: there is no such version.
        DocumentRefused: what it refers to is no longer there.
        ValidationError: policy tests of that version fail.
    """
    version = PolicyVersion.objects.get(pk=number)
    return document_apply(document=version.document, by=by, now=now)


@transaction.atomic
def draft_save(
    *,
    draft_id: UUID | None = None,
    name: str,
    document: Mapping[str, Any] | None = None,
    comment: str = "",
    author: User | None = None,
    now: datetime,
) -> PolicyDraft:
    """Create or change a draft; without a document, it begins as policy is now.

    Raises:
        PolicyDraft.DoesNotExist: there is no draft `draft_id`.
        AlreadyPublished: it was published; make a new one.
        ValidationError: by field, what cannot be saved.
    """
    refusals = Refusals()
    if draft_id is None:
        draft = PolicyDraft(author=author, created_at=now)
    else:
        draft = PolicyDraft.objects.select_for_update().get(pk=draft_id)
        if draft.published_number is not None:
            raise AlreadyPublished("This draft was published already. Make a new one.")
    if document is None:
        if draft_id is None:
            draft.document = document_now()
            draft.base_number = newest_number()
    else:
        try:
            draft.document = documents.canonical(document)
        except DocumentRefused as error:
            refusals.add("document", "document_refused", f"{error}.")
        draft.base_number = draft.base_number or newest_number()
    draft.name = name
    draft.comment = comment
    draft.changed_at = now
    refusals.save(draft)
    return draft


@transaction.atomic
def draft_delete(*, draft_id: UUID) -> None:
    """Delete a draft and its back-tests.

    Raises:
        PolicyDraft.DoesNotExist: there is no such draft.
    """
    PolicyDraft.objects.get(pk=draft_id).delete()


def draft_publish(*, draft_id: UUID, by: Publisher, now: datetime) -> list[Change]:
    """Bring a draft into force, after its policy tests.

    Raises:
        PolicyDraft.DoesNotExist: there is no such draft.
        AlreadyPublished: it was published before.
        DraftOutdated: policy has changed since the draft was made; rebase it first.
        DocumentRefused, ValidationError: as `document_apply`.
    """
    with transaction.atomic():
        draft = PolicyDraft.objects.select_for_update().get(pk=draft_id)
        if draft.published_number is not None:
            raise AlreadyPublished("This draft was published already. Make a new one.")
        PolicyState.objects.select_for_update().get(pk=1)
        if draft.base_number != newest_number():
            raise DraftOutdated(
                "Policy has changed since this draft was made. Bring it up to date, and look at the difference again."
            )
        changes = document_apply(document=draft.document, by=by, now=now)
        draft.published_number = newest_number()
        draft.save(update_fields=["published_number"])
    return changes


@transaction.atomic
def draft_rebase(*, draft_id: UUID, now: datetime) -> tuple[PolicyDraft, tuple[Change, ...]]:
    """Put what a draft changes on top of policy as it is now; return it, and where both changed one entry.

    There the draft's entry stands: look at the difference before it is published.

    Raises:
        PolicyDraft.DoesNotExist: there is no such draft.
        AlreadyPublished: it was published before.
    """
    draft = PolicyDraft.objects.select_for_update().get(pk=draft_id)
    if draft.published_number is not None:
        raise AlreadyPublished("This draft was published already. Make a new one.")
    PolicyState.objects.select_for_update().get(pk=1)
    base = PolicyVersion.objects.filter(pk=draft.base_number).first()
    found = merged({} if base is None else base.document, draft.document, document_now())
    draft.document = found.document
    draft.base_number = newest_number()
    draft.changed_at = now
    draft.save(update_fields=["document", "base_number", "changed_at"])
    return draft, found.conflicts


@transaction.atomic
def policy_test_save(
    *,
    test_id: int | None = None,
    name: str,
    given: object,
    expected: str,
    rule: str = "",
    is_active: bool = True,
    by: Publisher | None = None,
    now: datetime,
) -> PolicyTest:
    """Create or change a policy test; without an id, the one of that `name` if there is one.

    Raises:
        PolicyTest.DoesNotExist: there is no test `test_id`.
        ValidationError: by field, what cannot be saved; also when policy in force does not meet it.
    """
    if test_id is None:
        test = PolicyTest.objects.select_for_update().filter(name=name).first() or PolicyTest(created_at=now)
    else:
        test = PolicyTest.objects.select_for_update().get(pk=test_id)
    refusals = Refusals()
    try:
        read_case(given, now=now.timestamp())
    except CaseRefused as error:
        refusals.add("given", "case_refused", f"{error}.")
    test.name, test.given, test.expected, test.rule, test.is_active = name, given, expected, rule, is_active
    refusals.save(test)
    publish(by, now=now)
    return test


@transaction.atomic
def policy_test_delete(*, test_id: int, by: Publisher | None = None, now: datetime) -> None:
    """Delete a policy test.

    Raises:
        PolicyTest.DoesNotExist: there is no such test.
    """
    PolicyTest.objects.get(pk=test_id).delete()
    publish(by, now=now)


def _remove(change: Change, now: datetime) -> None:
    match change.section:
        case "grants":
            grant_delete(grant_id=_grant_like(change).pk, now=now)
        case "guardrails":
            guardrail_delete(guardrail_id=Guardrail.objects.get(name=change.key).pk, now=now)
        case "masking_patterns":
            masking_pattern_delete(pattern_id=MaskingPattern.objects.get(name=change.key).pk, now=now)
        case _:
            policy_test_delete(test_id=PolicyTest.objects.get(name=change.key).pk, now=now)


def _grant_like(change: Change) -> AccessGrant:
    """Return the grant of the database that says what `change` has."""
    entry = {**documents.MEMBERS["grants"], **(change.before or {})}
    candidates = AccessGrant.objects.filter(kind=AccessGrant.Kind.STANDING, note=entry["note"], labels=entry["labels"])
    for row in candidates.select_related("connection", "principal", "group__provider"):
        if documents.key_of("grants", documents.entry_of("grants", grant_entry(row))) == change.key:
            return row
    raise DocumentRefused("grants", "a grant has changed meanwhile; try again")


def _put(change: Change, entry: Mapping[str, Any], now: datetime) -> None:
    values = {**documents.MEMBERS[change.section], **entry}
    place = f"{change.section}, {values.get('name') or values.get('note') or 'a grant'}"
    savers: Mapping[str, Callable[..., Any]] = {
        "grants": grant_save,
        "guardrails": guardrail_save,
        "masking_patterns": masking_pattern_save,
        "tests": policy_test_save,
    }
    values = _resolved(change.section, values, place, now)
    if change.section == "grants" and change.before is not None:
        values["grant_id"] = _grant_like(change).pk
    try:
        savers[change.section](**values, now=now)
    except ValidationError as error:
        raise DocumentRefused(place, _told(error)) from None


def _resolved(section: str, values: dict[str, Any], place: str, now: datetime) -> dict[str, Any]:
    """Return the values with rows in the place of the names by which a document refers to them."""
    if section == "tests":
        return values
    slug = values["connection"]
    if slug is not None:
        values["connection"] = Connection.objects.filter(slug=slug).first()
        if values["connection"] is None:
            raise DocumentRefused(place, f"there is no connection {slug!r}; create it first")
    if section == "masking_patterns":
        values["check_kind"] = values.pop("check")
    elif section == "grants":
        values["principal"] = None if values["principal"] is None else _principal(values["principal"], place, now)
        values["group"] = None if values["group"] is None else _group(values["group"], place)
        for name in ("valid_from", "valid_until"):
            values[name] = None if values[name] is None else _moment(values[name], place)
    else:
        values["principals"] = [_principal(entry, place, now) for entry in values["principals"]]
        values["groups"] = [_group(entry, place) for entry in values["groups"]]
        values["approval_rule"] = _approval_rule(values["approval_rule"], place)
    return values


def _principal(entry: object, place: str, now: datetime) -> Principal:
    if not isinstance(entry, Mapping) or set(entry) != {"issuer", "subject"}:
        raise DocumentRefused(place, "a principal is written as an object with issuer and subject")
    return principal_ensure(issuer=entry["issuer"], subject=entry["subject"], now=now)


def _group(entry: object, place: str) -> Group:
    if not isinstance(entry, Mapping) or set(entry) != {"provider", "name"}:
        raise DocumentRefused(place, "a group is written as an object with provider and name")
    group = Group.objects.filter(provider__name=entry["provider"], name=entry["name"]).first()
    if group is None:
        raise DocumentRefused(place, f"there is no group {entry['name']!r} of {entry['provider']!r}; declare it first")
    return group


def _approval_rule(name: object, place: str) -> ApprovalRule | None:
    rule = None if name is None else ApprovalRule.objects.filter(name=name).first()
    if name is not None and rule is None:
        raise DocumentRefused(place, f"there is no approval rule {name!r}; create it first")
    return rule


def _moment(text: object, place: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise DocumentRefused(place, "a time is written with its zone, such as 2026-03-29T02:30:00+00:00")
    return moment


def _told(error: ValidationError) -> str:
    if hasattr(error, "error_dict"):
        return "; ".join(f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
    return " ".join(error.messages)
