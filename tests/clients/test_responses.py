"""Responses with each real client: the same through the proxy as without it, and booked as
stated."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.scripted_upstream import expected
from tests.clients.cases import Case
from tests.clients.deployment import Deployment
from tests.clients.drivers import CLIENTS, Both

TOOL = {"type": "function", "name": "get_weather", "description": "The weather", "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}  # fmt: skip
TURNS = [
    {"role": "user", "content": [{"type": "input_text", "text": "杭州的天气怎么样？"}]},
    {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Hangzhou"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "It rains."},
]  # fmt: skip
BODIES = {
    "plain": {"model": "demo-chat", "input": "Where does the ferry go, and when does it leave?"},
    "instructions": {"model": "demo-chat", "instructions": "Be kind.", "input": "Hello.", "service_tier": "flex", "store": False},
    "tools": {"model": "demo-tools", "input": "What is the weather in Hangzhou?", "tools": [TOOL]},
    "a tool's answer": {"model": "demo-chat", "input": TURNS, "tools": [TOOL]},
    "reasoning": {"model": "demo-reasoning", "input": "Think about the tide.", "reasoning": {"effort": "medium"}},
    "its cap": {"model": "demo-long:40", "input": "Tell me.", "max_output_tokens": 5},
    "nothing stated": {"model": "demo-silent", "input": "Say the words of the sea again and again."},
}  # fmt: skip
CASES = [
    Case(name=f"{name}{', streamed' if stream else ''}", endpoint="responses", body=body | {"stream": stream})
    for name, body in BODIES.items()
    for stream in (False, True)
]  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_changes_but_the_base_url(
    vendors: Deployment, clients: dict[str, Both], tmp_path: Path, client: str
) -> None:
    key = f"{client}-responses"
    direct, proxied = clients[client](
        tmp_path, (vendors.direct, "sk-direct"), (vendors.proxied, f"sk-{key}"), CASES
    )
    assert [seen.error for seen in direct] == [None] * len(CASES)
    rows = vendors.rows(key, len(CASES))
    for one, other in zip(direct, proxied, strict=True):
        assert other.result() == one.result(), one.name
        assert other.id is not None
        row = rows[other.id]
        answer = expected(msgspec.json.encode(other.body), "responses")
        assert (row["endpoint"], row["dialect"], row["outcome"]) == (
            "/v1/responses",
            "openai_responses",
            "completed",
        ), one.name
        if answer.usage is None:
            assert row["source"] == "estimated" and int(str(row["output_tokens"])) > 0
        else:
            details = answer.usage["output_tokens_details"]
            assert isinstance(details, dict)
            assert (row["input_tokens"], row["output_tokens"], row["reasoning_tokens"], row["source"]) == (
                answer.usage["input_tokens"], answer.usage["output_tokens"], details["reasoning_tokens"], "reported",
            ), one.name  # fmt: skip
        if client == "curl":
            assert other.parsed == answer.body, one.name
            assert str(row["upstream_request_id"]).startswith("resp_")
            assert str(row["upstream_request_id"]).encode() in answer.body
