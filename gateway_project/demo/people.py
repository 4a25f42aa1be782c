"""Who there is in the demo, and under which names the parts of the demo know each other."""

from __future__ import annotations

from dataclasses import dataclass

AUDIENCE = "wardgate-demo"
"""The `aud` of a demo token whose request names no `resource`."""

CLIENT_ID = "wardgate-console"
"""As which client the console is known here."""

CONNECTION_SLUG = "orders"
TOKEN_SECONDS = 3600

SUPPORT = "support"
ADMINS = "admins"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, or a program, that the demo's identity provider vouches for."""

    subject: str
    name: str
    email: str
    groups: tuple[str, ...]
    is_machine: bool = False


PEOPLE = {
    "alice": Person("demo-alice", "Alice Example", "alice@wardgate.example", (SUPPORT,)),
    "bob": Person("demo-bob", "Bob Example", "bob@wardgate.example", (ADMINS,)),
    "mallory": Person("demo-mallory", "Mallory Example", "mallory@wardgate.example", ()),
    "nightly-report": Person("demo-nightly-report", "Nightly report", "", (SUPPORT,), is_machine=True),
}
"""By user name or client id. Mallory has a valid token and no group, so no grant."""
