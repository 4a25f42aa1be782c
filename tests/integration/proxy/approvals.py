"""How the tests of held calls decide: in the gateway's database, through the services."""

from __future__ import annotations

from typing import Any

from tests.support import seeding
from tests.support.gateway import LiveGateway
from tests.support.servers import wait_until


def pending(gateway: LiveGateway, **where: Any) -> dict[str, Any]:
    """Return the newest request that waits, once there is one."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = gateway.sql(
            "SELECT * FROM policies_approvalrequest WHERE state = 'held' ORDER BY opened_at DESC LIMIT 1"
        )
        return bool(found)

    wait_until(is_there, seconds=5, what="a request for approval")
    return found[0]


def decide(gateway: LiveGateway, code: str, *, approve: bool = True, by: str = "grace", **values: Any) -> None:
    """Approve or deny the request as the console user `by`, who is made when there is none."""
    entry = {"code": code, "by": by, "approve": approve, "reason": "looked at it", **values}
    seeding.fill(gateway.environment, {"decisions": [entry]})


def request(gateway: LiveGateway, code: str) -> dict[str, Any]:
    """Return the request as it is now."""
    [row] = gateway.sql("SELECT * FROM policies_approvalrequest WHERE code = %s", code)
    return row
