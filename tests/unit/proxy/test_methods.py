import mcp_types.methods as official
import pytest

from proxy.protocol.messages import LEGACY_VERSIONS, MODERN_VERSION, SUPPORTED
from proxy.protocol.methods import CLASSES, METHODS, NAME_MEMBERS, SERVER_REQUEST_CAPABILITY, MethodClass

# What the official package leaves out on purpose: the experimental tasks of 2025-11-25 and the extension of 2026-07-28.
TASKS = {
    ("client_requests", "2025-11-25"): {"tasks/get", "tasks/result", "tasks/list", "tasks/cancel"},
    ("server_requests", "2025-11-25"): {"tasks/get", "tasks/result", "tasks/list", "tasks/cancel"},
    ("client_notifications", "2025-11-25"): {"notifications/tasks/status"},
    ("server_notifications", "2025-11-25"): {"notifications/tasks/status"},
    ("client_requests", "2026-07-28"): {"tasks/get", "tasks/update", "tasks/cancel"},
    ("server_notifications", "2026-07-28"): {"notifications/tasks"},
}
TABLES = {
    "client_requests": official.CLIENT_REQUESTS,
    "client_notifications": official.CLIENT_NOTIFICATIONS,
    "server_requests": official.SERVER_REQUESTS,
    "server_notifications": official.SERVER_NOTIFICATIONS,
}


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("direction", TABLES)
def test_the_table_of_each_revision_is_the_official_one_and_the_tasks(version, direction):
    expected = {method for method, of in TABLES[direction] if of == version}
    assert getattr(METHODS[version], direction) == expected | TASKS.get((direction, version), set())


def test_every_supported_revision_has_a_table():
    assert tuple(METHODS) == SUPPORTED == (*LEGACY_VERSIONS, MODERN_VERSION)


def test_every_request_method_of_every_revision_has_an_explicit_class():
    methods = {method for table in METHODS.values() for method in table.client_requests}
    assert methods == set(CLASSES)
    assert {CLASSES[method] for method in methods} == set(MethodClass)


def test_everything_an_upstream_may_ask_for_has_a_capability():
    asked = {method for table in METHODS.values() for method in table.server_requests}
    assert {method for method in asked if method != "ping" and not method.startswith("tasks/")} == set(
        SERVER_REQUEST_CAPABILITY
    )


def test_only_methods_that_name_something_have_a_routing_name():
    assert set(NAME_MEMBERS) <= set(CLASSES)
    for method, member in official_names().items():
        assert NAME_MEMBERS[method] == member


def official_names():
    from mcp.shared.inbound import NAME_BEARING_METHODS

    return NAME_BEARING_METHODS
