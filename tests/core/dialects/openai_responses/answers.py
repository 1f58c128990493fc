"""Answers as vendors, servers and gateways send them, and what is right to read of each.

`seen`: where the shape was reported. Texts and figures are our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

SENTENCE = "The ferry leaves at nine. "
USAGE = {
    "input_tokens": 700,
    "input_tokens_details": {"cached_tokens": 300},
    "output_tokens": 90,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 790,
}
Event = dict[str, object]
Item = dict[str, object]


def response(status: str = "completed", **members: object) -> Event:
    plain: Event = {
        "id": "resp_1", "object": "response", "status": status, "error": None, "incomplete_details": None,
        "model": "m-2026", "output": [], "service_tier": "default", "tools": [{"type": "function", "name": "look_up"}],
        "usage": None,
    }  # fmt: skip
    return plain | members


def life(name: str, **members: object) -> Event:
    status = "in_progress" if name in ("created", "in_progress") else name
    return {"type": f"response.{name}", "response": response(status, **members)}


def message(text: str, kind: str = "output_text") -> Item:
    member = "refusal" if kind == "refusal" else "text"
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": kind, member: text, "annotations": []}]}  # fmt: skip


def call(name: str = "look_up", arguments: str = '{"tide": "high", "say": "\\"now\\""}') -> Item:
    return {"id": "fc_1", "type": "function_call", "call_id": "c", "name": name, "arguments": arguments, "status": "completed"}  # fmt: skip


def reasoning(text: str = "", summary: str = "") -> Item:
    return {"id": "rs_1", "type": "reasoning", "encrypted_content": "k9" * 200,
            "summary": [{"type": "summary_text", "text": summary}] if summary else [],
            "content": [{"type": "reasoning_text", "text": text}] if text else []}  # fmt: skip


def deltas(kind: str, text: str, at: int = 0, size: int = 9, **place: object) -> Iterator[Event]:
    for start in range(0, len(text), size):
        yield {"type": f"response.{kind}.delta", "item_id": f"item_{at}", "output_index": at,
               "content_index": 0, "delta": text[start : start + size], **place}  # fmt: skip


def said(text: str, at: int = 0) -> list[Event]:
    """All events of a message, as the vendor sends them."""
    item, empty = message(text), message("")
    place = {"item_id": "msg_1", "output_index": at, "content_index": 0}
    return [
        {"type": "response.output_item.added", "output_index": at, "item": empty | {"content": []}},
        {"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": ""}},
        *deltas("output_text", text, at, item_id="msg_1", logprobs=[], obfuscation="xYz8"),
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.content_part.done", **place, "part": {"type": "output_text", "text": text}},
        {"type": "response.output_item.done", "output_index": at, "item": item},
    ]  # fmt: skip


def called(item: Item, at: int = 0) -> list[Event]:
    arguments = str(item["arguments"])
    return [
        {"type": "response.output_item.added", "output_index": at, "item": item | {"arguments": ""}},
        *deltas("function_call_arguments", arguments, at, item_id="fc_1"),
        {"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": at,
         "name": item["name"], "arguments": arguments},
        {"type": "response.output_item.done", "output_index": at, "item": item},
    ]  # fmt: skip


def sse(*events: Event | bytes, named: bool = True, numbered: bool = True) -> bytes:
    """An event stream; what is bytes stands in it as it is."""
    parts = []
    for number, event in enumerate(events):
        if isinstance(event, bytes):
            parts.append(event)
            continue
        body = {
            "type": event.get("type"),
            **({"sequence_number": number} if numbered else {}),
            **event,
        }
        body = {name: value for name, value in body.items() if value is not None or name != "type"}
        head = f"event: {event['type']}\n" if named and "type" in event else ""
        parts.append(f"{head}data: {json.dumps(body, ensure_ascii=False)}\n\n".encode())
    return b"".join(parts)


@dataclass(frozen=True)
class Case:
    """`text_bytes`: of all that the model wrote, once; None where it cannot be read."""

    name: str
    body: bytes
    text_bytes: int | None
    usage: tuple[int | None, int | None] | None = (700, 90)
    stream: bool = True
    error: bool = False
    complete: bool = True
    answered: bool | None = True
    finish_reason: str | None = "completed"
    unreadable: bool = False
    seen: str = "the vendor's SDK and documentation"
    more: dict[str, object] = field(default_factory=dict)


def case(name: str, *events: Event | bytes, text_bytes: int | None, **more: object) -> Case:
    form = {key: more.pop(key) for key in ("named", "numbered") if key in more}
    return Case(name, sse(*events, **form), text_bytes, **more)  # type: ignore[arg-type]


T = SENTENCE * 6
N = len(T)
BEGIN = (life("created", service_tier="auto"), life("in_progress"))
BROKEN = {"complete": False, "finish_reason": None, "usage": None, "error": True}
ERROR = {"code": "server_error", "message": "It broke off."}

CASES: tuple[Case, ...] = (
    case("stream", *BEGIN, *said(T), life("completed", output=[message(T)], usage=USAGE), text_bytes=N,
         more={"service_tier": "default", "model_served": "m-2026", "response_id": "resp_1", "next_number": N // 9 + 9}),
    case("stream of another language", *BEGIN, *said("潮水涨了。" * 9), life("completed", usage=USAGE), text_bytes=135),
    case("function call", *BEGIN, *called(call()), life("completed", output=[call()], usage=USAGE),
         text_bytes=len("look_up") + len(str(call()["arguments"]))),
    case("two items", *BEGIN, *called(call(), 0), *said(T, 1), life("completed", output=[call(), message(T)], usage=USAGE),
         text_bytes=N + 7 + len(str(call()["arguments"]))),
    case("refusal", *BEGIN, *deltas("refusal", T), life("completed", output=[message(T, "refusal")], usage=USAGE), text_bytes=N),
    case("reasoning that is shown", *BEGIN, *deltas("reasoning_text", T), *said("Nine.", 1),
         life("completed", output=[reasoning(T), message("Nine.")], usage=USAGE), text_bytes=N + 5),
    case("reasoning and its summary", *BEGIN, *deltas("reasoning_summary_text", SENTENCE * 3, summary_index=0),
         *deltas("reasoning_text", T), life("completed", output=[reasoning(T, SENTENCE * 3)], usage=USAGE), text_bytes=N),
    case("a summary alone", *BEGIN, *deltas("reasoning_summary_text", SENTENCE * 3, summary_index=0), *said("Nine.", 1),
         life("completed", output=[reasoning(summary=SENTENCE * 3), message("Nine.")], usage=USAGE), text_bytes=N // 2 + 5),
    case("hidden reasoning", *BEGIN, {"type": "response.output_item.done", "output_index": 0, "item": reasoning()},
         *said("Nine.", 1), life("completed", output=[reasoning(), message("Nine.")], usage=USAGE), text_bytes=5),
    case("its cap is reached", *BEGIN, *deltas("output_text", T),
         life("incomplete", incomplete_details={"reason": "max_output_tokens"}, output=[message(T)], usage=USAGE),
         text_bytes=N, finish_reason="max_output_tokens", seen="envoyproxy/ai-gateway#2184, agentgateway#3274"),
    case("failed, usage stated", *BEGIN, *deltas("output_text", T), life("failed", error=ERROR, usage=USAGE),
         text_bytes=N, error=True, finish_reason="failed"),
    case("failed before a word", *BEGIN, life("failed", error=ERROR), text_bytes=0, usage=None, error=True,
         answered=False, finish_reason="failed"),
    case("created and no more", *BEGIN, text_bytes=0, answered=False, **BROKEN),
    case("broken off", *BEGIN, *deltas("output_text", T), text_bytes=N, **BROKEN),
    case("broken off behind its items", *BEGIN, *said(T), text_bytes=N, **BROKEN, seen="ollama#14600"),
    case("a flat error event", *BEGIN, *deltas("output_text", T), {"type": "error", "message": "in-stream error", "param": None, "code": "500"},
         text_bytes=N, **BROKEN, seen="codex-router#837"),
    case("an error event with an object", *BEGIN, *deltas("output_text", T), {"type": "error", "error": ERROR}, text_bytes=N, **BROKEN),
    case("an error in the form of chats", *BEGIN, *deltas("output_text", T), {"error": ERROR}, text_bytes=N, **BROKEN,
         seen="litellm#40243"),
    case("an error that only its event's name tells", *BEGIN, b'event: error\ndata: {"message":"no"}\n\n', text_bytes=None,
         usage=None, error=True, complete=False, finish_reason=None, unreadable=True, answered=True),
    case("usage is null to the end", *BEGIN, *said(T), life("completed", output=[message(T)]), text_bytes=N, usage=None,
         seen="9router#3432, OmniRoute#6906"),
    case("nothing in the last event", *BEGIN, *said(T), {"type": "response.completed", "response": {"id": "r", "object": "response"}},
         text_bytes=N, usage=None, finish_reason=None, seen="9router#3432"),
    case("zeros to begin with", life("created", usage=dict.fromkeys(USAGE, 0)), *said(T), life("completed", usage=USAGE), text_bytes=N),
    case("deltas and an empty output", *BEGIN, *deltas("output_text", T), life("completed", usage=USAGE), b"data: [DONE]\n\n",
         text_bytes=N, seen="litellm#32724"),
    case("no delta, whole items", *BEGIN, *[event for event in said(T) if not str(event["type"]).endswith("delta")],
         life("completed", usage=USAGE), text_bytes=N),
    case("the last event alone", life("completed", output=[message(T), call()], usage=USAGE),
         text_bytes=N + 7 + len(str(call()["arguments"]))),
    case("names and numbers left out", *BEGIN, *said(T), life("completed", output=[message(T)], usage=USAGE), b"data: [DONE]\n\n",
         text_bytes=N, named=False, numbered=False),
    case("no numbers of items", *BEGIN,
         *[{name: value for name, value in event.items() if name not in ("output_index", "content_index")} for event in said(T)],
         life("completed", output=[message(T)], usage=USAGE), text_bytes=N, seen="lemonade#3607"),
    case("one number for several items", *BEGIN, *deltas("reasoning_summary_text", SENTENCE, 0, item_id="rs_7"),
         *deltas("output_text", T, 0, item_id="msg_9"), *called(call(), 0),
         life("completed", output=[reasoning(summary=SENTENCE), message(T), call()], usage=USAGE),
         text_bytes=N + N // 6 + 7 + len(str(call()["arguments"])), seen="litellm#36375"),
    case("another id with each delta", *BEGIN, *[delta | {"item_id": f"rs_{number}"} for number, delta in enumerate(deltas("reasoning_text", T))],
         life("completed", output=[reasoning(T)], usage=USAGE), text_bytes=N, seen="litellm#36375"),
    case("the response's members in the event", *deltas("output_text", T),
         {**response(output=[message(T)], usage=USAGE), "type": "response.completed"}, b"data: [DONE]\n\n", text_bytes=N, seen="litellm#22102"),
    case("usage beside the response", *deltas("output_text", T), {**life("completed"), "usage": USAGE}, text_bytes=N),
    case("reasoning in a part of text", *BEGIN, *deltas("reasoning_text", T),
         {"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": T}},
         life("completed", usage=USAGE), text_bytes=N, seen="vllm#24788"),
    case("each delta is all of the text so far", *BEGIN,
         *[{"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": T[:end]} for end in range(9, N + 9, 9)],
         {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": T},
         life("completed", usage=USAGE), text_bytes=N, more={"doubtful": True}),
    case("names of a chat's usage", *BEGIN, *deltas("output_text", T),
         life("completed", usage={"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790}), text_bytes=N, seen="litellm#34728"),
    case("pieces of a kind that is not known", *BEGIN, *deltas("new_kind_of_call_input", T), life("completed", usage=USAGE), text_bytes=N),
    case("sounds and pictures", *BEGIN, {"type": "response.audio.delta", "delta": "UklG" * 500},
         {"type": "response.image_generation_call.partial_image", "partial_image_b64": "iVBO" * 500},
         {"type": "response.shell_call_output_content.delta", "delta": {"stdout": "x" * 500}},
         *deltas("audio.transcript", T), life("completed", usage=USAGE), text_bytes=N),
    case("searches", *BEGIN, {"type": "response.output_item.done", "output_index": 0, "item": {
         "id": "ws", "type": "web_search_call", "action": {"type": "search", "query": "tides", "queries": ["tides", "low"]}}},
         *said(T, 1), life("completed", usage=USAGE), text_bytes=N + len("tides low")),
    case("tools' results", *BEGIN, {"type": "response.output_item.done", "output_index": 0, "item": {
         "id": "mcp", "type": "mcp_call", "name": "read", "arguments": "{}", "output": "y" * 900, "error": None}},
         {"type": "response.output_item.done", "output_index": 1, "item": {"type": "mcp_list_tools", "name": "z" * 90, "tools": []}},
         {"type": "response.output_item.done", "output_index": 2, "item": {"type": "function_call_output", "output": "y" * 90}},
         life("completed", usage=USAGE), text_bytes=len("read{}")),
    case("the last event is called done", *BEGIN, *said(T), {"type": "response.done", "response": response(usage=USAGE)}, text_bytes=N,
         seen="cockpit-tools#701"),
    Case("JSON", json.dumps(response(output=[message(T)], usage=USAGE)).encode(), N, stream=False, complete=False,
         more={"service_tier": "default", "model_served": "m-2026"}),
    Case("JSON to a stream's request", json.dumps(response(output=[message(T)], usage=USAGE)).encode(), N, complete=False),
    Case("JSON, wrapped", json.dumps({"type": "response.completed", "response": response(output=[message(T)], usage=USAGE)}).encode(), N,
         stream=False, complete=False),
    Case("JSON, failed", json.dumps(response("failed", error=ERROR)).encode(), 0, None, stream=False, complete=False, error=True,
         answered=False, finish_reason="failed"),
    Case("JSON, an error", json.dumps({"error": ERROR}).encode(), 0, None, stream=False, complete=False, error=True, answered=False,
         finish_reason=None),
    Case("JSON, text beside an empty output", json.dumps(response(output_text=T, usage=USAGE)).encode(), N, stream=False, complete=False),
    Case("JSON, a chat", json.dumps({"id": "x", "choices": [{"message": {"content": T}}]}).encode(), None, None, stream=False,
         complete=False, finish_reason=None, unreadable=True),
    Case("a compaction", json.dumps({"object": "response.compaction", "output": [{"type": "compaction", "encrypted_content": "k" * 99}],
         "usage": USAGE}).encode(), 0, stream=False, complete=False, finish_reason=None),
    Case("an empty object", b"{}", 0, None, stream=False, complete=False, answered=False, finish_reason=None),
    Case("a page", b"<html>Bad gateway</html>", 0, None, stream=False, complete=False, answered=False, finish_reason=None,
         unreadable=True),
)  # fmt: skip
