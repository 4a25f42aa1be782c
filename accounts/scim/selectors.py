"""Reads of what was provisioned: pages for the provider itself, and hints for people."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from accounts.models import Group, IdentityProvider, Principal, ScimMember, ScimUser
from accounts.scim import filters, resources, schemas, values
from accounts.scim.filters import Term
from accounts.scim.refusals import bad_value, not_found
from accounts.scim.resources import Document, Reference

PAGE_MEMBERS: Final = 20_000
"""Members that one page of groups may hold before it ends early; the first group of a page is always whole."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def base_url(public_url: str, provider_id: UUID) -> str:
    """Return the root under which the provider provisions."""
    return f"{public_url}/scim/v2/{provider_id}"


def user_for(*, provider_id: UUID, user_id: str) -> ScimUser:
    """Return a user of the provider.

    Raises:
        ScimRefused: 404, also for what another provider provisioned.
    """
    found = values.maybe_id(user_id)
    user = ScimUser.objects.filter(provider_id=provider_id, pk=found).first() if found else None
    if user is None:
        raise not_found()
    return user


def group_for(*, provider_id: UUID, group_id: str) -> Group:
    """Return a provisioned group of the provider.

    Raises:
        ScimRefused: 404, also for what another provider provisioned.
    """
    found = values.maybe_id(group_id)
    group = Group.objects.filter(provider_id=provider_id, scim_id=found).first() if found else None
    if group is None:
        raise not_found()
    return group


def users_page(*, provider_id: UUID, query: Mapping[str, str], base: str) -> Document:
    """Return the page of users that the query parameters `filter`, `startIndex` and `count` ask for.

    Raises:
        ScimRefused: `invalidFilter`, `invalidValue`.
    """
    users = ScimUser.objects.filter(provider_id=provider_id)
    for term in _terms(query, filters.USER_ATTRIBUTES, schemas.USER):
        users = users.filter(_user_condition(term))
    start, count = _place(query)
    # By id, because it never changes: a page stays what it was while users are renamed.
    listed = list(users.order_by("pk")[start - 1 : start - 1 + count])
    return resources.list_document(user_documents(listed, base=base), total=users.count(), start=start)


def groups_page(*, provider_id: UUID, query: Mapping[str, str], base: str, with_members: bool) -> Document:
    """Return the page of groups that the query parameters ask for; one with many members may be shorter than asked.

    Raises:
        ScimRefused: `invalidFilter`, `invalidValue`.
    """
    groups = Group.objects.filter(provider_id=provider_id).exclude(scim_id=None)
    for term in _terms(query, filters.GROUP_ATTRIBUTES, schemas.GROUP):
        groups = groups.filter(_group_condition(term))
    start, count = _place(query)
    listed = list(groups.order_by("scim_id")[start - 1 : start - 1 + count])
    if with_members:
        listed = _fitting(listed)
    documents = group_documents(listed, base=base, with_members=with_members)
    return resources.list_document(documents, total=groups.count(), start=start)


def user_documents(users: Sequence[ScimUser], *, base: str) -> list[Document]:
    """Return the users as their provider reads them, with their groups, in two queries at most."""
    groups: dict[UUID, list[Reference]] = defaultdict(list)
    rows = ScimMember.objects.filter(user__in=users).order_by("group__scim_id")
    for user_id, scim_id, name in rows.values_list("user_id", "group__scim_id", "group__scim_display_name"):
        if scim_id is not None:
            groups[user_id].append(Reference(scim_id, name))
    return [
        resources.user_document(
            user_id=user.pk,
            attributes=user.attributes,
            groups=groups[user.pk],
            times=(user.created_at, user.changed_at),
            base=base,
        )
        for user in users
    ]


def group_documents(groups: Sequence[Group], *, base: str, with_members: bool) -> list[Document]:
    """Return the groups as their provider reads them, in one query at most."""
    members: dict[int, list[Reference]] = defaultdict(list)
    if with_members:
        rows = ScimMember.objects.filter(group__in=groups).order_by("user_id")
        for group_pk, user_id, name in rows.values_list("group_id", "user_id", "user__user_name"):
            members[group_pk].append(Reference(user_id, name))
    return [
        resources.group_document(
            group_id=_scim_id(group),
            display_name=group.scim_display_name,
            external_id=group.scim_external_id,
            members=members[group.pk] if with_members else None,
            changed=group.scim_changed_at,
            base=base,
        )
        for group in groups
    ]


def subject_of(provider: IdentityProvider, user: ScimUser) -> str:
    """Return the subject by which tokens of `provider` name the user; empty when the user lacks that attribute."""
    return {"external_id": user.external_id, "user_name": user.user_name, "id": str(user.pk)}[provider.scim_subject]


def hinted(users: QuerySet[ScimUser]) -> QuerySet[ScimUser]:
    """Return the users with what `hint_for` needs, so that a list costs no query for each of them."""
    names = Q(subject=OuterRef("external_id")) | Q(subject=OuterRef("user_name")) | Q(subject=OuterRef("email"))
    others = Principal.objects.filter(names, issuer=OuterRef("provider__issuer"), last_seen__isnull=False)
    seen = Exists(others.exclude(pk=OuterRef("principal_id")))
    return users.select_related("provider", "principal").annotate(is_seen_otherwise=seen)


def hint_for(user: Any) -> str:
    """Return a sentence on why what is provisioned of a user of `hinted` may have no effect; mostly empty."""
    named = (user.provider.issuer, subject_of(user.provider, user))
    if user.principal is None or (user.principal.issuer, user.principal.subject) != named:
        return "The provider's issuer or SCIM subject was changed since: provision the user again, by any change of it."
    if user.principal.last_seen is None and user.is_seen_otherwise:
        return "Tokens name this user by another attribute: choose it as the provider's SCIM subject."
    return ""


def _terms(query: Mapping[str, str], attributes: Mapping[str, str], schema: str) -> tuple[Term, ...]:
    text = query.get("filter")
    return () if text is None else filters.parse(text, attributes, schema=schema)


def _user_condition(term: Term) -> Q:
    match term.attribute:
        case "userName":
            return Q(user_name_folded=folded(str(term.value)))
        case "displayName":
            return Q(display_name__iexact=term.value)
        case "externalId":
            return Q(external_id=term.value) & ~Q(external_id="")
        case _:
            return _id_condition("pk", term)


def _group_condition(term: Term) -> Q:
    match term.attribute:
        case "displayName":
            return Q(scim_display_name__iexact=term.value)
        case "externalId":
            return Q(scim_external_id=term.value) & ~Q(scim_external_id="")
        case "members":
            found = values.maybe_id(term.value)
            members = ScimMember.objects.filter(user_id=found).values("group_id")
            return Q(pk__in=members)
        case _:
            return _id_condition("scim_id", term)


def _id_condition(field: str, term: Term) -> Q:
    found = values.maybe_id(term.value)
    return Q(pk__in=[]) if found is None else Q(**{field: found})


def folded(user_name: str) -> str:
    """Return `user_name` as it is compared: a userName ignores case (RFC 7643 section 4.1.1)."""
    return user_name.casefold()


def _place(query: Mapping[str, str]) -> tuple[int, int]:
    """Return the first index, from 1, and how many; less than the least counts as the least (RFC 7644 table 6)."""
    start = max(1, _number(query, "startIndex", 1))
    count = min(schemas.MAX_COUNT, max(0, _number(query, "count", schemas.DEFAULT_COUNT)))
    return start, count


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if _NUMBER.fullmatch(text) is None:
        raise bad_value(f"{name} is a whole number.")
    return int(text)


def _fitting(groups: list[Group]) -> list[Group]:
    """Return the first of `groups` whose members fit on one page."""
    rows = ScimMember.objects.filter(group__in=groups).values("group_id").annotate(size=Count("pk"))
    sizes = {row["group_id"]: row["size"] for row in rows.order_by()}
    total = 0
    fitting: list[Group] = []
    for group in groups:
        total += sizes.get(group.pk, 0)
        if fitting and total > PAGE_MEMBERS:
            break
        fitting.append(group)
    return fitting


def _scim_id(group: Group) -> UUID:
    assert group.scim_id is not None, "a group that was not provisioned is never shown"  # noqa: S101
    return group.scim_id
