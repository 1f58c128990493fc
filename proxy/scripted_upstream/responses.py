"""The Responses API of the scripted upstream: the words and counts are those of its chats."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from proxy.scripted_upstream.models import AnswerShape, UsageAt
from proxy.scripted_upstream.replies import Said, pieces
from proxy.scripted_upstream.requests import BadRequest
from proxy.scripted_upstream.shapes import CREATED_S, SERVED_TIERS, Event, JSONObject, Tokens

_PART_TYPES = {"input_text": "text", "output_text": "text", "input_image": "image_url"}
_SAME = ("model", "stream", "tool_choice", "service_tier", "top_logprobs")


class _Asked(msgspec.Struct):
    """The parameters that change an answer."""

    model: str
    input: str | list[dict[str, object]] = ""
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[dict[str, object]] = []
    tool_choice: str | dict[str, object] | None = None
    service_tier: str | None = None
    reasoning: dict[str, object] | None = None


def as_chat(body: bytes) -> bytes:
    """The body of a chat that asks the same, or BadRequest with an upstream's complaint."""
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Could not read the request body: {error}") from error
    if not asked.input:
        raise BadRequest("Missing required parameter: 'input'.", "input")
    given = asked.input
    one: JSONObject = {"role": "user", "content": given}
    items = [one] if isinstance(given, str) else given
    messages = [message for item in items for message in _messages(item)]
    if asked.instructions:
        messages.insert(0, {"role": "system", "content": asked.instructions})
    chat: JSONObject = {
        "messages": messages,
        "max_completion_tokens": asked.max_output_tokens,
        "reasoning_effort": (asked.reasoning or {}).get("effort"),
        "tools": [
            {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
            for tool in asked.tools
            if tool.get("type") == "function"
        ],
        "model": asked.model,
        "stream": asked.stream,
        "service_tier": asked.service_tier,
        "tool_choice": _choice(asked.tool_choice),
    }
    return msgspec.json.encode({k: v for k, v in chat.items() if v not in (None, [])})


def _choice(choice: str | dict[str, object] | None) -> object:
    if isinstance(choice, dict):
        return {"type": "function", "function": {"name": choice.get("name", "")}}
    return choice


def _messages(item: dict[str, object]) -> list[JSONObject]:
    """One item of the input as messages of a chat; what a chat has no place for is left out."""
    kind = item.get("type", "message")
    if kind == "function_call":
        function = {"name": item.get("name", ""), "arguments": item.get("arguments", "")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if kind == "function_call_output":
        return [
            {"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")}
        ]
    if kind != "message":
        return []
    content = item.get("content")
    if isinstance(content, list):
        content = [
            {"type": _PART_TYPES.get(part.get("type", ""), "file"), "text": part.get("text", "")}
            for part in content
        ]
    return [{"role": item.get("role", "user"), "content": content}]


class ResponseShaper:
    """Writes one answer as OpenAI's Responses API does."""

    def __init__(self, model: str, tier: str | None, shape: AnswerShape, answer_id: str) -> None:
        self._model = model
        self._tier = tier
        self._shape = shape
        self._id = answer_id

    def whole(self, said: Said, tokens: Tokens) -> JSONObject:
        """The JSON answer."""
        return self._response(self._status(said), self._items(said), said, tokens)

    def events(self, said: Said, tokens: Tokens) -> Iterator[Event]:
        """The events of a stream, each with its name and its number."""
        for number, event in enumerate(self._steps(said, tokens)):
            named: JSONObject = {"type": event.data["type"], "sequence_number": number}
            yield msgspec.structs.replace(event, data=named | event.data)

    def _steps(self, said: Said, tokens: Tokens) -> Iterator[Event]:
        for name in ("created", "in_progress"):
            begun = self._response("in_progress", [], None, None)
            yield Event(data={"type": f"response.{name}", "response": begun})
        items = self._items(said)
        for at, item in enumerate(items):
            yield from _item_events(at, item, said)
        status = self._status(said)
        whole = self._response(status, items, said, tokens)
        stated = whole["usage"]
        yield Event(
            data={"type": f"response.{status}", "response": whole},
            usage=stated if isinstance(stated, dict) else None,
        )

    def _items(self, said: Said) -> list[JSONObject]:
        items: list[JSONObject] = []
        suffix = self._id.removeprefix("resp_")
        if said.reasoning:
            text = "".join(said.reasoning)
            items.append(
                {
                    "id": f"rs_{suffix}",
                    "type": "reasoning",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": text}],
                }
            )
        for number, call in enumerate(said.tool_calls):
            items.append(
                {
                    "id": f"fc_{suffix}_{number}",
                    "type": "function_call",
                    "call_id": call.id,
                    "name": call.name,
                    "arguments": call.arguments,
                    "status": "completed",
                }
            )
        if said.pieces or not items:
            part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
            items.append(
                {
                    "id": f"msg_{suffix}",
                    "type": "message",
                    "role": "assistant",
                    "content": [part],
                    "status": "completed",
                }
            )
        return items

    def _status(self, said: Said) -> str:
        return "incomplete" if said.finish_reason in ("length", "content_filter") else "completed"

    def _response(
        self, status: str, items: list[JSONObject], said: Said | None, tokens: Tokens | None
    ) -> JSONObject:
        reason = None
        if said is not None and status == "incomplete":
            length = said.finish_reason == "length"
            reason = {"reason": "max_output_tokens" if length else "content_filter"}
        tier = "auto" if tokens is None else SERVED_TIERS.get(self._tier or "auto", self._tier)
        return {
            "id": self._id,
            "object": "response",
            "created_at": CREATED_S,
            "status": status,
            "error": None,
            "incomplete_details": reason,
            "instructions": None,
            "metadata": {},
            "model": self._shape.serves or self._model,
            "output": items,
            "parallel_tool_calls": True,
            "service_tier": tier,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": self._usage(tokens),
        }

    def _usage(self, tokens: Tokens | None) -> JSONObject | None:
        if tokens is None or self._shape.usage_at is UsageAt.NEVER:
            return None
        return {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        }


def _item_events(at: int, item: JSONObject, said: Said) -> Iterator[Event]:
    """What a stream says of one item, a piece of its text an event."""
    place: JSONObject = {"item_id": item["id"], "output_index": at}
    call = item["type"] == "function_call"
    empty: JSONObject = {"arguments": ""} if call else {"content": []}
    yield Event(
        data={
            "type": "response.output_item.added",
            "output_index": at,
            "item": item
            | empty
            | ({} if item["type"] == "reasoning" else {"status": "in_progress"}),
        },
        text=str(item["name"]) if call else "",
    )
    if call:
        name, member, texts = "function_call_arguments", "arguments", pieces(str(item["arguments"]))
        part = None
    else:
        reasoning = item["type"] == "reasoning"
        name = "reasoning_text" if reasoning else "output_text"
        member, texts = "text", said.reasoning if reasoning else said.pieces
        place["content_index"] = 0
        part = item["content"][0]  # type: ignore[index]
        yield Event(
            data={"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        )
    more: JSONObject = {"logprobs": []} if name == "output_text" else {}
    for text in texts:
        yield Event(
            data={"type": f"response.{name}.delta", **place, "delta": text, **more}, text=text
        )
    whole: JSONObject = {member: "".join(texts), **({"name": item["name"]} if call else more)}
    yield Event(data={"type": f"response.{name}.done", **place, **whole})
    if part is not None:
        yield Event(data={"type": "response.content_part.done", **place, "part": part})
    yield Event(data={"type": "response.output_item.done", "output_index": at, "item": item})
