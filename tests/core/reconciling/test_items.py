"""The model and the part of its use, as vendors name them."""

from __future__ import annotations

import pytest

from proxy.core.reconciling.items import About, about

# docs/reconcile.md says where each was seen.
NAMED = [
    ("openai", "gpt-5.5-2026-04-23, input", About("input", "gpt-5.5-2026-04-23")),
    ("openai", "gpt-5.5-2026-04-23, cached input", About("cached", "gpt-5.5-2026-04-23")),
    ("openai", "priority | gpt-5.6-sol, output, long context", About("output", "gpt-5.6-sol", "priority")),
    ("openai", "gpt-audio-mini-2025-12-15 audio, input", About("audio_input", "gpt-audio-mini-2025-12-15")),
    ("openai", "gpt-5.6, cache writes", About("cache_write", "gpt-5.6")),
    ("openai", "flex | gpt-5-mini, input", About("input", "gpt-5-mini", "flex")),
    ("openai", "gpt-5-nano, input_tokens", About("input", "gpt-5-nano")),
    ("openai", "gpt-realtime-2.1-mini, audio output", About("audio_output", "gpt-realtime-2.1-mini")),
    ("openai", "gpt-image-2.5-sunburst text, cached input", About("cached", "gpt-image-2.5-sunburst")),
    ("openai", "gpt-live-1, voice", About("voice", "gpt-live-1")),
    ("openai", "web search tool calls", About("search")),
    ("openai", "Vector storage", About("vector storage")),
    ("anthropic", "uncached_input_tokens", About("input")),
    ("anthropic", "input_cache_read", About("cached")),
    ("anthropic", "cache_creation.ephemeral_1h_input_tokens", About("cache_write_long")),
    ("anthropic", "Claude Sonnet 4 Usage - Input Tokens", About("claude sonnet 4 usage - input tokens")),
    ("deepseek", "input_cache_hit_tokens", About("cached")),
    ("deepseek", "request_count", About("requests")),
    ("dashscope", "12xxx;llm-xxx;qwen-max;output_token;app;0", About("output", "qwen-max")),
    ("dashscope", ";llm-xxx;qwen-max;input_token;bmp", About("input", "qwen-max")),
    ("dashscope", "1110389;ws-x;qwen3.8-flash;input_token_cache;;0", About("cached", "qwen3.8-flash")),
    ("dashscope", "i-bp17448hpb5wvq5d64hc", About(asks=False)),
    ("focus", "Cached Input Tokens", About("cached")),
    ("focus", "Output Tokens", About("output")),
    ("plain", None, About()),
]  # fmt: skip


@pytest.mark.parametrize(("how", "text", "found"), NAMED)
def test_each_vendors_names_are_read(how: str, text: str | None, found: About) -> None:
    assert about(how, text) == found
