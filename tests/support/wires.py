"""Each wire of the registry in its own words: how it is asked, and what its vendor answers.

What a scenario does on one wire it does on all of them, by `WIRES`.
"""

from __future__ import annotations

import abc
import json

Event = dict[str, object]


class Wire(abc.ABC):
    """One wire. `cap`: its member for the longest answer. `asks_usage`: its streams state their
    usage only where they are asked."""

    path: str
    cap: str
    asks_usage = False
    named = True  # whether its events have a line with their name

    @abc.abstractmethod
    def prompt(self, text: str) -> Event:
        """The members that say this to a model."""

    @abc.abstractmethod
    def usage(
        self, input_tokens: int, output_tokens: int, cached: int = 0, thought: int = 0
    ) -> Event:
        """What a vendor states."""

    @abc.abstractmethod
    def whole(self, text: str, usage: Event | None, model: str = "m") -> Event:
        """An answer in one piece; without a usage it states none."""

    @abc.abstractmethod
    def first(self, usage: Event | None, model: str = "m", *, calls: bool = False) -> list[Event]:
        """What a stream begins with, before its text, or the arguments of a call."""

    @abc.abstractmethod
    def piece(self, text: str, model: str = "m", *, calls: bool = False) -> Event:
        """Some text of a stream."""

    @abc.abstractmethod
    def last(self, usage: Event | None, model: str = "m") -> list[Event | str]:
        """What a stream ends with."""

    @abc.abstractmethod
    def error(self, told: Event) -> object:
        """Its type, of an error in this wire's shape; KeyError for another shape."""

    def code(self, told: Event) -> object:
        """Our code of an error."""
        return _member(told, "error")["code"]

    def body(self, text: str, **more: object) -> bytes:
        return json.dumps({"model": "m", **self.prompt(text), **more}).encode()

    def frame(self, event: Event | str) -> bytes:
        """An event as it stands in a stream."""
        data = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if self.named and not isinstance(event, str) else ""
        return f"{name}data: {data}\n\n".encode()

    def stream(
        self, text: str, count: int, usage: Event | None, *, calls: bool = False
    ) -> list[bytes]:
        """The frames of a whole stream that says the text so often."""
        events = [
            *self.first(usage, calls=calls),
            *(self.piece(text, calls=calls) for _ in range(count)),
            *self.last(usage),
        ]
        return [self.frame(event) for event in events]


class Chat(Wire):
    path, cap = "/v1/chat/completions", "max_tokens"
    asks_usage, named = True, False

    def prompt(self, text: str) -> Event:
        return {"messages": [{"role": "user", "content": text}]}

    def usage(
        self, input_tokens: int, output_tokens: int, cached: int = 0, thought: int = 0
    ) -> Event:
        return {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def whole(self, text: str, usage: Event | None, model: str = "m") -> Event:
        said = {"index": 0, "message": {"role": "assistant", "content": text}}
        return _with(
            usage, {"id": "x", "model": model, "choices": [{**said, "finish_reason": "stop"}]}
        )

    def first(self, usage: Event | None, model: str = "m", *, calls: bool = False) -> list[Event]:
        return []

    def piece(self, text: str, model: str = "m", *, calls: bool = False) -> Event:
        call = {"index": 0, "id": "c", "function": {"name": "look_up", "arguments": text}}
        delta: Event = {"tool_calls": [call]} if calls else {"content": text}
        return {"id": "x", "model": model, "choices": [{"index": 0, "delta": delta}]}

    def last(self, usage: Event | None, model: str = "m") -> list[Event | str]:
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        stated: list[Event] = [] if usage is None else [_with(usage, {"id": "x", "choices": []})]
        return [{"id": "x", "choices": [end]}, *stated, "[DONE]"]

    def error(self, told: Event) -> object:
        return _member(told, "error")["type"]


class Responses(Wire):
    path, cap = "/v1/responses", "max_output_tokens"

    def prompt(self, text: str) -> Event:
        return {"input": [{"role": "user", "content": text}]}

    def usage(
        self, input_tokens: int, output_tokens: int, cached: int = 0, thought: int = 0
    ) -> Event:
        return {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens_details": {"reasoning_tokens": thought},
        }

    def whole(self, text: str, usage: Event | None, model: str = "m") -> Event:
        part = {"type": "output_text", "text": text}
        return {
            **self._response(model, "completed"),
            "output": [{"type": "message", "content": [part]}],
            "usage": usage,
        }

    def first(self, usage: Event | None, model: str = "m", *, calls: bool = False) -> list[Event]:
        item = {"type": "function_call", "name": "look_up"} if calls else {"type": "message"}
        return [
            {"type": "response.created", "response": self._response(model, "in_progress")},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
        ]

    def piece(self, text: str, model: str = "m", *, calls: bool = False) -> Event:
        kind = "function_call_arguments" if calls else "output_text"
        return {"type": f"response.{kind}.delta", "output_index": 0, "delta": text}

    def last(self, usage: Event | None, model: str = "m") -> list[Event | str]:
        response = {**self._response(model, "completed"), "usage": usage}
        return [{"type": "response.completed", "response": response}]

    def error(self, told: Event) -> object:
        return _member(told, "error")["type"]

    def _response(self, model: str, status: str) -> Event:
        return {
            "id": f"resp_{model}",
            "object": "response",
            "status": status,
            "error": None,
            "model": model,
            "output": [],
            "usage": None,
        }


class Messages(Wire):
    path, cap = "/v1/messages", "max_tokens"

    def prompt(self, text: str) -> Event:
        return {"messages": [{"role": "user", "content": text}]}

    def usage(
        self, input_tokens: int, output_tokens: int, cached: int = 0, thought: int = 0
    ) -> Event:
        return {
            "input_tokens": input_tokens - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": output_tokens,
            "output_tokens_details": {"thinking_tokens": thought},
        }

    def whole(self, text: str, usage: Event | None, model: str = "m") -> Event:
        return {
            **self._message(model),
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": usage or {"input_tokens": 0, "output_tokens": 0},
        }

    def first(self, usage: Event | None, model: str = "m", *, calls: bool = False) -> list[Event]:
        placeholder: Event = {"input_tokens": 0, "output_tokens": 0}
        if usage is not None:
            begun = min(1, int(str(usage["output_tokens"])))
            placeholder = {**usage, "output_tokens": begun, "output_tokens_details": None}
        called = {"type": "tool_use", "id": "t", "name": "look_up", "input": {}}
        block = called if calls else {"type": "text", "text": ""}
        start = {**self._message(model), "content": [], "stop_reason": None, "usage": placeholder}
        return [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": block},
        ]

    def piece(self, text: str, model: str = "m", *, calls: bool = False) -> Event:
        said = {"type": "text_delta", "text": text}
        delta = {"type": "input_json_delta", "partial_json": text} if calls else said
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    def last(self, usage: Event | None, model: str = "m") -> list[Event | str]:
        final = {"output_tokens": 0} if usage is None else usage
        return [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": final},
            {"type": "message_stop"},
        ]

    def error(self, told: Event) -> object:
        return told["type"], _member(told, "error")["type"]

    def code(self, told: Event) -> object:
        return _member(_member(told, "error"), "details")["error_code"]

    def _message(self, model: str) -> Event:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": model}


WIRES: dict[str, Wire] = {
    "openai_chat": Chat(),
    "openai_responses": Responses(),
    "anthropic_messages": Messages(),
}
APIS = ["chat", "completions", "embeddings", "responses", "messages"]  # for who serves them all


def _with(usage: Event | None, answer: Event) -> Event:
    return answer if usage is None else {**answer, "usage": usage}


def _member(of: Event, name: str) -> Event:
    found = of[name]
    assert isinstance(found, dict)
    return found
