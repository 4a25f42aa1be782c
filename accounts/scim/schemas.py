"""The schemas of users and groups, as far as the gateway reads them, and the documents of discovery. Pure.

Sources: RFC 7643 sections 4, 5, 7 and 8.7; RFC 7644 section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

USER: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LIST_RESPONSE: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
_RESOURCE_TYPE = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"

DEFAULT_COUNT: Final = 100
MAX_COUNT: Final = 200
"""Resources of one page; whoever asks for more gets this many."""

Document = dict[str, Any]

_SIMPLE = (
    *("userName", "externalId", "displayName", "nickName", "profileUrl", "title"),
    *("userType", "preferredLanguage", "locale", "timezone", "active"),
)
_MULTIPLE = (*("emails", "phoneNumbers", "ims", "photos", "addresses", "entitlements", "roles", "x509Certificates"),)
_ENTERPRISE_SIMPLE = ("employeeNumber", "costCenter", "organization", "division", "department")

CORE_NAMES: Final[Mapping[str, str]] = {
    name.lower(): name for name in ("id", "schemas", "meta", "groups", "password", "name", *_SIMPLE, *_MULTIPLE)
}
"""Attributes of a user in small letters, and how they are spelt: names ignore case (RFC 7643 section 2.1)."""
ENTERPRISE_NAMES: Final[Mapping[str, str]] = {name.lower(): name for name in (*_ENTERPRISE_SIMPLE, "manager")}
SIMPLE: Final = frozenset((*_SIMPLE, *_ENTERPRISE_SIMPLE))
MULTIPLE: Final = frozenset(_MULTIPLE)
COMPLEX: Final = frozenset({"name", "manager"})
READ_ONLY: Final = frozenset({"id", "schemas", "meta", "groups"})


def service_provider_config(base: str) -> Document:
    """Return what this service can do; `base` is the URL of the provider's SCIM root."""
    return {
        "schemas": [_CONFIG],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_COUNT},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": False},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "API token",
                "description": "An API token of the gateway with the scope scim that names this identity provider.",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[Document]:
    """Return the two types of resources."""
    user: Document = {"id": "User", "name": "User", "endpoint": "/Users", "schema": USER}
    user["schemaExtensions"] = [{"schema": ENTERPRISE, "required": False}]
    group: Document = {"id": "Group", "name": "Group", "endpoint": "/Groups", "schema": GROUP, "schemaExtensions": []}
    return [
        {
            "schemas": [_RESOURCE_TYPE],
            **kind,
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{kind['id']}"},
        }
        for kind in (user, group)
    ]


def schemas(base: str) -> list[Document]:
    """Return the three schemas."""
    described = (
        (USER, "User", "A user account", _USER_ATTRIBUTES),
        (GROUP, "Group", "A group of users", _GROUP_ATTRIBUTES),
        (ENTERPRISE, "EnterpriseUser", "What an enterprise knows of a user", _ENTERPRISE_ATTRIBUTES),
    )
    return [
        {
            "schemas": [_SCHEMA],
            "id": urn,
            "name": name,
            "description": text,
            "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{urn}"},
        }
        for urn, name, text, attributes in described
    ]


def _attribute(name: str, kind: str = "string", **features: Any) -> Document:
    return {
        "name": name,
        "type": kind,
        "multiValued": False,
        "required": False,
        "caseExact": False,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "none",
        **features,
    }


def _several(name: str) -> Document:
    parts = [_attribute("value"), _attribute("display"), _attribute("type"), _attribute("primary", "boolean")]
    return _attribute(name, "complex", multiValued=True, subAttributes=parts)


def _references(name: str, kinds: list[str], **features: Any) -> Document:
    parts = [
        _attribute("value", mutability="immutable"),
        _attribute("$ref", "reference", mutability="immutable", referenceTypes=kinds),
        _attribute("display", mutability="readOnly"),
        _attribute("type", mutability="immutable", canonicalValues=kinds),
    ]
    return _attribute(name, "complex", multiValued=True, subAttributes=parts, **features)


_USER_ATTRIBUTES: Final = [
    _attribute("userName", required=True, uniqueness="server"),
    _attribute("externalId", caseExact=True, uniqueness="server"),
    _attribute(
        "name",
        "complex",
        subAttributes=[
            _attribute(name)
            for name in (
                *("formatted", "familyName", "givenName", "middleName"),
                *("honorificPrefix", "honorificSuffix"),
            )
        ],
    ),
    *(_attribute(name) for name in _SIMPLE[2:-1]),
    _attribute("active", "boolean"),
    *(_several(name) for name in _MULTIPLE),
    _references("groups", ["Group"], mutability="readOnly"),
]
_GROUP_ATTRIBUTES: Final = [
    _attribute("displayName", required=True),
    _attribute("externalId", caseExact=True, uniqueness="server"),
    _references("members", ["User"]),
]
_ENTERPRISE_ATTRIBUTES: Final = [
    *(_attribute(name) for name in _ENTERPRISE_SIMPLE),
    _attribute(
        "manager", "complex", subAttributes=[_attribute("value"), _attribute("$ref"), _attribute("displayName")]
    ),
]
