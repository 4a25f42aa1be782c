"""What the resources of policy share."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from policies import services
from policies.models import PolicyVersion


def publisher_of(request: Request, comment: str = "") -> services.Publisher:
    """Return who publishes by `request`."""
    author: Any = request.user
    return services.Publisher(author, PolicyVersion.Source.API, comment)
