"""What is read as usual is read as it would be with care, and the usual is what clients send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.call import read_any_call
from proxy.core.dialects.openai_chat.endpoints import CHAT, COMPLETIONS, EMBEDDINGS
from proxy.core.dialects.openai_chat.usual_call import NAMES, usual_call
from proxy.core.errors import ProxyError

PROMPT = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def compact(fields: object, **options: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":"), **options).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": False, "temperature": 0.7, "top_p": 1, "max_tokens": 512},
        {"max_completion_tokens": 20, "max_tokens": 10, "user": "u-1", "seed": 7, "stop": ["a"]},
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": [*PROMPT, {"role": "assistant", "content": None, "tool_calls": []}]},
        {"messages": [{"role": "user", "content": PARTS}], "reasoning_effort": "low"},
        {"presence_penalty": 0, "frequency_penalty": -0.5},
        {"messages": [{"role": "user", "content": "Grüße 🌊"}]},
    ],
)
def test_what_clients_send_is_usual(more: dict[str, Any]) -> None:
    fields = {"model": "gpt-5-mini", "messages": PROMPT, **more}
    body = compact(fields, ensure_ascii=False)
    read = usual_call(CHAT, body)
    assert read is not None and read == read_any_call(CHAT, body)
    assert all(
        usual_call(endpoint, compact(fields)) is None for endpoint in (COMPLETIONS, EMBEDDINGS)
    )


# Values that are read in several ways, or that bring more than text; and those of the usual kind.
VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2**53, 2**60, -1, 1.5, "", "m", " m", "a,b", "@preset/x", "t\n"),
        *(PROMPT, [], {}, [TOOL], [{"type": "web_search"}], [{"type": "function", "model": "x"}]),
        *({"include_usage": True}, {"include_usage": False}, {"include_usage": 1}, {"x": 1}),
        [{"role": "user", "content": PARTS}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}]}],
        [{"role": "user", "content": "x", "audio": {"id": "y"}}],
        [{"role": "user", "content": '"file"'}],
        [{"role": "user", "content": "\ud83d"}],
        [{"role": "user", "content": "\\u0041"}],
    ]
)
OTHERS = ("n", "metadata", "models", "Model", "max_Tokens", "modalities", "audio", "prompt", "input",
          "service_tier", "extra_body", "echo", "response_format", "x_new", "functions")  # fmt: skip
FIELDS = st.dictionaries(st.sampled_from([*sorted(NAMES), *OTHERS]), VALUES, max_size=6)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    fields = {"model": "m", "messages": PROMPT, **draw(FIELDS)}
    for name in draw(st.sets(st.sampled_from(["model", "messages"]))):
        if draw(st.booleans()):
            del fields[name]
    body = compact(fields, ensure_ascii=draw(st.booleans()))
    change = draw(st.sampled_from(["", "", "", "blank", "twice", "escaped", "torn", "bytes"]))
    if change == "blank":
        body = body.replace(b",", b", ", 1)
    elif change == "twice":
        body = body[:-1] + b',"model":"n"}'
    elif change == "escaped":
        body = body.replace(b'"model"', b'"mod\\u0065l"', 1)
    elif change == "torn":
        body = body[: draw(st.integers(0, len(body)))]
    elif change == "bytes":
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=2)) + body[at:]
    return body


@given(bodies())
def test_what_is_read_as_usual_is_read_alike_with_care(body: bytes) -> None:
    read = usual_call(CHAT, body)
    if read is None:
        return
    try:
        careful = read_any_call(CHAT, body)
    except ProxyError as error:
        raise AssertionError(f"refused with care: {error.message}") from error
    assert read == careful


def test_a_body_beyond_the_bound_is_read_with_care() -> None:
    body = compact({"model": "m", "messages": [{"role": "user", "content": "x" * 70_000}]})
    assert usual_call(CHAT, body) is None and read_any_call(CHAT, body).prompt_bytes == len(body)
