"""Groups that were provisioned stand in only for groups that a token does not tell."""

from __future__ import annotations

import pytest

from accounts.directory_groups import groups_of
from accounts.token_values import Identity

DIRECTORY = {("https://idp.example", "alice"): frozenset({"sre"}), ("https://idp.example", "carol"): frozenset()}


def identity(subject: str, groups: frozenset[str] | None, issuer: str = "https://idp.example", *roles: str) -> Identity:
    return Identity(
        issuer=issuer,
        subject=subject,
        groups=groups,
        expires_at=0,
        display_name="",
        email="alice@example.org",
        client_id="",
        token_digest=b"",
        provider_id="p",
        token_id="",
        audiences=frozenset(),
        roles=frozenset(roles),
    )


@pytest.mark.parametrize("known", [frozenset(), frozenset({"dba"})])
def test_groups_of_the_token_are_not_widened(known: frozenset[str]) -> None:
    assert groups_of(DIRECTORY, identity("alice", known)) == known


def test_unknown_groups_are_taken_from_the_directory_with_the_roles_of_the_token() -> None:
    assert groups_of(DIRECTORY, identity("alice", None)) == {"sre"}
    assert groups_of(DIRECTORY, identity("alice", None, "https://idp.example", "reader")) == {"sre", "reader"}


def test_a_provisioned_user_without_groups_has_none_and_a_stranger_s_stay_unknown() -> None:
    assert groups_of(DIRECTORY, identity("carol", None)) == frozenset()
    assert groups_of(DIRECTORY, identity("bob", None)) is None


def test_the_same_subject_of_another_issuer_is_a_stranger() -> None:
    assert groups_of(DIRECTORY, identity("alice", None, "https://other.example")) is None
