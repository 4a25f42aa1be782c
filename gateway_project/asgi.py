"""The ASGI application: the data path first, Django behind it.

`/mcp` never runs through Django's middleware: the body is bounded, streamed and parsed by the proxy alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings.base")

import django

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

from accounts.client_address import TrustedProxies
from gateway_project import checks
from gateway_project.bodies import BoundedBodies
from gateway_project.doors import GuardedDoors
from policies.consumers import InboxConsumer, hub
from proxy import gate
from proxy.reply import Receive, Send
from proxy.wiring import DataPath


class Application:
    """Routes each request to the data path or to Django, and runs the data path's start and stop."""

    def __init__(self, data_path: DataPath) -> None:
        checks.refuse_unsafe()
        self._data_path = data_path
        # Each of them judges Origin and login itself; elsewhere the server offers no upgrade.
        sockets = URLRouter([path("inbox/live/", InboxConsumer.as_asgi())])
        self.console = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})
        self._console = GuardedDoors(
            BoundedBodies(self.console, limit=settings.DATA_UPLOAD_MAX_MEMORY_SIZE),
            per_second=settings.WARDGATE_ADDRESS_DOOR_REQUESTS_PER_SECOND,
            proxies=TrustedProxies.parse(settings.WARDGATE_TRUSTED_PROXIES, settings.WARDGATE_PROXY_HOPS),
            clock=time.monotonic,
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            raw_path = scope.get("raw_path")
            if raw_path is None:
                raw_path = scope["path"].encode()
                scope = {**scope, "raw_path": raw_path}
            if gate.is_ours(raw_path):
                await self._data_path(scope, receive, send)
                return
            if raw_path in {b"/healthz", b"/readyz"}:
                await self._health(raw_path, scope["method"], send)
                return
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        await self._console(scope, receive, send)

    async def _health(self, raw_path: bytes, method: str, send: Send) -> None:
        """Answer GET and HEAD for /healthz (the process runs) and /readyz (a call could pass)."""
        is_well = raw_path == b"/healthz" or self._data_path.is_ready
        status, body = (200, b"ok\n") if is_well else (503, b"not ready\n")
        headers = [(b"content-type", b"text/plain")]
        if method not in {"GET", "HEAD"}:
            status, body = 405, b"GET or HEAD\n"
            headers.append((b"allow", b"GET, HEAD"))
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Start before the first request; a start that fails stops the server with a sentence."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._data_path.start()
                except Exception as error:
                    sentence = f"The gateway cannot start: {type(error).__name__}. Is the database there and migrated?"
                    await send({"type": "lifespan.startup.failed", "message": sentence})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._data_path.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


application = Application(DataPath(on_request=hub.ring))
