import json

import pytest

from proxy.protocol.headers import HeaderRefused
from proxy.protocol.json_strict import JsonRefused
from proxy.protocol.messages import Era, ProtocolRefused, Request, client_capabilities, refusal
from proxy.protocol.methods import MethodClass

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def request(method="tools/call", params=None, era=Era.LEGACY, meta=None):
    return Request(1, method, params or {}, era, "2025-11-25", meta=meta or {})


def test_a_refusal_is_a_json_rpc_error_for_its_request():
    refused = ProtocolRefused(400, -32020, "name_header_mismatch", "Mismatch", id="é", data={"a": 1})
    assert json.loads(refused.body) == {
        "jsonrpc": "2.0",
        "id": "é",
        "error": {"code": -32020, "message": "Mismatch", "data": {"a": 1}},
    }


def test_a_dropped_notification_has_no_body():
    assert ProtocolRefused(202, -32601, "unknown_notification").body == b""


def test_unreadable_json_is_a_parse_error():
    refused = refusal(JsonRefused("json_bom"))
    assert (refused.status, refused.code, refused.reason, refused.id) == (400, -32700, "json_bom", None)


@pytest.mark.parametrize(("status", "code"), [(400, -32020), (415, -32600), (431, -32600)])
def test_unreadable_headers_keep_their_status_and_code(status, code):
    refused = refusal(HeaderRefused("header_duplicated", status, code))
    assert (refused.status, refused.code, refused.reason) == (status, code, "header_duplicated")


def test_arguments_are_never_missing():
    assert request(params={"arguments": {"a": 1}}).arguments == {"a": 1}
    assert request(params={"arguments": None}).arguments == {}
    assert request().arguments == {}


def test_a_request_knows_the_class_of_its_method():
    assert request().method_class is MethodClass.TOOL
    assert request("ping").method_class is MethodClass.LIFECYCLE


def test_capabilities_are_where_the_era_has_them():
    asked = {"sampling": {}}
    assert client_capabilities(request(era=Era.MODERN, meta={CAPABILITIES: asked})) == asked
    assert client_capabilities(request("initialize", {"capabilities": asked})) == asked
    assert client_capabilities(request("tools/call", {"capabilities": asked})) == {}
    assert client_capabilities(request(meta={CAPABILITIES: asked})) == {}
    assert client_capabilities(request(era=Era.MODERN)) == {}
    assert client_capabilities(request("initialize", {"capabilities": [1]})) == {}
