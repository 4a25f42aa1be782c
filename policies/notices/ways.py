"""The ways that a notice can take, by their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import Way, email, slack, teams, web_push, webhook

WAYS: Final[Mapping[str, Way]] = {
    "email": email,
    "slack": slack,
    "teams": teams,
    "web_push": web_push,
    "webhook": webhook,
}
