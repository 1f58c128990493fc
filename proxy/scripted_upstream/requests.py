"""Reads the parameters of a request that change an answer, as the vendors document them.

Unknown ones are ignored.
"""

from __future__ import annotations

import msgspec


class Function(msgspec.Struct, frozen=True):
    """A function a model may call; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, object] = {}
    arguments: str = ""  # in a call made by an earlier answer


class Tool(msgspec.Struct, frozen=True):
    """One entry of `tools`, or a tool call of an earlier assistant message."""

    function: Function | None = None
    type: str = "function"
    id: str | None = None


class Named(msgspec.Struct, frozen=True):
    """An object of which only the name counts."""

    name: str = ""


class ToolChoice(msgspec.Struct, frozen=True):
    """`tool_choice` as an object: this function and no other."""

    function: Named = Named()
    type: str = "function"


class PromptPart(msgspec.Struct, frozen=True):
    """One part of a multimodal message."""

    type: str
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: str
    content: str | list[PromptPart] | None = None
    name: str | None = None
    tool_calls: list[Tool] | None = None
    tool_call_id: str | None = None


class JSONSchema(msgspec.Struct, frozen=True):
    """The schema of a structured answer."""

    name: str = "answer"
    schema: dict[str, object] = {}


class ResponseFormat(msgspec.Struct, frozen=True):
    """`response_format`."""

    type: str = "text"
    json_schema: JSONSchema = JSONSchema()


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options`."""

    include_usage: bool | None = None


class ScriptedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of any of the three POST endpoints."""

    model: str
    messages: list[Message] | None = None
    prompt: str | list[str | int | list[int]] | None = None
    input: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    encoding_format: str | None = None
    dimensions: int | None = None


class BadRequest(Exception):
    """The body cannot be answered; the message says why, as an upstream would."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


def read(body: bytes, endpoint: str) -> ScriptedRequest:
    """The request in `body`, or BadRequest with an upstream's complaint."""
    try:
        request = msgspec.json.decode(body, type=ScriptedRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Could not read the request body: {error}") from error
    needed = {"chat/completions": "messages", "completions": "prompt", "embeddings": "input"}[
        endpoint
    ]
    if getattr(request, needed) in (None, []):
        raise BadRequest(f"Missing required parameter: '{needed}'.", needed)
    if request.n is not None and not 1 <= request.n <= 128:
        raise BadRequest(f"Invalid 'n': {request.n} is not between 1 and 128.", "n")
    if isinstance(request.stop, list) and len(request.stop) > 4:
        raise BadRequest("Invalid 'stop': at most 4 sequences.", "stop")
    if request.stream_options is not None and not request.stream:
        raise BadRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    return request
