"""The button "Lock" on the page of whatever can be locked."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action


class Lockable:
    """Mixed into the admin of a model that is a target of locks; `lock_kind` is the lock's kind and its field."""

    lock_kind: str
    actions_detail = ["lock_this"]

    def has_lock_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Tell whether the person may place locks."""
        return request.user.has_perm("accounts.add_lock")

    @action(description="Lock", permissions=["lock"])
    def lock_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the form of a new lock with this target filled in; nothing is locked yet."""
        query = urlencode({"kind": self.lock_kind, self.lock_kind: object_id})
        return HttpResponseRedirect(f"{reverse('admin:accounts_lock_add')}?{query}")
