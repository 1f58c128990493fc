"""What a message's request asks for, and what of it readers could take differently."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.anthropic_messages.call import read_call
from proxy.core.dialects.anthropic_messages.endpoints import COUNT_TOKENS, MESSAGES
from proxy.core.errors import ProxyError

BODY = {
    "model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "Hi"}],
    "metadata": {"user_id": "device-7"}, "stream": True, "service_tier": "auto",
}  # fmt: skip


def body(**members: object) -> bytes:
    return json.dumps(BODY | members).encode()


def test_a_request_says_what_it_asks_for() -> None:
    call = read_call(MESSAGES, body())
    assert (call.model, call.stream, call.cap, call.answers) == ("m", True, 4096, 1)
    assert (call.user, call.service_tier, call.include_usage) == ("device-7", "auto", True)
    assert not (call.media or call.free or call.steering)
    assert call.prompt_bytes == len(body())


def test_fast_speed_is_a_tier() -> None:
    assert read_call(MESSAGES, body(speed="fast")).service_tier == "fast"
    assert read_call(MESSAGES, body(speed="standard")).service_tier == "auto"


def test_counting_tokens_is_free_and_writes_nothing() -> None:
    call = read_call(COUNT_TOKENS, b'{"model": "m", "messages": []}')
    assert call.free and not call.writes_text


@pytest.mark.parametrize(
    "more",
    ['"max_tokens": 1', '"Max_Tokens": 1', '"maxTokens": 1', '"SPEED": "fast"', '"Fallbacks": []', '"mcpServers": []'],
)  # fmt: skip
def test_what_readers_would_read_differently_is_refused(more: str) -> None:
    with pytest.raises(ProxyError) as refused:
        read_call(MESSAGES, body()[:-1] + b", " + more.encode() + b"}")
    assert (refused.value.status, refused.value.code) == (400, "ambiguous_body")


@pytest.mark.parametrize(
    ("more", "steering"),
    [
        ({"fallbacks": [{"model": "dear"}]}, ("fallbacks",)),
        ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "dear"}]}, ("tools",)),
        ({"tools": [{"name": "pick", "input_schema": {"properties": {"model": {}}}}]}, ()),
        ({"mcp_servers": [{"url": "https://mcp.test", "name": "x"}]}, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "low"}}, ()),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, ()),
        ({"provider": {"only": ["x"]}}, ("provider",)),
    ],
)  # fmt: skip
def test_what_names_another_model_or_vendor_steers(
    more: dict[str, object], steering: tuple[str, ...]
) -> None:
    assert read_call(MESSAGES, body(**more)).steering == steering
