"""SCIM 2.0 under `/scim/v2/<provider>/`: who may ask, what was asked, and the answer in the form of the protocol.

Nothing is served without an API token of the scope `scim` that names this provider, discovery included: RFC 7644
section 2 leaves that to the service. The token is judged before the body is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from accounts.api_tokens import ApiTokenRefused, ScopeMissing, authenticate
from accounts.client_address import address_of
from accounts.scim import bodies, projection, resources, schemas, selectors
from accounts.scim.patch import operations
from accounts.scim.refusals import ScimRefused, not_found
from accounts.services import directory
from accounts.services.directory_sync import scim_refused, scim_served

PERMISSION: Final = "accounts.change_identityprovider"
"""What the person behind the token must hold: provisioning decides who a provider's users are."""

_CONTENT_TYPE = "application/scim+json"
_ACCEPTED = frozenset({_CONTENT_TYPE, "application/json"})


class Call:
    """One request of a provider that has proved itself, with what the handlers need of it."""

    def __init__(self, request: HttpRequest, provider_id: UUID, now: datetime) -> None:
        self.method = str(request.method)
        self.query = {name: request.GET[name] for name in request.GET}
        self.provider_id = provider_id
        self.now = now
        self.base = selectors.base_url(settings.WARDGATE_PUBLIC_URL, provider_id)
        self._request = request

    def body(self) -> dict[str, Any]:
        """Return the body, read up to its limit.

        Raises:
            ScimRefused: 413, 415, `invalidSyntax`, `invalidValue`.
        """
        if self._request.content_type not in _ACCEPTED:
            raise ScimRefused(415, "", f"Send {_CONTENT_TYPE}.")
        return bodies.loads(self._request.read(bodies.MAX_BYTES + 1))

    def projection(self) -> projection.Projection:
        """Return which attributes the answer shows."""
        return projection.asked(self.query)


Handler = Callable[..., HttpResponse]


def _view(**handlers: Handler) -> Callable[..., HttpResponse]:
    """Return the view of one route: `handlers` by method, behind the one gate that all routes share."""

    @csrf_exempt
    def view(request: HttpRequest, provider_id: str, **names: str) -> HttpResponse:
        now = timezone.now()
        try:
            call = _admitted(request, UUID(provider_id), now)
        except ScimRefused as refused:
            return _refusal(refused)
        try:
            handler = handlers.get(call.method)
            return _not_allowed(handlers) if handler is None else _served(call, handler, names)
        except ScimRefused as refused:
            if refused.status != 404:
                scim_refused(provider_id=call.provider_id, what=_what(request), reason=str(refused), now=now)
            return _refusal(refused)
        except OperationalError:
            # A deadlock, a lock that another request held for too long, or no database: the provider tries again.
            answer = _refusal(ScimRefused(503, "", "The directory is busy: send the request again."))
            answer["Retry-After"] = "5"
            return answer

    return view


def _served(call: Call, handler: Handler, names: Mapping[str, str]) -> HttpResponse:
    answer = handler(call, **names)
    scim_served(provider_id=call.provider_id, is_change=call.method != "GET", now=call.now)
    return answer


def _not_allowed(handlers: Mapping[str, Handler]) -> HttpResponse:
    answer = _refusal(ScimRefused(405, "", "This method is not served here."))
    answer["Allow"] = ", ".join(handlers)
    return answer


def _admitted(request: HttpRequest, provider_id: UUID, now: datetime) -> Call:
    """Return the request as one of the provider for whom its token speaks.

    Raises:
        ScimRefused: 401 without a good token, 403 for one that was made for something else or whose person may not
            provision, 404 for another provider's.
    """
    header = request.META.get("HTTP_AUTHORIZATION", "")
    try:
        token = authenticate(header, scope="scim", now=now, address=address_of(request))
    except ScopeMissing as error:
        raise ScimRefused(403, "", str(error)) from None
    except ApiTokenRefused as error:
        raise ScimRefused(401, "", str(error)) from None
    if token.provider_id != provider_id:
        raise not_found()
    if not token.user.has_perm(PERMISSION):
        raise ScimRefused(403, "", "The person of this API token may not change identity providers any more.")
    return Call(request, provider_id, now)


def _what(request: HttpRequest) -> str:
    """Return the method and kind of resource, without any id or value of the request."""
    kind = next((name for name in ("Users", "Groups") if f"/{name}" in request.path), "discovery")
    return f"{request.method} {kind}"


def _answer(document: dict[str, Any] | None, *, status: int = 200, location: str = "") -> HttpResponse:
    body = b"" if document is None else json.dumps(document, ensure_ascii=False).encode()
    answer = HttpResponse(body, status=status, content_type=_CONTENT_TYPE)
    answer["Cache-Control"] = "no-store"
    if document is None:
        del answer["Content-Type"]
    if location:
        answer["Location"] = location
    return answer


def _refusal(refused: ScimRefused) -> HttpResponse:
    answer = _answer(refused.body(), status=refused.status)
    if refused.status == 401:
        answer["WWW-Authenticate"] = 'Bearer realm="wardgate"'
    return answer


def _list_users(call: Call) -> HttpResponse:
    page = selectors.users_page(provider_id=call.provider_id, query=call.query, base=call.base)
    return _answer(call.projection().of_page(page))


def _list_groups(call: Call) -> HttpResponse:
    wanted = call.projection()
    page = selectors.groups_page(
        provider_id=call.provider_id, query=call.query, base=call.base, with_members=wanted.shows("members")
    )
    return _answer(wanted.of_page(page))


def _user(call: Call, row: Any, *, status: int = 200) -> HttpResponse:
    [document] = selectors.user_documents([row], base=call.base)
    location = document["meta"]["location"] if status == 201 else ""
    return _answer(call.projection().of(document), status=status, location=location)


def _group(call: Call, row: Any, *, status: int = 200) -> HttpResponse:
    wanted = call.projection()
    [document] = selectors.group_documents([row], base=call.base, with_members=wanted.shows("members"))
    location = document["meta"]["location"] if status == 201 else ""
    return _answer(wanted.of(document), status=status, location=location)


def _get_user(call: Call, user_id: str) -> HttpResponse:
    return _user(call, selectors.user_for(provider_id=call.provider_id, user_id=user_id))


def _create_user(call: Call) -> HttpResponse:
    user = resources.user_values(call.body())
    row = directory.scim_user_create(provider_id=call.provider_id, user=user, now=call.now)
    return _user(call, row, status=201)


def _replace_user(call: Call, user_id: str) -> HttpResponse:
    user = resources.user_values(call.body())
    row = directory.scim_user_replace(provider_id=call.provider_id, user_id=user_id, user=user, now=call.now)
    return _user(call, row)


def _patch_user(call: Call, user_id: str) -> HttpResponse:
    asked = operations(call.body())
    row = directory.scim_user_patch(provider_id=call.provider_id, user_id=user_id, asked=asked, now=call.now)
    return _user(call, row)


def _delete_user(call: Call, user_id: str) -> HttpResponse:
    directory.scim_user_delete(provider_id=call.provider_id, user_id=user_id, now=call.now)
    return _answer(None, status=204)


def _get_group(call: Call, group_id: str) -> HttpResponse:
    return _group(call, selectors.group_for(provider_id=call.provider_id, group_id=group_id))


def _create_group(call: Call) -> HttpResponse:
    group = resources.group_values(call.body())
    row = directory.scim_group_create(provider_id=call.provider_id, group=group, now=call.now)
    return _group(call, row, status=201)


def _replace_group(call: Call, group_id: str) -> HttpResponse:
    group = resources.group_values(call.body())
    row = directory.scim_group_replace(provider_id=call.provider_id, group_id=group_id, group=group, now=call.now)
    return _group(call, row)


def _patch_group(call: Call, group_id: str) -> HttpResponse:
    """Change a group; 204, because a group may be large (RFC 7644 section 3.5.2), unless attributes are asked for."""
    asked = operations(call.body())
    row = directory.scim_group_patch(provider_id=call.provider_id, group_id=group_id, asked=asked, now=call.now)
    return _group(call, row) if "attributes" in call.query else _answer(None, status=204)


def _delete_group(call: Call, group_id: str) -> HttpResponse:
    directory.scim_group_delete(provider_id=call.provider_id, group_id=group_id)
    return _answer(None, status=204)


def _config(call: Call) -> HttpResponse:
    return _answer(schemas.service_provider_config(call.base))


def _discovered(documents: Callable[[str], list[dict[str, Any]]]) -> tuple[Handler, Handler]:
    """Return the handlers of a list of discovery and of one of its documents; filters are refused (section 4)."""

    def listed(call: Call) -> HttpResponse:
        if "filter" in call.query:
            raise ScimRefused(403, "", "These documents take no filter.")
        found = documents(call.base)
        return _answer(resources.list_document(found, total=len(found), start=1))

    def one(call: Call, name: str) -> HttpResponse:
        for document in documents(call.base):
            if document["id"].lower() == name.lower():
                return _answer(document)
        raise not_found()

    return listed, one


def _unsupported(call: Call) -> HttpResponse:
    raise ScimRefused(501, "", "This is not supported: see ServiceProviderConfig.")


def _unknown(call: Call, rest: str = "") -> HttpResponse:
    raise not_found()


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_list_types, _one_type = _discovered(schemas.resource_types)
_list_schemas, _one_schema = _discovered(schemas.schemas)

users = _view(GET=_list_users, POST=_create_user)
user = _view(GET=_get_user, PUT=_replace_user, PATCH=_patch_user, DELETE=_delete_user)
groups = _view(GET=_list_groups, POST=_create_group)
group = _view(GET=_get_group, PUT=_replace_group, PATCH=_patch_group, DELETE=_delete_group)
config = _view(GET=_config)
resource_types = _view(GET=_list_types)
resource_type = _view(GET=_one_type)
schema_list = _view(GET=_list_schemas)
schema = _view(GET=_one_schema)
unsupported = _view(**dict.fromkeys(_METHODS, _unsupported))
unknown = _view(**dict.fromkeys(_METHODS, _unknown))
