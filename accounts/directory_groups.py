"""Groups from the directory, for tokens that do not tell them: what was provisioned over SCIM. Pure, and never a fetch.

A token may say that it lists no groups (Microsoft Entra ID beyond 200 of them, Google always). Where the provider's row
says so, the groups that the provider itself provisioned are taken instead; `_claim_sources` is never called.
"""

from __future__ import annotations

from collections.abc import Mapping

from .token_values import Identity

Directory = Mapping[tuple[str, str], frozenset[str]]
"""(issuer, subject) to the names of groups, of active users of active providers that use their directory; no one else.

A user who is in no group has an empty set, which is known; who is not there is unknown.
"""


def groups_of(directory: Directory, identity: Identity) -> frozenset[str] | None:
    """Return the groups of `identity`: those of its token, else the provisioned ones with its roles, else None."""
    if identity.groups is not None:
        return identity.groups
    provisioned = directory.get((identity.issuer, identity.subject))
    return None if provisioned is None else provisioned | identity.roles
