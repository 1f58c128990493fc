"""What is saved of an answer that is damaged beyond repair."""

from __future__ import annotations

from proxy.core.dialects.openai_chat.salvage import salvaged

USAGE = b'"usage":{"prompt_tokens":1000,"completion_tokens":500}'


def test_what_is_whole_is_saved() -> None:
    text = b'{"id":"x","choices":[{"delta":{"content":"say \\"usage\\":{\\"prompt_tokens\\":1}},"finish_reason":"stop"}],"model":"m","service_tier":"flex",%b'
    saved = salvaged(text % (USAGE + b"}"))
    assert {name: bytes(raw) for name, raw in saved.items()} == {
        "id": b'"x"', "model": b'"m"', "service_tier": b'"flex"', "choices": b'[{"finish_reason":"stop"}]', "usage": b'{"prompt_tokens": 1000, "completion_tokens": 500}',
    }  # fmt: skip
    assert "usage" not in salvaged(text % USAGE[:-3])
    assert "choices" not in salvaged(b'{"choices": [ ],' + USAGE)
    assert bytes(salvaged(b'{"error":{"message":"no').get("error", b"")) == b"true"
    assert "error" not in salvaged(b'{"error":{},"x')
