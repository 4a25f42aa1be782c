from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import UPSTREAM_SECRET
from tests.support.upstream import ScriptedUpstream

from .held import hold

__all__ = ["hold"]


@pytest.fixture(autouse=True)
def _clean_upstream(upstream: ScriptedUpstream) -> None:
    upstream.clear()


@pytest.fixture(scope="module")
def gateway_seed(upstream: ScriptedUpstream) -> dict[str, list[dict[str, Any]]]:
    return {
        "connections": [
            {
                "slug": "orders",
                "upstream_url": upstream.url,
                "credential": {"kind": "bearer", "secret": UPSTREAM_SECRET},
            }
        ],
        "grants": [
            {"connection": "orders", "group": "sre", "tools": ["*"], "prompts": ["*"], "resources": ["*"]},
            {"connection": "orders", "group": "readers", "tools": ["get_*"]},
        ],
        "guardrails": [
            {"name": "no deletes", "effect": "deny", "methods": ["tools/call"], "names": ["delete_*"], "reason": "ask"},
            {"name": "refunds wait", "effect": "hold", "methods": ["tools/call"], "names": ["refund_*"]},
        ],
        "masking_patterns": [{"name": "email", "pattern": r"[a-z]+@[a-z]+\.[a-z]{2,}"}],
    }
