"""The whole gateway in a thread of the test, on the test's own database: console, sockets and data path.

The tests of a live page need what Django's own test server does not have: WebSockets, and the database's bell.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from django.db import connection

from proxy.http_protocol import GatewayProtocol
from tests.support.servers import wait_until


@contextmanager
def live_console(*, port: int = 0) -> Iterator[str]:
    """Yield the URL of a running gateway; it is stopped on leaving."""
    from gateway_project.asgi import Application
    from policies.consumers import hub
    from proxy.wiring import DataPath

    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        Application(DataPath(on_request=hub.ring)),
        http=GatewayProtocol,
        loop="asyncio",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), seconds=20, what="the gateway")
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
        _hang_up()


def _hang_up() -> None:
    """End what the gateway's threads still hold open, or Django could not drop its database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
