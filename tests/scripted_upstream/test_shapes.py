"""The objects of an answer: usage where and as each vendor states it, choices, events."""

from __future__ import annotations

import pytest

from proxy.scripted_upstream import pieces
from tests.scripted_upstream.asking import ASKED, PARIS, ask, objects, spoken, whole


@pytest.mark.parametrize(
    ("model", "options", "events_with_usage", "events_with_null"),
    [
        ("demo-chat", {}, [], 0),
        ("demo-chat", {"stream_options": {"include_usage": False}}, [], 0),
        ("demo-chat", ASKED, [-1], -1),
        ("demo-silent", ASKED, [], 0),
        ("demo-reports", {}, [-1], 0),
        ("deepseek-v3.2", {}, [], 0),
        ("qwen3-max-2026-01-23", ASKED, [-1], -1),
        ("deepseek-chat", {}, [-1], 0),
    ],
)
def test_streams_state_usage_where_the_vendor_does(
    model, options, events_with_usage, events_with_null
):
    answer = ask(model, stream=True, **options)
    events = objects(answer)
    assert [
        index - len(events) for index, event in enumerate(events) if event.get("usage")
    ] == events_with_usage
    assert sum("usage" in event and event["usage"] is None for event in events) == (
        len(events) + events_with_null if events_with_null else 0
    )
    assert answer.usage == (events[-1]["usage"] if events_with_usage else None)


def test_usage_that_stands_elsewhere():
    kimi, groq, gemini = (
        ask(model, stream=True) for model in ("kimi-k2", "llama-3.3-70b-instruct", "gemini-2.5-pro")
    )
    assert objects(kimi)[-1]["choices"][0]["usage"] == kimi.usage
    assert objects(groq)[-1]["x_groq"]["usage"] == groq.usage
    running = [event["usage"]["completion_tokens"] for event in objects(gemini)]
    assert running == sorted(running)
    assert running[-1] == gemini.usage["completion_tokens"] == len(pieces(PARIS))


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("qwen3-max-2026-01-23", {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21}),
        (
            "deepseek-chat",
            {
                "prompt_tokens": 14,
                "completion_tokens": 7,
                "total_tokens": 21,
                "prompt_cache_hit_tokens": 0,
                "prompt_cache_miss_tokens": 14,
            },
        ),
        (
            "gpt-4o",
            {
                "prompt_tokens": 14,
                "completion_tokens": 7,
                "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 0,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            },
        ),
        (
            "grok-3",
            {
                "prompt_tokens": 14,
                "completion_tokens": 7,
                "total_tokens": 21,
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        ),
    ],
)
def test_usage_objects_are_the_vendors(model, usage):
    assert ask(model).usage == whole(ask(model))["usage"] == usage


def test_reasoning_is_inside_the_output_but_not_with_xai():
    plain, xai = (
        ask("gpt-4o", reasoning_effort="medium").usage,
        ask("grok-3", reasoning_effort="medium").usage,
    )
    assert (
        plain["completion_tokens"],
        plain["completion_tokens_details"]["reasoning_tokens"],
        plain["total_tokens"],
    ) == (71, 64, 85)
    assert (
        xai["completion_tokens"],
        xai["completion_tokens_details"]["reasoning_tokens"],
        xai["total_tokens"],
    ) == (7, 64, 85)


def test_reasoning_aloud_is_streamed_and_counted():
    answer = ask("demo-reasoning", stream=True, **ASKED)
    aloud = [
        choice["delta"]["reasoning_content"]
        for event in objects(answer)
        for choice in event["choices"]
        if "reasoning_content" in choice["delta"]
    ]
    assert "".join(aloud).startswith("First I read the question.")
    assert answer.usage["completion_tokens_details"]["reasoning_tokens"] == len(aloud)
    assert answer.usage["completion_tokens"] == len(aloud) + 7


def test_several_choices_take_turns():
    answer = ask(n=3, stream=True, **ASKED)
    assert (
        answer.texts
        == (PARIS, f"{PARIS} (choice 2)", f"{PARIS} (choice 3)")
        == tuple(spoken(answer, index) for index in range(3))
    )
    assert [event["choices"][0]["index"] for event in objects(answer)[:6]] == [0, 1, 2, 0, 1, 2]
    assert answer.usage["completion_tokens"] == 7 + 11 + 11


def test_logprobs_service_tier_and_fingerprint():
    choice = whole(ask("gpt-4o", logprobs=True, top_logprobs=2))["choices"][0]
    assert [row["token"] for row in choice["logprobs"]["content"]] == list(pieces(PARIS))
    answer = whole(ask("gpt-4o", service_tier="auto"))
    assert (
        answer["service_tier"],
        answer["system_fingerprint"],
        answer["choices"][0]["logprobs"],
    ) == ("default", "fp_44709d6fcb", None)
    assert "service_tier" not in whole(ask("gpt-4o"))
    assert "system_fingerprint" not in whole(ask("qwen3-max-2026-01-23"))


def test_events_of_two_vendors_hold_delta_and_index_only():
    assert objects(ask("deepseek-v3.2", stream=True))[0]["choices"] == [
        {"delta": {"content": "The"}, "index": 0}
    ]
    assert (
        ask("qwen3-max-2026-01-23", stream=True)
        .events[0]
        .startswith(b'data: {"choices":[{"delta":{"content":"The"},"index":0}],')
    )


def test_multimodal_messages_and_spoken_answers():
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    answer = ask("gpt-4o", [{"role": "user", "content": parts}], modalities=["text", "audio"])
    assert answer.text == "You said: Look: [image_url] [input_audio]"
    assert whole(answer)["choices"][0]["message"]["audio"]["transcript"] == answer.text
    assert answer.usage["prompt_tokens"] == 3 + 4 + 2 + 85 + 20
    assert answer.usage["prompt_tokens_details"]["audio_tokens"] == 20
