"""Answers as the vendor, servers and relays send them, and what is right to read of each.

`seen`: where the shape was reported. Texts and figures are our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

SENTENCE = "The ferry leaves at nine. "
T = SENTENCE * 6
Event = dict[str, object]
START = {
    "input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 588, "output_tokens": 3,
    "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60}, "service_tier": "standard",
}  # fmt: skip
ZEROS = {"input_tokens": 0, "output_tokens": 0}
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"tide": 'high "now"'}}
INSIDE: Event = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": {"input_tokens": 700, "output_tokens": 50}}}  # fmt: skip
LAID_OUT = '{"tide": "high \\"now\\""}'
INPUT = '{"tide":"high \\"now\\""}'


def start(usage: Event | None = START, **members: object) -> Event:
    message: Event = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026", "content": [],
        "stop_reason": None, "stop_sequence": None,
    }  # fmt: skip
    stated = {} if usage is None else {"usage": usage}
    return {"type": "message_start", "message": message | stated | members}


def block(kind: str, at: int = 0, **members: object) -> Event:
    return {"type": "content_block_start", "index": at, "content_block": {"type": kind} | members}


def delta(kind: str, at: int = 0, **members: object) -> Event:
    return {"type": "content_block_delta", "index": at, "delta": {"type": kind} | members}


def stop(at: int = 0) -> Event:
    return {"type": "content_block_stop", "index": at}


def said(text: str, at: int = 0, size: int = 11) -> list[Event]:
    pieces = (text[from_ : from_ + size] for from_ in range(0, len(text), size))
    return [block("text", at, text=""), *(delta("text_delta", at, text=piece) for piece in pieces), stop(at)]  # fmt: skip


def thought(text: str, at: int = 0) -> list[Event]:
    return [
        block("thinking", at, thinking="", signature=""),
        *([delta("thinking_delta", at, thinking=text)] if text else []),
        delta("signature_delta", at, signature="EqoB" * 40),
        stop(at),
    ]


def called(at: int = 0) -> list[Event]:
    halves = (INPUT[:7], INPUT[7:])
    return [
        block("tool_use", at, id="toolu_1", name="look_up", input={}),
        delta("input_json_delta", at, partial_json=""),
        *(delta("input_json_delta", at, partial_json=half) for half in halves),
        stop(at),
    ]


def end(reason: str | None = "end_turn", usage: Event | None = None) -> Event:
    stated = {} if usage is None else {"usage": usage}
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}} | stated  # fmt: skip


OVER = {"type": "message_stop"}
PING = {"type": "ping"}
FAILED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def message(*content: Event, **members: object) -> bytes:
    whole: Event = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026", "content": list(content),
        "stop_reason": "end_turn", "stop_sequence": None, "usage": START | {"output_tokens": 50},
    }  # fmt: skip
    return json.dumps(whole | members).encode()


def sse(*events: Event | str) -> bytes:
    return b"".join(_framed(event) for event in events)


def _framed(event: Event | str) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


@dataclass
class Case:
    """`usage`: input, cached, written, of these long, output. `text`: what was delivered."""

    name: str
    seen: str
    body: bytes
    usage: tuple[int | None, ...] | None
    text: str = T
    final: bool = True
    error: bool = False
    complete: bool = True
    answered: bool | None = True
    unreadable: bool = False
    finish: str | None = "end_turn"
    stream: bool = True
    more: dict[str, object] = field(default_factory=dict)


WHOLE = (700, 588, 100, 60, 50)


def _streams() -> Iterator[Case]:
    last = {"output_tokens": 50}
    yield Case("as the vendor sends it", "Anthropic", sse(start(), PING, *said(T), PING, end(usage=last), OVER), WHOLE,
               more={"model_served": "m-2026", "response_id": "msg_1", "service_tier": "standard"})  # fmt: skip
    yield Case("without the names of events", "relays", sse(start(), *said(T), end(usage=last), OVER).replace(b"event: ", b": "), WHOLE)  # fmt: skip
    yield Case("running totals", "Anthropic", sse(start(), *said(T[:26]), end(None, {"output_tokens": 9}), *said(T[26:], 1), end(usage=last), OVER), WHOLE)  # fmt: skip
    yield Case("a total that grows behind the reason", "relays", sse(start(), *said(T), end(), end(None, last), OVER), WHOLE)  # fmt: skip
    yield Case("thinking that is shown, and a call", "Anthropic", sse(start(), *thought(T), *called(1), end("tool_use", last), OVER),
               WHOLE, T + "look_up" + INPUT, finish="tool_use")  # fmt: skip
    yield Case("thinking that is hidden", "Anthropic", sse(start(), *thought(""), *said(SENTENCE, 1), end(usage={"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 44}}), OVER),
               WHOLE, SENTENCE)  # fmt: skip
    yield Case("input that a search has raised", "Anthropic",
               sse(start({"input_tokens": 620, "output_tokens": 2}), block("server_tool_use", 0, id="s", name="web_search", input={}),
                   delta("input_json_delta", 0, partial_json='{"query":"tides"}'), stop(0),
                   block("web_search_tool_result", 1, tool_use_id="s", content=[{"type": "web_search_result", "title": T, "encrypted_content": T}]), stop(1),
                   *said(T, 2), end(usage={"input_tokens": 9310, "output_tokens": 88, "server_tool_use": {"web_search_requests": 2}}), OVER),
               (9310, None, None, None, 88), 'web_search{"query":"tides"}' + T)  # fmt: skip
    yield Case("nulls take nothing back", "Bedrock", sse(start(), *said(T), end(usage={"input_tokens": None, "cache_creation_input_tokens": None, "cache_read_input_tokens": None, "output_tokens": 50}), OVER), WHOLE)  # fmt: skip
    yield Case("zeros first, all at the end", "sglang#20678, mlx-node#45", sse(start(ZEROS), *said(T), end(usage={"input_tokens": 700, "output_tokens": 50}), OVER), (700, None, None, None, 50))  # fmt: skip
    yield Case("an estimate first, the counts at the end", "Ollama", sse(start({"input_tokens": 951, "output_tokens": 0}), *said(T), end(usage={"input_tokens": 700, "output_tokens": 50}), OVER), (700, None, None, None, 50))  # fmt: skip
    yield Case("what was cached is known at the end", "vLLM", sse(start({"input_tokens": 700, "cache_read_input_tokens": 0, "output_tokens": 0}), *said(T), end(usage={"input_tokens": 112, "cache_read_input_tokens": 588, "output_tokens": 50}), OVER), (700, 588, None, None, 50))  # fmt: skip
    yield Case("nothing was cached after all", "relays", sse(start({"input_tokens": 112, "cache_read_input_tokens": 588, "output_tokens": 1}), *said(T), end(usage={"input_tokens": 700, "cache_read_input_tokens": 0, "output_tokens": 50}), OVER), (700, 0, None, None, 50))  # fmt: skip
    yield Case("usage inside the delta, [DONE]", "relays", sse(start(ZEROS), *said(T), INSIDE, OVER, "[DONE]"), (700, None, None, None, 50))  # fmt: skip
    yield Case("usage beside the message", "free-code#43", sse(start(None) | {"usage": START}, *said(T), end(usage=last), OVER), WHOLE)  # fmt: skip
    yield Case("none stated", "relays", sse(start(None), *said(T), end(), OVER), None, final=False)
    yield Case("stated at the start alone", "relays", sse(start(), *said(T), end(), OVER), (700, 588, 100, 60, 3), final=False)  # fmt: skip
    yield Case("zeros from start to end", "relays", sse(start(ZEROS), *called(), end("tool_use", ZEROS), OVER), (0, None, None, None, 0), "look_up" + INPUT, finish="tool_use")  # fmt: skip
    yield Case("all of the input where the call begins", "relays", sse(start(), TOOL_AT_ONCE, stop(), end("tool_use", last), OVER), WHOLE, "look_up" + LAID_OUT, finish="tool_use")  # fmt: skip
    yield Case("text where the block begins", "relays", sse(start(), block("text", text=SENTENCE), delta("text_delta", text=SENTENCE), end(usage=last), OVER), WHOLE, SENTENCE * 2)  # fmt: skip
    yield Case("events, blocks and deltas that are not known", "Anthropic",
               sse(start(), {"type": "weather", "usage": {"output_tokens": 9}}, block("chart", 0, scale=5), delta("depth_delta", 0, fathoms=8), stop(), *said(T, 1),
                   delta("citations_delta", 1, citation={"cited_text": T}), end(usage=last), OVER, PING), WHOLE)  # fmt: skip
    yield Case("another model goes on", "Anthropic", sse(start(), *said(SENTENCE), block("fallback", 1, **{"from": {"model": "m-2026"}, "to": {"model": "m-small"}}), stop(1), *said(T, 2), end(usage=last), OVER),
               WHOLE, SENTENCE + T, more={"model_served": "m-small"})  # fmt: skip
    yield Case("at its cap", "Anthropic", sse(start(), *said(T), end("max_tokens", last), OVER), WHOLE, finish="max_tokens")  # fmt: skip
    yield Case("fast was served", "Anthropic", sse(start(START | {"speed": "fast"}), *said(T), end(usage=last), OVER), WHOLE, more={"service_tier": "fast"})  # fmt: skip
    yield Case("without its last event", "relays", sse(start(), *said(T), end(usage=last)), WHOLE)
    yield Case("ended without a reason", "bifrost#6081", sse(start(), *said(T)), (700, 588, 100, 60, 3), final=False, error=True, complete=False, finish=None)  # fmt: skip
    yield Case("an error in its midst", "Anthropic", sse(start(), *said(T)[:-1], FAILED), (700, 588, 100, 60, 3), final=False, error=True, complete=False, finish=None)  # fmt: skip
    yield Case("an error at once", "Anthropic", sse(FAILED), None, "", final=False, error=True, complete=False, answered=False, finish=None)  # fmt: skip
    yield Case("begun and no more", "Anthropic", sse(start(), PING), (700, 588, 100, 60, 3), "", final=False, error=True, complete=False, answered=False, finish=None)  # fmt: skip
    yield Case("a whole message as an event", "relays", b"data: " + message({"type": "text", "text": T}) + b"\n\n", WHOLE)  # fmt: skip
    yield Case("events without types", "relays", b"".join(b"data: " + json.dumps({k: v for k, v in e.items() if k != "type"}).encode() + b"\n\n" for e in (start(), *said(T)[:-1], end(usage=last))), WHOLE)  # fmt: skip
    yield Case("events of another API", "misrouted", sse({"id": "c", "choices": [{"delta": {"content": T}}]}), None, "", final=False, complete=False, unreadable=True, finish=None)  # fmt: skip
    yield Case("summed up first", "Anthropic", sse(start(), block("compaction", 0, content=None), delta("compaction_delta", 0, content=SENTENCE), stop(), *said(T, 1),
               end(usage={"output_tokens": 50, "iterations": [{"type": "compaction", "input_tokens": 900, "output_tokens": 30, "cache_read_input_tokens": 0}, {"type": "message", "input_tokens": 12, "output_tokens": 50}]}), OVER),
               (1600, 588, 100, 60, 80), SENTENCE + T)  # fmt: skip


def _answers() -> Iterator[Case]:
    text = {"type": "text", "text": T}
    plain = {"stream": False, "complete": False}
    yield Case("JSON", "Anthropic", message(text), WHOLE, **plain)  # type: ignore[arg-type]
    yield Case("JSON to a stream", "relays", message(text), WHOLE, complete=False)
    yield Case("JSON with thinking and a call", "Anthropic", message({"type": "thinking", "thinking": T, "signature": "x" * 90}, {"type": "redacted_thinking", "data": "x" * 90}, TOOL), WHOLE, T + "look_up" + LAID_OUT, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON whose content is a text", "relays", message().replace(b'"content": []', b'"content": ' + json.dumps(T).encode()), WHOLE, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON without a split of what was written", "Bedrock", message(text, usage={"input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 588, "output_tokens": 50}), (700, 588, 100, None, 50), **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON whose split is all there is", "daiv#1159", message(text, usage=START | {"cache_creation_input_tokens": 0, "output_tokens": 50}), WHOLE, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON whose split says more than the total", "relays", message(text, usage=START | {"cache_creation_input_tokens": 50, "output_tokens": 50}), (650, 588, 50, 50, 50), **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON without usage", "relays", message(text).replace(b'"usage"', b'"used"'), None, final=False, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON that is an error", "Anthropic", json.dumps(FAILED).encode(), None, "", final=False, error=True, answered=False, finish=None, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON that counts tokens", "Anthropic", b'{"input_tokens": 14}', None, "", final=False, answered=None, finish=None, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("a page", "proxies", b"<html><body>502</body></html>", None, "", final=False, answered=False, finish=None, unreadable=True, **plain)  # type: ignore[arg-type]  # fmt: skip
    yield Case("JSON that is cut", "proxies", message(text)[:-20], None, "", final=False, finish=None, unreadable=True, **plain)  # type: ignore[arg-type]  # fmt: skip


TOOL_AT_ONCE: Event = {"type": "content_block_start", "index": 0, "content_block": TOOL}
CASES = [*_streams(), *_answers()]
