"""Gateway processes that live for seconds: forked from one that has imported everything, so that a start is quick.

    echo '{"label": "connected", "times": 3}' | python -m tests.slow.lives PORT

For each line of standard input it forks a gateway that kills itself (SIGKILL) when it passes the label for the given
time, waits for its end and writes a line with its status. An empty label lives until it is told to end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def probe_for(label: str, times: int) -> Callable[[str], None]:
    """Return a probe that kills the process when it passes `label` for the given time."""
    left = times

    def probe(passed: str) -> None:
        nonlocal left
        if passed == label:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return probe


def live(port: int, order: dict[str, Any]) -> None:
    """Serve until the end."""
    import uvicorn

    from gateway_project.asgi import Application
    from proxy.wiring import DataPath

    uvicorn.run(
        Application(DataPath(probe_for(order["label"], order["times"]))),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="proxy.http_protocol:GatewayProtocol",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


def main() -> None:
    """Fork a gateway for each line."""
    import uvicorn.server  # noqa: F401  (what a start would import)
    import uvloop  # noqa: F401

    import gateway_project.asgi
    import gateway_project.urls  # noqa: F401
    import proxy.http_protocol  # noqa: F401

    port = int(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            live(port, order)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
