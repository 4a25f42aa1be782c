"""How the demo's servers are run: uvicorn on a socket that the supervisor already holds."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def serve(app: App, *, file_descriptor: int) -> None:
    """Serve `app` until the process is told to end; open streams are cut after a second."""
    uvicorn.run(
        app,
        fd=file_descriptor,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )


def required(name: str) -> str:
    """Return an environment variable that the supervisor sets.

    Raises:
        SystemExit: it is not set; the server is not for starting by hand.
    """
    value = os.environ.get(name, "")
    if not value:
        raise SystemExit(f"{name} is not set: this server is started by `python3 run.py up`.")
    return value
