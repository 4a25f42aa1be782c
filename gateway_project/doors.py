"""How often one address may knock at the doors where nobody is known yet: token endpoint, receivers, and logins.

Each of these requests can make the gateway verify a signature, ask the database, or store the state of a login. So an
address that sends too many is answered here, before its body is read, a thread is taken, or a row is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from accounts.client_address import TrustedProxies
from proxy.limits import Buckets, place_of

from .bodies import Asgi, Receive, Scope, Send

_DOORS = ("/oauth/", "/oidc/", "/events/", "/saml/", "/slack/", "/admin/login/", "/inbox/live/")
_FORWARDED = b"x-forwarded-for"
_BODY = b'{"error":"rate_limited","error_description":"Too many requests from this address. Wait a moment."}\n'


class GuardedDoors:
    """Answers 429 to an address that sends more than its rate to the doors; everything else passes.

    Args:
        inner: the application behind.
        per_second: requests of one address (of one /64 with IPv6) to all doors together; twice as many at once; 0 is no
            limit.
        proxies: whose `X-Forwarded-For` counts.
        clock: monotonic seconds.
    """

    def __init__(self, inner: Asgi, *, per_second: float, proxies: TrustedProxies, clock: Callable[[], float]) -> None:
        self._inner, self._proxies = inner, proxies
        self._buckets, self._lock = Buckets(per_second, clock), threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        # The path as Django routes it: decoded.
        if scope["path"].startswith(_DOORS):
            with self._lock:
                wait = self._buckets.take(place_of(self._address(scope)))
            if wait and scope["type"] == "websocket":
                await send({"type": "websocket.close"})
                return
            if wait:
                await _refuse(send, wait)
                return
        await self._inner(scope, receive, send)

    def _address(self, scope: Scope) -> str:
        """Return who is counted; the proxy itself where it does not tell whom it speaks for."""
        peer = (scope.get("client") or ("",))[0]
        forwarded = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
        return self._proxies.client_address(peer, forwarded.decode("latin-1")) or peer


async def _refuse(send: Send, wait: float) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_BODY)),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"%d" % max(1, int(wait + 0.999))),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})
