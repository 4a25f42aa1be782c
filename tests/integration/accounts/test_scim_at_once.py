"""Requests to SCIM at once: what is left is what one after the other would leave."""

from __future__ import annotations

import threading

import pytest
from django.db import connections as database

from accounts.models import Group, Principal, ScimUser
from accounts.scim import schemas
from tests.support.scim import Provisioner, provider, stopped

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*actions):
    """Run the actions in threads of their own, at once, and return what each returned or raised."""
    outcomes = [None] * len(actions)
    gate = threading.Barrier(len(actions))

    def run(place, action):
        try:
            gate.wait(timeout=10)
            outcomes[place] = action()
        except Exception as error:
            outcomes[place] = error
        finally:
            database.close_all()

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return outcomes


def sender(scim, method, path, body):
    """Return an action that sends one request with a client of its own and returns the status."""
    own = Provisioner(scim.provider, owner=scim.owner, token=scim.token)

    def action():
        own.send(method, path, body)
        return own.answer.status_code

    return action


def operations(*listed):
    return {"schemas": [schemas.PATCH], "Operations": list(listed)}


def test_patches_at_once_leave_what_one_after_the_other_would():
    scim = Provisioner(provider())
    user = scim.create_user(userName="ada", externalId="00u1")
    people = [scim.create_user(userName=f"u{n}", externalId=f"e{n}")["id"] for n in range(6)]
    made = scim.create_group(displayName="sre", members=[{"value": people[0]}])
    path, group = f"Users/{user['id']}", f"Groups/{made['id']}"
    actions = [
        sender(scim, "PATCH", path, operations({"op": "replace", "path": name, "value": f"{name}-1"}))
        for name in ("title", "nickName", "locale")
    ]
    actions += [
        sender(scim, "PATCH", group, operations({"op": "add", "path": "members", "value": [{"value": person}]}))
        for person in people[1:]
    ]
    actions.append(
        sender(scim, "PATCH", group, operations({"op": "remove", "path": f'members[value eq "{people[0]}"]'}))
    )
    assert at_once(*actions) == [200] * 3 + [204] * 6
    after = scim.get(path)
    assert [after[name] for name in ("title", "nickName", "locale")] == ["title-1", "nickName-1", "locale-1"]
    assert scim.members(made["id"]) == set(people[1:])


def test_of_users_created_at_once_under_one_name_one_is():
    scim = Provisioner(provider())
    bodies_ = [{"schemas": [schemas.USER], "userName": "ada", "externalId": f"e{n}"} for n in range(4)]
    assert sorted(at_once(*[sender(scim, "POST", "Users", body) for body in bodies_])) == [201, 409, 409, 409]
    groups = [{"schemas": [schemas.GROUP], "displayName": "sre"} for _ in range(4)]
    assert sorted(at_once(*[sender(scim, "POST", "Groups", body) for body in groups])) == [201, 409, 409, 409]
    assert (ScimUser.objects.count(), Principal.objects.count(), Group.objects.count()) == (1, 1, 1)


def test_whatever_comes_last_of_activations_at_once_lock_and_state_agree():
    scim = Provisioner(provider())
    user = scim.create_user(userName="ada", externalId="00u1")
    states = [False, True] * 4
    actions = [
        sender(scim, "PATCH", f"Users/{user['id']}", operations({"op": "replace", "value": {"active": state}}))
        for state in states
    ]
    assert at_once(*actions) == [200] * len(states)
    assert stopped() == (0 if scim.get(f"Users/{user['id']}")["active"] else 1)
