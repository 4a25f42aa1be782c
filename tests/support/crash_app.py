"""The gateway with a probe: it kills itself, as kill -9 does, at the labelled step that WARDGATE_CRASH_AT names."""

from __future__ import annotations

import os
import signal

from gateway_project.asgi import Application
from proxy.wiring import DataPath

_CRASH_AT = os.environ.get("WARDGATE_CRASH_AT", "")


def probe(label: str) -> None:
    """Die at the label, if it is the one."""
    if label == _CRASH_AT:
        os.kill(os.getpid(), signal.SIGKILL)


application = Application(DataPath(probe))
