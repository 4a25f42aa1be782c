"""A conformance-complete MCP server: `python tests/conformance/upstream.py PORT` serves both eras on /mcp.

Every tool, prompt and resource is one that a scenario of `@modelcontextprotocol/conformance` asks for by name, and
answers as that scenario expects. The SDK's low-level server does the protocol, so that a difference between this
server directly and through the gateway is the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server import Server
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

Context = ServerRequestContext[Any]
Content = list[types.ContentBlock]
ToolResult = types.CallToolResult | types.InputRequiredResult
ToolHandler = Callable[[Context, types.CallToolRequestParams], Awaitable[Content | ToolResult]]
JsonSchema = dict[str, Any]

PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SILENT_WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
STEP_SECONDS = 0.05
RETRY_MILLISECONDS = 100
STATE_KEY = b"conformance-upstream-request-state-key-0"
CACHED: tuple[CacheableMethod, ...] = (
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)
NO_ARGUMENTS: JsonSchema = {"type": "object"}

bus = InMemorySubscriptionBus()
tools: dict[str, tuple[ToolHandler, types.Tool]] = {}


def tool(name: str, schema: JsonSchema = NO_ARGUMENTS) -> Callable[[ToolHandler], ToolHandler]:
    """Register the decorated handler as the tool `name`."""

    def register(handler: ToolHandler) -> ToolHandler:
        tools[name] = handler, types.Tool(name=name, description=name, input_schema=schema)
        return handler

    return register


# What answers and questions are made of.


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PIXEL_PNG, mime_type="image/png")


def embedded(uri: str, value: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    return types.EmbeddedResource(type="resource", resource=contents)


def required_object(**properties: str) -> JsonSchema:
    """Return the schema of an object whose properties, given as name and JSON type, are all required."""
    typed = {name: {"type": json_type} for name, json_type in properties.items()}
    return {"type": "object", "properties": typed, "required": list(properties)}


def form(message: str, **properties: str) -> types.ElicitRequest:
    """Return a question to the client's user, for the answers of an input-required result."""
    schema = required_object(**properties)
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def completion(question: str) -> types.CreateMessageRequest:
    """Return a question to the client's model, for the answers of an input-required result."""
    message = types.SamplingMessage(role="user", content=text(question))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(max_tokens=64, messages=[message]))


def needs(state: str | None = None, **requests: types.InputRequest) -> types.InputRequiredResult:
    """Return "ask these, then call again with `state`"."""
    return types.InputRequiredResult(input_requests=requests or None, request_state=state)


def answers(params: types.CallToolRequestParams | types.GetPromptRequestParams) -> dict[str, Any]:
    return dict(params.input_responses or {})


# Tools of both eras that answer with content.

FIXED_CONTENT: dict[str, Content] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [image()],
    "test_audio_content": [types.AudioContent(type="audio", data=SILENT_WAV, mime_type="audio/wav")],
    "test_embedded_resource": [embedded("test://embedded-resource", "This is an embedded resource content.")],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ],
}


def answer_with(content: Content) -> ToolHandler:
    async def handler(context: Context, params: types.CallToolRequestParams) -> Content:
        return content

    return handler


for fixed_name, fixed_content in FIXED_CONTENT.items():
    tool(fixed_name)(answer_with(fixed_content))


@tool("test_error_handling")
async def fail(context: Context, params: types.CallToolRequestParams) -> ToolResult:
    return types.CallToolResult(content=[text("This tool intentionally returns an error for testing")], is_error=True)


@tool("test_tool_with_logging")
async def log_steps(context: Context, params: types.CallToolRequestParams) -> Content:
    for step in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message("info", step, related_request_id=context.request_id)
        await asyncio.sleep(STEP_SECONDS)
    return [text("logged")]


@tool("test_logging_tool")
async def log_once(context: Context, params: types.CallToolRequestParams) -> Content:
    await context.session.send_log_message("info", "only with an opt-in", related_request_id=context.request_id)
    return [text("ok")]


@tool("test_tool_with_progress")
async def report_steps(context: Context, params: types.CallToolRequestParams) -> Content:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(STEP_SECONDS)
    return [text("done")]


@tool(
    "test_x_mcp_header",
    {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
)
async def name_region(context: Context, params: types.CallToolRequestParams) -> Content:
    return [text(f"region={(params.arguments or {}).get('region')}")]


@tool(
    "json_schema_2020_12_tool",
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def accept_contact(context: Context, params: types.CallToolRequestParams) -> Content:
    return [text("ok")]


@tool("test_trigger_tool_change")
async def change_tools(context: Context, params: types.CallToolRequestParams) -> Content:
    await bus.publish(ToolsListChanged())
    return [text("changed")]


@tool("test_trigger_prompt_change")
async def change_prompts(context: Context, params: types.CallToolRequestParams) -> Content:
    await bus.publish(PromptsListChanged())
    return [text("changed")]


# Tools of the legacy era that ask the client in the middle of a call, or lose its stream.


@tool("test_sampling", required_object(prompt="string"))
async def ask_model(context: Context, params: types.CallToolRequestParams) -> Content:
    question = types.SamplingMessage(role="user", content=text((params.arguments or {})["prompt"]))
    answer = await context.session.create_message(
        messages=[question], max_tokens=100, related_request_id=context.request_id
    )
    return [text(f"LLM response: {getattr(answer.content, 'text', '')}")]


async def ask_user(
    context: Context, message: str, properties: JsonSchema, required: tuple[str, ...] = ()
) -> list[types.ContentBlock]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
    return [text(f"{message}: action={answer.action}, content={json.dumps(answer.content)}")]


@tool("test_elicitation", required_object(message="string"))
async def ask_anything(context: Context, params: types.CallToolRequestParams) -> Content:
    properties = {"response": {"type": "string", "description": "User's response"}}
    return await ask_user(context, (params.arguments or {})["message"], properties, ("response",))


@tool("test_elicitation_sep1034_defaults")
async def ask_with_defaults(context: Context, params: types.CallToolRequestParams) -> Content:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await ask_user(context, "Defaults", properties)


@tool("test_elicitation_sep1330_enums")
async def ask_with_enums(context: Context, params: types.CallToolRequestParams) -> Content:
    options = ["option1", "option2", "option3"]
    titled = [{"const": letter, "title": letter.upper()} for letter in "abc"]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await ask_user(context, "Enums", properties)


@tool("test_reconnection")
async def lose_stream(context: Context, params: types.CallToolRequestParams) -> Content:
    if context.close_sse_stream:
        await context.close_sse_stream()
    await asyncio.sleep(0.2)
    return [text("Reconnection test completed")]


# Tools of the modern era that answer with an input-required result.


@tool("test_input_required_result_elicitation")
async def greet(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    answer = answers(params).get("user_name")
    if not isinstance(answer, types.ElicitResult):
        return needs(user_name=form("What is your name?", name="string"))
    return [text(f"Hello, {(answer.content or {}).get('name')}!")]


@tool("test_streaming_elicitation")
async def ask_within_stream(context: Context, params: types.CallToolRequestParams) -> ToolResult:
    await context.session.report_progress(1, 2)
    return needs(user_name=form("name?", name="string"))


@tool("test_input_required_result_sampling")
async def ask_capital(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    answer = answers(params).get("capital_question")
    return (
        [text(answer.content.text)] if answer else needs(capital_question=completion("What is the capital of France?"))
    )


@tool("test_input_required_result_list_roots")
async def count_roots(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    answer = answers(params).get("client_roots")
    return [text(f"{len(answer.roots)} roots")] if answer else needs(client_roots=types.ListRootsRequest())


@tool("test_input_required_result_request_state")
async def keep_state(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    if params.request_state == "st" and "confirm" in answers(params):
        return [text("state-ok")]
    return needs("st", confirm=form("Please confirm", ok="boolean"))


@tool("test_input_required_result_multiple_inputs")
async def ask_all(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    if {"user_name", "greeting", "client_roots"} <= set(answers(params)):
        return [text("all inputs received")]
    return needs(
        "m",
        user_name=form("name?", name="string"),
        greeting=completion("Generate a greeting"),
        client_roots=types.ListRootsRequest(),
    )


@tool("test_input_required_result_multi_round")
async def ask_twice(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    state, given = params.request_state or "", answers(params)
    if state.startswith("2:") and "step2" in given:
        return [text(f"{state[2:]} likes {given['step2'].content.get('color')}")]
    if state == "1" and "step1" in given:
        return needs(f"2:{given['step1'].content.get('name')}", step2=form("Step 2: color?", color="string"))
    return needs("1", step1=form("Step 1: name?", name="string"))


@tool("test_input_required_result_tampered_state")
async def guard_state(context: Context, params: types.CallToolRequestParams) -> Content | ToolResult:
    return [text("state-ok")] if params.request_state else needs("t", confirm=form("Please confirm", ok="boolean"))


@tool("test_input_required_result_capabilities")
async def ask_what_is_possible(context: Context, params: types.CallToolRequestParams) -> ToolResult:
    capabilities = context.session.client_capabilities
    requests: dict[str, types.InputRequest] = {}
    if capabilities and capabilities.sampling is not None:
        requests["sample"] = completion("hi")
    if capabilities and capabilities.elicitation is not None:
        requests["ask"] = form("name?", name="string")
    return needs("c", **requests)


@tool("test_missing_capability")
async def require_sampling(context: Context, params: types.CallToolRequestParams) -> Content:
    capabilities = context.session.client_capabilities
    if not (capabilities and capabilities.sampling is not None):
        detail: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is required", detail)
    return [text("ok")]


# The handlers of the methods.


async def list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[definition for _, definition in tools.values()])


async def call_tool(context: Context, params: types.CallToolRequestParams) -> ToolResult:
    if params.name not in tools:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    result = await tools[params.name][0](context, params)
    return types.CallToolResult(content=result) if isinstance(result, list) else result


TEXT_RESOURCES = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "Watched resource content",
}
BINARY_RESOURCE = "test://static-binary"


async def list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    listed = [types.Resource(uri=uri, name=uri.split("//")[1], mime_type="text/plain") for uri in TEXT_RESOURCES]
    listed.append(types.Resource(uri=BINARY_RESOURCE, name="static-binary", mime_type="image/png"))
    return types.ListResourcesResult(resources=listed)


async def list_templates(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="template", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    contents: types.TextResourceContents | types.BlobResourceContents
    if uri in TEXT_RESOURCES:
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=TEXT_RESOURCES[uri])
    elif uri == BINARY_RESOURCE:
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PIXEL_PNG)
    elif uri.startswith("test://template/") and uri.endswith("/data"):
        number = uri.split("/")[3]
        value = json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=value)
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[contents])


PROMPTS: dict[str, tuple[list[str], Callable[[dict[str, str]], Content]]] = {
    "test_simple_prompt": ([], lambda given: [text("This is a simple prompt for testing.")]),
    "test_prompt_with_arguments": (
        ["arg1", "arg2"],
        lambda given: [text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")],
    ),
    "test_prompt_with_embedded_resource": (
        ["resourceUri"],
        lambda given: [
            embedded(given["resourceUri"], "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
    ),
    "test_prompt_with_image": ([], lambda given: [image(), text("Please analyze the image above.")]),
}
ASKING_PROMPT = "test_input_required_result_prompt"


async def list_prompts(context: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    wanted = {name: names for name, (names, _) in PROMPTS.items()} | {ASKING_PROMPT: []}
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=name,
                arguments=[types.PromptArgument(name=argument, required=True) for argument in names] or None,
            )
            for name, names in wanted.items()
        ]
    )


async def get_prompt(
    context: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    if params.name == ASKING_PROMPT:
        answer = answers(params).get("user_context")
        if not answer:
            return needs(user_context=form("Which context?", context="string"))
        content: Content = [text(str(answer.content))]
    elif params.name in PROMPTS:
        content = PROMPTS[params.name][1](params.arguments or {})
    else:
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=part) for part in content])


async def complete(context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))


async def accept(context: Context, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


def schema_of(name: str) -> JsonSchema | None:
    return tools[name][1].input_schema if name in tools else None


class KeptEvents(EventStore):
    """Every event of every stream, in memory, so that a legacy client can resume a stream it lost."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        """Keep the event and return its id, the position from 1."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what followed `last_event_id` on its stream, and return that stream; None for an unknown id."""
        if not last_event_id.isdigit() or not 0 < int(last_event_id) <= len(self._events):
            return None
        position = int(last_event_id)
        wanted = self._events[position - 1][0]
        for number, (stream_id, message) in enumerate(self._events[position:], position + 1):
            if stream_id == wanted and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return wanted


def conformance_server() -> Server[Any]:
    """Return the server with every handler, cache hints, and request states sealed against tampering."""
    server = Server(
        "conformance-upstream",
        version="1.0",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=accept,
        on_unsubscribe_resource=accept,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=accept,
        on_subscriptions_listen=ListenHandler(bus),
        get_tool_input_schema=schema_of,
        cache_hints={method: CacheHint(ttl_ms=1000, scope="private") for method in CACHED},
    )
    security = RequestStateSecurity(keys=[STATE_KEY])
    server.middleware.append(RequestStateBoundary(security, default_audience="conformance-upstream"))
    return server


def main() -> None:
    """Serve until the process is ended."""
    # Several legacy methods are deprecated in the SDK; the legacy era is what is tested here.
    warnings.simplefilter("ignore")
    app = conformance_server().streamable_http_app(
        streamable_http_path="/mcp", event_store=KeptEvents(), retry_interval=RETRY_MILLISECONDS
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        # httptools leaves the white space after a header's value, for which the SDK refuses a legal Mcp-Name.
        http="h11",
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
