"""Anthropic's Messages API of the scripted upstream, with the words and counts of its chats."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from proxy.scripted_upstream.models import AnswerShape, UsageAt
from proxy.scripted_upstream.replies import Said, pieces
from proxy.scripted_upstream.requests import BadRequest
from proxy.scripted_upstream.shapes import Event, JSONObject, Tokens

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_PLACEHOLDER = 1  # the output that the first event states, as the vendor does


class _MessageAsked(msgspec.Struct):
    """The parameters that change an answer."""

    model: str
    messages: list[dict[str, object]] = []
    system: str | list[dict[str, object]] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    tools: list[dict[str, object]] = []
    service_tier: str | None = None


def as_chat(body: bytes) -> bytes:
    """The body of a chat that asks the same, or BadRequest with an upstream's complaint."""
    try:
        asked = msgspec.json.decode(body, type=_MessageAsked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Could not read the request body: {error}") from error
    if not asked.messages:
        raise BadRequest("messages: at least one message is required", "messages")
    messages = [message for given in asked.messages for message in _messages(given)]
    if asked.system:
        messages.insert(0, {"role": "system", "content": _text(asked.system)})
    chat: JSONObject = {
        "messages": messages,
        "max_completion_tokens": asked.max_tokens,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": tool.get("name"),
                    "parameters": tool.get("input_schema") or {},
                },
            }
            for tool in asked.tools
            if tool.get("type") in (None, "custom")
        ],
        "model": asked.model,
        "stream": asked.stream,
    }
    return msgspec.json.encode({k: v for k, v in chat.items() if v not in (None, [])})


def _messages(given: dict[str, object]) -> list[JSONObject]:
    """One message as those of a chat: what a tool gave back is one of its own there."""
    content = given.get("content")
    blocks = content if isinstance(content, list) else []
    results = [block for block in blocks if block.get("type") == "tool_result"]
    found: list[JSONObject] = [
        {"role": "tool", "content": _text(block.get("content")), "tool_call_id": "toolu"}
        for block in results
    ]
    if len(results) < len(blocks) or isinstance(content, str):
        found.append({"role": given.get("role", "user"), "content": _text(content)})
    return found


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content)
    return content if isinstance(content, str) else ""


class MessageShaper:
    """Writes one answer as Anthropic's Messages API does."""

    def __init__(self, model: str, shape: AnswerShape, answer_id: str) -> None:
        self._model = model
        self._shape = shape
        self._id = answer_id

    def whole(self, said: Said, tokens: Tokens) -> JSONObject:
        """The JSON answer."""
        message = self._message(_blocks(said), _REASONS.get(said.finish_reason, "end_turn"))
        usage = self._usage(tokens, tokens.output)
        return message if usage is None else message | {"usage": usage}

    def events(self, said: Said, tokens: Tokens) -> Iterator[Event]:
        """The events of a stream."""
        message = self._message([], None)
        first = self._usage(tokens, _PLACEHOLDER)
        begun = message if first is None else message | {"usage": first}
        yield Event(data={"type": "message_start", "message": begun}, usage=first)
        yield Event(data={"type": "ping"})
        for index, block in enumerate(_blocks(said)):
            yield from _block_events(index, block, said)
        usage = None if first is None else {"output_tokens": tokens.output}
        delta: JSONObject = {
            "type": "message_delta",
            "delta": {"stop_reason": _REASONS.get(said.finish_reason, "end_turn")},
        }
        stated = self._usage(tokens, tokens.output)
        yield Event(data=delta if usage is None else delta | {"usage": usage}, usage=stated)
        yield Event(data={"type": "message_stop"})

    def _message(self, content: list[JSONObject], reason: str | None) -> JSONObject:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._shape.serves or self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
        }

    def _usage(self, tokens: Tokens, output: int) -> JSONObject | None:
        if self._shape.usage_at is UsageAt.NEVER:
            return None
        return {
            "input_tokens": tokens.input - tokens.cached,
            "cache_read_input_tokens": tokens.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": output,
            "service_tier": "standard",
        }


def _blocks(said: Said) -> list[JSONObject]:
    blocks: list[JSONObject] = []
    if said.reasoning:
        text = "".join(said.reasoning)
        blocks.append({"type": "thinking", "thinking": text, "signature": "EqoBCkgI"})
    if said.pieces:
        blocks.append({"type": "text", "text": said.text})
    blocks += [
        {
            "type": "tool_use",
            "id": call.id.replace("call", "toolu"),
            "name": call.name,
            "input": msgspec.json.decode(call.arguments),
        }
        for call in said.tool_calls
    ]
    return blocks


def _block_events(index: int, block: JSONObject, said: Said) -> Iterator[Event]:
    """What a stream says of one block, a piece of its text an event."""
    kind = block["type"]
    empty: JSONObject
    if kind == "tool_use":
        empty, delta, member = {"input": {}}, "input_json_delta", "partial_json"
        written = msgspec.json.encode(block["input"]).decode()
        texts = pieces(written)
    elif kind == "thinking":
        empty, delta, member = {"thinking": "", "signature": ""}, "thinking_delta", "thinking"
        texts = said.reasoning
    else:
        empty, delta, member = {"text": ""}, "text_delta", "text"
        texts = said.pieces
    yield Event(
        data={"type": "content_block_start", "index": index, "content_block": block | empty},
        text=str(block.get("name", "")),
    )
    for text in texts:
        data: JSONObject = {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": delta, member: text},
        }
        yield Event(data=data, text=text)
    yield Event(data={"type": "content_block_stop", "index": index})
