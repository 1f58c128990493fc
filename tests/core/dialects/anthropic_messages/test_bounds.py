"""What is text alone is bounded by its bytes; all else is not."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.core.dialects.anthropic_messages.bounds import holds_more_than_text

TEXT = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {"type": "image", "source": 1}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}


def more(**members: object) -> bool:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    return holds_more_than_text(
        msgspec.json.decode(json.dumps(body | members), type=dict[str, msgspec.Raw])
    )


def asked(*content: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"system": "x"},
        {"system": [TEXT]},
        {"messages": asked(TEXT, CALL)},
        {"messages": asked({"type": "tool_result", "tool_use_id": "t", "content": "x"})},
        {"messages": asked({"type": "tool_result", "tool_use_id": "t", "content": [TEXT]})},
        {"messages": asked({"type": "thinking", "thinking": "x", "signature": "y"})},
        {"tools": [{"name": "f", "description": "web_search", "input_schema": {}}]},
        {"tools": [{"type": "custom", "name": "f"}, {"type": "bash_20250124", "name": "bash"}]},
        {"tools": [{"type": "text_editor_20250728", "name": "edit"}]},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        {"mcp_servers": [], "container": None},
    ],
)
def test_text_and_what_the_client_runs_is_bounded(members: dict[str, object]) -> None:
    assert not more(**members)


@pytest.mark.parametrize(
    "members",
    [
        {"messages": asked(PICTURE)},
        {"messages": asked({"type": "document", "source": {"type": "url", "url": "https://x"}})},
        {"messages": asked({"type": "tool_result", "tool_use_id": "t", "content": [PICTURE]})},
        {"messages": asked(TEXT | {"source": "x"})},
        {"messages": asked({"type": "container_upload", "file_id": "f"})},
        {"messages": "x"},
        {"messages": [{"role": "user", "content": "x", "attachments": []}]},
        {"system": [PICTURE]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "run"}]},
        {"tools": [{"name": "f", "input_schema": "x" * 2**20}]},
        {"mcp_servers": [{"url": "https://x"}]},
        {"container": "c"},
        {"thread": {"id": "t"}},
        {"fallbacks": ["default"]},
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
        {"Messages": asked(TEXT)},
        {"extra_body": {"container": "c"}},
    ],
)
def test_what_the_vendor_finds_or_keeps_is_not(members: dict[str, object]) -> None:
    assert more(**members)
