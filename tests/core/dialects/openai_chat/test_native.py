"""Answers of other APIs that gateways pass on: what is read is what they state and what they say."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter

OLLAMA = {"model": "llama3.2", "created_at": "2025-06-06T15:50:35Z", "done": False}
OLLAMA_END = OLLAMA | {"done": True, "done_reason": "stop", "total_duration": 872113375}
COUNTS = {"prompt_eval_count": 29, "eval_count": 25}
CHAT = {
    "model": "m",
    "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 29, "completion_tokens": 25, "total_tokens": 54},
}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "Hello"}], "role": "model"}, "index": 0}],
    "modelVersion": "gemini-2.5-flash",
}
GEMINI_COUNTS = {"promptTokenCount": 29, "candidatesTokenCount": 5, "totalTokenCount": 54}


def metered(body: bytes, *, stream: bool = False) -> ChatMeter:
    meter = ChatMeter(stream=stream, text_bytes_max=None)
    for at in range(0, len(body), 7):
        meter.feed(body[at : at + 7])
    meter.end()
    return meter


def lines(*objects: object, prefix: str = "") -> bytes:
    return "".join(f"{prefix}{json.dumps(each)}\n" for each in objects).encode()


def figures(meter: ChatMeter) -> tuple[int | None, int | None, int, bool | None, bool]:
    usage = meter.usage
    assert usage is not None
    return (
        usage.input_tokens,
        usage.output_tokens,
        meter.text_bytes,
        meter.answered,
        meter.usage_final,
    )


# Where it was seen: Ollama's API answers behind a gateway (microsoft/foundry-dev-tools 217,
# run-llama/llama_index 15773), Workers AI's REST API, Google's API (Portkey-AI/gateway 934,
# router-for-me/CLIProxyAPI 5733).
@pytest.mark.parametrize(
    ("answer", "text_bytes"),
    [
        (OLLAMA_END | COUNTS | {"message": {"role": "assistant", "content": "Hello"}}, 5),
        (OLLAMA_END | COUNTS | {"message": {"role": "assistant", "content": ""}}, 0),
        (OLLAMA_END | COUNTS | {"response": "Hello"}, 5),
        ({"result": CHAT, "success": True, "errors": [], "messages": []}, 5),
        (
            {"result": {"response": "Hello", "usage": CHAT["usage"]}, "success": True},
            5,
        ),
        (
            {"result": {"response": {"a": 1}, "usage": CHAT["usage"]}, "success": True},
            0,
        ),
        ({"data": CHAT, "code": 0}, 5),
        ({"response": CHAT, "success": True}, 5),
        (GEMINI | {"usageMetadata": GEMINI_COUNTS | {"thoughtsTokenCount": 20}}, 5),
        (GEMINI | {"usageMetadata": GEMINI_COUNTS | {"candidatesTokenCount": 25}}, 5),
        (
            {
                "candidates": [{"finishReason": "MAX_TOKENS", "index": 0}],
                "usageMetadata": {
                    "promptTokenCount": 29,
                    "thoughtsTokenCount": 25,
                    "totalTokenCount": 54,
                },
            },
            0,
        ),
    ],
)
def test_a_whole_answer(answer: object, text_bytes: int) -> None:
    meter = metered(json.dumps(answer).encode())
    assert figures(meter) == (29, 25, text_bytes, text_bytes > 0 or meter.answered, True)
    assert not meter.unreadable and not meter.error


def test_streams() -> None:
    said = [
        OLLAMA | {"message": {"role": "assistant", "content": text}} for text in ("Hel", "lo", " a")
    ]
    end = OLLAMA_END | COUNTS | {"message": {"role": "assistant", "content": ""}}
    assert figures(metered(lines(*said, end), stream=True)) == (29, 25, 7, True, True)
    generated = [OLLAMA | {"response": text} for text in ("Hel", "lo", " a")]
    end = OLLAMA_END | COUNTS | {"response": ""}
    assert figures(metered(lines(*generated, end), stream=True)) == (29, 25, 7, True, True)
    workers = [{"response": text, "p": "abc"} for text in ("Hel", "lo")]
    usage = {"response": "", "usage": CHAT["usage"]}
    body = lines(*workers, usage, prefix="data: ").replace(b"\n", b"\n\n") + b"data: [DONE]\n\n"
    assert figures(metered(body, stream=True)) == (29, 25, 5, True, True)
    google = [GEMINI, GEMINI | {"usageMetadata": GEMINI_COUNTS | {"thoughtsTokenCount": 20}}]
    google[1]["candidates"] = [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}]
    body = lines(*google, prefix="data: ").replace(b"\n", b"\r\n\r\n")
    meter = metered(body, stream=True)
    assert figures(meter) == (29, 25, 6, True, True)
    assert (meter.model_served, meter.finish_reason) == ("gemini-2.5-flash", "STOP")


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Too many requests", "code": 429},
        {"result": None, "success": False, "errors": [{"code": 1}]},
        {"candidates": "none", "message": None},
        {"candidates": []},
    ],
)
def test_what_says_nothing_is_no_answer(body: object) -> None:
    meter = metered(json.dumps(body).encode())
    assert meter.usage is None
    assert not meter.answered
    assert meter.text_bytes == 0


def test_parts_of_the_counts_are_read_by_their_own_names() -> None:
    counts = GEMINI_COUNTS | {"thoughtsTokenCount": 20, "cachedContentTokenCount": 9}
    usage = metered(json.dumps(GEMINI | {"usageMetadata": counts}).encode()).usage
    assert usage is not None
    assert (usage.cached_tokens, usage.reasoning_tokens) == (9, 20)
    ollama = OLLAMA_END | COUNTS | {"response": "Hello", "prompt_eval_cached_count": 7}
    usage = metered(json.dumps(ollama).encode()).usage
    assert usage is not None and usage.cached_tokens == 7


def test_candidates_beyond_any_vendors_number_or_size_are_not_made_into_objects() -> None:
    """Their usage is read all the same."""
    counts = {"usageMetadata": GEMINI_COUNTS}
    many = metered(json.dumps({"candidates": GEMINI["candidates"] * 200} | counts).encode())
    assert many.usage is not None and many.text_bytes == 128 * len("Hello")
    large = {"content": {"parts": [{"text": "x" * 2**20}]}}
    meter = ChatMeter(stream=False)
    meter.feed(json.dumps({"candidates": [large]} | counts).encode())
    meter.end()
    assert meter.usage is not None and meter.text_bytes == 0
