"""Routes of SCIM below `/scim/v2/`; without a token nobody learns which of them exist."""

from __future__ import annotations

from django.urls import re_path

from . import views

_ID = r"(?P<provider_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"

urlpatterns = [
    re_path(rf"^{_ID}/(?:Me|Bulk|\.search|Users/\.search|Groups/\.search)/?$", views.unsupported, name="unsupported"),
    re_path(rf"^{_ID}/Users/?$", views.users, name="users"),
    re_path(rf"^{_ID}/Users/(?P<user_id>[^/]{{1,64}})/?$", views.user, name="user"),
    re_path(rf"^{_ID}/Groups/?$", views.groups, name="groups"),
    re_path(rf"^{_ID}/Groups/(?P<group_id>[^/]{{1,64}})/?$", views.group, name="group"),
    re_path(rf"^{_ID}/ServiceProviderConfig/?$", views.config, name="config"),
    re_path(rf"^{_ID}/ResourceTypes/?$", views.resource_types, name="resource-types"),
    re_path(rf"^{_ID}/ResourceTypes/(?P<name>[^/]{{1,64}})/?$", views.resource_type, name="resource-type"),
    re_path(rf"^{_ID}/Schemas/?$", views.schema_list, name="schemas"),
    re_path(rf"^{_ID}/Schemas/(?P<name>[^/]{{1,128}})/?$", views.schema, name="schema"),
    re_path(rf"^{_ID}/?(?P<rest>.*)$", views.unknown, name="unknown"),
]
