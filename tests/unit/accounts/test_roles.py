"""The roles of the console: who may do what, and what nobody may."""

from __future__ import annotations

import pytest

from accounts import roles
from accounts.models import RoleGrant
from accounts.roles import PERMISSIONS, Role, permissions_of

WRITES = ("add_", "change_", "delete_")
OWN = {f"gateway_sessions.{verb}savedview" for verb in WRITES}
"""What everybody writes of their own, and only of their own."""


def writes(role: Role) -> set[str]:
    return {permission for permission in PERMISSIONS[role] if permission.partition(".")[2].startswith(WRITES)}


def test_the_roles_are_those_that_can_be_given() -> None:
    assert [role.value for role in Role] == [str(value) for value in RoleGrant.Role.values]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.APPROVER])
def test_those_who_look_change_nothing_but_their_saved_views(role: Role) -> None:
    assert writes(role) == OWN


def test_everybody_sees_what_a_viewer_sees_and_an_owner_may_what_all_may() -> None:
    for role in Role:
        assert PERMISSIONS[Role.VIEWER] <= PERMISSIONS[role] <= PERMISSIONS[Role.OWNER]


def test_an_operator_decides_nothing_about_trust() -> None:
    trust = ("identityprovider", "samlprovider", "eventtransmitter", "loginclient", "rolegrant", "user", "signingkey")
    for model in (*trust, "apitoken", "consolesession"):
        assert not {f"accounts.{verb}{model}" for verb in WRITES} & PERMISSIONS[Role.OPERATOR]
        assert {f"accounts.{verb}{model}" for verb in WRITES} <= PERMISSIONS[Role.OWNER]


def test_an_operator_configures_connections_and_policy_and_stops_callers() -> None:
    written = {permission.partition("_")[2] for permission in writes(Role.OPERATOR)}
    assert {"connection", "credential", "accessgrant", "guardrail", "maskingpattern", "lock", "group"} <= written


def test_recordings_are_for_auditors_and_owners() -> None:
    may = {role for role in Role if "gateway_sessions.view_event" in PERMISSIONS[role]}
    assert may == {Role.AUDITOR, Role.OWNER}


def test_nobody_writes_evidence() -> None:
    for role in Role:
        for model in roles.EVIDENCE:
            app, _, name = model.partition(".")
            assert not {f"{app}.{verb}{name}" for verb in WRITES} & PERMISSIONS[role]


def test_several_roles_add_up_and_unknown_ones_give_nothing() -> None:
    both = permissions_of(["auditor", "operator"])
    assert both == PERMISSIONS[Role.AUDITOR] | PERMISSIONS[Role.OPERATOR]
    assert permissions_of(["root", "OWNER", "", "view"]) == frozenset()
    assert permissions_of([]) == frozenset()


def test_no_model_is_in_two_lists() -> None:
    lists = [set(roles.CONFIGURATION), set(roles.EVIDENCE), set(roles.NOBODY)]
    assert sum(map(len, lists)) == len(set.union(*lists))
