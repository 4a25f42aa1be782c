"""REST: the one table from a domain error to an HTTP answer."""

from __future__ import annotations

from typing import Any

from rest_framework.response import Response
from rest_framework.views import exception_handler


def handle(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the answer for `exc`; None hands it on to Django's own 500."""
    return exception_handler(exc, context)
