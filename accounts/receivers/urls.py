"""Where other servers reach the receivers."""

from __future__ import annotations

from django.urls import path

from .events import push
from .logout import backchannel_logout
from .revocation import revoke

urlpatterns = [
    path("oauth/revoke", revoke, name="oauth-revoke"),
    path("oidc/backchannel-logout", backchannel_logout, name="oidc-backchannel-logout"),
    path("events/push", push, name="events-push"),
]
