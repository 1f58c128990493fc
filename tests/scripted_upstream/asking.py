"""Asks the scripted upstream without a network, and reads its answers as a client would."""

from __future__ import annotations

import msgspec

from proxy.scripted_upstream import ScriptedAnswer, expected

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PARIS = "The capital of France is Paris."


ASKED = {"stream_options": {"include_usage": True}}


def ask(
    model: str = "demo-chat",
    messages: object = QUESTION,
    endpoint: str = "chat/completions",
    **rest: object,
) -> ScriptedAnswer:
    """The answer to one chat request."""
    return expected(msgspec.json.encode({"model": model, "messages": messages, **rest}), endpoint)


def objects(answer: ScriptedAnswer) -> list[dict]:
    """The JSON of each event that has any; comments and [DONE] left out."""
    lines = answer.body.decode().splitlines()
    return [
        msgspec.json.decode(line[6:])
        for line in lines
        if line.startswith("data: ") and line != "data: [DONE]"
    ]


def whole(answer: ScriptedAnswer) -> dict:
    return msgspec.json.decode(answer.body)


def spoken(answer: ScriptedAnswer, index: int = 0) -> str:
    """The text a client would put together from the stream."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in objects(answer)
        for choice in event.get("choices", [])
        if choice["index"] == index
    )
