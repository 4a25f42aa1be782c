"""What the resources of policy share: who publishes, what a change looks like, and how a document is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework import serializers
from rest_framework.request import Request

from accounts import proofs
from accounts.rest import ModelPermissions, StrictFields
from policies import services
from policies.documents import Change, DocumentRefused
from policies.models import PolicyVersion
from policies.rehearsal import CaseRefused
from policies.wording import title_of


class PublishPermission(ModelPermissions):
    """Publishing a draft and rolling back take the permission to publish."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["policies.publish_policyversion"]}


class ChangePermission(ModelPermissions):
    """What an action does to a row changes it."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class CommentSerializer(StrictFields):
    """Why policy is changed."""

    comment = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class EmptySerializer(StrictFields):
    """A body without members."""


class ChangeSerializer(serializers.Serializer):
    """One difference between two documents. `before` null: added; `after` null: removed."""

    section = serializers.CharField()
    title = serializers.SerializerMethodField()
    kind = serializers.CharField(help_text="`added`, `removed` or `changed`.")
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)

    def get_title(self, change: Change) -> str:
        """Return what the change is about."""
        return title_of(change)


def written(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return changes as an answer has them."""
    return list(ChangeSerializer(list(changes), many=True).data)


def publisher_of(request: Request, comment: str = "", source: str = PolicyVersion.Source.API) -> services.Publisher:
    """Return who publishes by `request`."""
    author: Any = request.user
    return services.Publisher(author, source, comment)


def comment_of(request: Request) -> str:
    """Return the comment of the body of somebody who proved who they are.

    Raises:
        ValidationError: the body has something else.
        ProofNeeded: they did not prove who they are.
    """
    body = CommentSerializer(data=request.data or {})
    body.is_valid(raise_exception=True)
    proofs.require_recent(request)
    comment: str = body.validated_data["comment"]
    return comment


@contextmanager
def refusals_at(field: str) -> Iterator[None]:
    """Refuse at `field` a document or a case that is refused inside.

    Raises:
        ValidationError: with the place and the hint of the refusal.
    """
    try:
        yield
    except DocumentRefused as error:
        raise ValidationError({field: ValidationError(f"{error}.", code="document_refused")}) from None
    except CaseRefused as error:
        place = error.member if field == "" else field
        raise ValidationError({place: ValidationError(f"{error}.", code="case_refused")}) from None
