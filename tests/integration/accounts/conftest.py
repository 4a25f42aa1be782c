"""Fixtures of the tests of identity."""

from __future__ import annotations

import pytest

from tests.support.scim import Provisioner, provider


@pytest.fixture
def scim(db):
    """A provisioning service with a provider of its own."""
    return Provisioner(provider())


@pytest.fixture
def ada(scim):
    """A user that it has provisioned."""
    return scim.create_user(userName="ada@acme.example", externalId="00u1", displayName="Ada")
