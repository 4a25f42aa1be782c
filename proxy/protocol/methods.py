"""Every method of every published revision, as the schema of that revision lists it.

Generated from `schema/<revision>/schema.json` of the specification (the unions ClientRequest, ClientNotification,
ServerRequest and ServerNotification), with the additions of the official tasks extension (SEP-2663) for 2026-07-28.
A method that is not here is refused: an allow-list cannot be walked around with a name that nobody thought of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class MethodClass(StrEnum):
    """What policy does with a request; each request method of each revision has one."""

    LIFECYCLE = "lifecycle"  # initialize, discover, ping: allowed to whoever may use the connection
    LISTING = "listing"  # filtered entry by entry
    TOOL = "tool"  # decided on the tool's name and its arguments
    PROMPT = "prompt"  # decided on the prompt's name
    RESOURCE = "resource"  # decided on the URI
    COMPLETION = "completion"  # decided on the prompt or the URI it completes
    TASK = "task"  # bound to the call that made the task
    STREAM = "stream"  # subscriptions/listen: decided on what it listens to
    LOGGING = "logging"  # logging/setLevel


CLASSES: Final[Mapping[str, MethodClass]] = MappingProxyType(
    {
        "completion/complete": MethodClass.COMPLETION,
        "initialize": MethodClass.LIFECYCLE,
        "logging/setLevel": MethodClass.LOGGING,
        "ping": MethodClass.LIFECYCLE,
        "prompts/get": MethodClass.PROMPT,
        "prompts/list": MethodClass.LISTING,
        "resources/list": MethodClass.LISTING,
        "resources/read": MethodClass.RESOURCE,
        "resources/subscribe": MethodClass.RESOURCE,
        "resources/templates/list": MethodClass.LISTING,
        "resources/unsubscribe": MethodClass.RESOURCE,
        "server/discover": MethodClass.LIFECYCLE,
        "subscriptions/listen": MethodClass.STREAM,
        "tasks/cancel": MethodClass.TASK,
        "tasks/get": MethodClass.TASK,
        "tasks/list": MethodClass.TASK,
        "tasks/result": MethodClass.TASK,
        "tasks/update": MethodClass.TASK,
        "tools/call": MethodClass.TOOL,
        "tools/list": MethodClass.LISTING,
    }
)


@dataclass(frozen=True, slots=True)
class Methods:
    """The methods of one revision, by direction."""

    client_requests: frozenset[str]
    client_notifications: frozenset[str]
    server_requests: frozenset[str]
    server_notifications: frozenset[str]


_REQUESTS = frozenset(
    {
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "tools/call",
        "tools/list",
    }
)
_CLIENT_NOTIFICATIONS = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
    }
)
_SERVER_REQUESTS = frozenset({"ping", "roots/list", "sampling/createMessage"})
_SERVER_NOTIFICATIONS = frozenset(
    {
        "notifications/cancelled",
        "notifications/message",
        "notifications/progress",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tools/list_changed",
    }
)
_TASKS_2025 = frozenset({"tasks/cancel", "tasks/get", "tasks/list", "tasks/result"})

_FIRST = Methods(_REQUESTS, _CLIENT_NOTIFICATIONS, _SERVER_REQUESTS, _SERVER_NOTIFICATIONS)

METHODS: Final[Mapping[str, Methods]] = MappingProxyType(
    {
        "2024-11-05": _FIRST,
        "2025-03-26": _FIRST,
        "2025-06-18": Methods(
            _REQUESTS, _CLIENT_NOTIFICATIONS, _SERVER_REQUESTS | {"elicitation/create"}, _SERVER_NOTIFICATIONS
        ),
        "2025-11-25": Methods(
            _REQUESTS | _TASKS_2025,
            _CLIENT_NOTIFICATIONS | {"notifications/tasks/status"},
            _SERVER_REQUESTS | {"elicitation/create"} | _TASKS_2025,
            _SERVER_NOTIFICATIONS | {"notifications/elicitation/complete", "notifications/tasks/status"},
        ),
        "2026-07-28": Methods(
            frozenset(
                {
                    "completion/complete",
                    "prompts/get",
                    "prompts/list",
                    "resources/list",
                    "resources/read",
                    "resources/templates/list",
                    "server/discover",
                    "subscriptions/listen",
                    # The extension io.modelcontextprotocol/tasks.
                    "tasks/cancel",
                    "tasks/get",
                    "tasks/update",
                    "tools/call",
                    "tools/list",
                }
            ),
            frozenset({"notifications/cancelled"}),
            frozenset(),
            _SERVER_NOTIFICATIONS | {"notifications/subscriptions/acknowledged", "notifications/tasks"},
        ),
    }
)
"""Revision -> its methods."""

SERVER_REQUEST_CAPABILITY: Final[Mapping[str, str]] = MappingProxyType(
    {"elicitation/create": "elicitation", "roots/list": "roots", "sampling/createMessage": "sampling"}
)
"""What an upstream may ask of the client -> the client capability that allows it."""

NAME_MEMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prompts/get": "name",
        "resources/read": "uri",
        "tasks/cancel": "taskId",
        "tasks/get": "taskId",
        "tasks/result": "taskId",
        "tasks/update": "taskId",
        "tools/call": "name",
    }
)
"""Request method -> the member of params that `Mcp-Name` repeats (2026-07-28; SEP-2663 for tasks)."""
