"""The scripted answers, without a network: what each model's name and each parameter changes, and that the bytes say what `expected` says."""

from __future__ import annotations

import gzip
import zlib

import msgspec
import pytest

from proxy.scripted import Answer, Fault, expected, pieces

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PARIS = "The capital of France is Paris."


def ask(model: str = "demo-chat", messages: object = QUESTION, endpoint: str = "chat/completions", **rest: object) -> Answer:
    """The answer to one chat request."""
    return expected(msgspec.json.encode({"model": model, "messages": messages, **rest}), endpoint)


def objects(answer: Answer) -> list[dict]:
    """The JSON of each event that has any; comments and [DONE] left out."""
    lines = answer.body.decode().splitlines()
    return [msgspec.json.decode(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def whole(answer: Answer) -> dict:
    return msgspec.json.decode(answer.body)


def spoken(answer: Answer, index: int = 0) -> str:
    """The text a client would put together from the stream."""
    return "".join(
        choice["delta"].get("content") or "" for event in objects(answer) for choice in event.get("choices", []) if choice["index"] == index
    )


def test_the_same_request_gets_the_same_bytes_and_another_one_others():
    assert ask(stream=True) == ask(stream=True)
    assert ask(stream=True).body != ask(stream=True, seed=7).body


@pytest.mark.parametrize("text", ["", " ", "It's 3.14, no?", "量子计算是一种方式。", "a\n\nb  c\t", "naïve — 😀 café", "_x9 \u3000漢"])
def test_pieces_join_to_the_text(text):
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize(
    ("model", "question", "answer"),
    [
        ("deepseek-v3.2", "What is the capital of France?", PARIS),
        ("gemini-3-flash-preview", "And if you multiply that by 3?", "4 × 3 = 12."),
        ("qwen3-max-2026-01-23", "用一句话介绍量子计算。", "量子计算是一种利用量子力学原理进行信息处理的新型计算方式。"),
        ("gpt-4o", "介绍一下深度学习的基本原理。", "深度学习是机器学习的一个子领域，它使用多层神经网络来学习数据的表征。"),
        ("claude-sonnet-4-5", "Hello!", "Hello! How can I help you today?"),
        ("any-other-name", "ping", "You said: ping"),
    ],
)
def test_documented_questions_get_their_answers_as_json_and_as_a_stream(model, question, answer):
    messages = [{"role": "user", "content": question}]
    plain, stream = ask(model, messages), ask(model, messages, stream=True)
    assert whole(plain)["choices"][0]["message"]["content"] == plain.text == answer
    assert spoken(stream) == stream.text == answer
    assert stream.body.endswith(b"data: [DONE]\n\n")


def test_earlier_messages_are_echoed():
    turns = [
        {"role": "system", "content": "You are a math tutor."},
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "2 + 2 = 4."},
        {"role": "user", "content": "And if you multiply that by 3?"},
    ]
    assert ask("gemini-3-flash-preview", turns).text == (
        "4 × 3 = 12. (Before that: system: You are a math tutor.; user: What is 2+2?; assistant: 2 + 2 = 4.)"
    )


ASKED = {"stream_options": {"include_usage": True}}


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
def test_streams_state_usage_where_the_vendor_does(model, options, events_with_usage, events_with_null):
    answer = ask(model, stream=True, **options)
    events = objects(answer)
    assert [index - len(events) for index, event in enumerate(events) if event.get("usage")] == events_with_usage
    assert sum("usage" in event and event["usage"] is None for event in events) == (len(events) + events_with_null if events_with_null else 0)
    assert answer.usage == (events[-1]["usage"] if events_with_usage else None)


def test_usage_that_stands_elsewhere():
    kimi, groq, gemini = (ask(model, stream=True) for model in ("kimi-k2", "llama-3.3-70b-instruct", "gemini-2.5-pro"))
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
            {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21, "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 14},
        ),
        (
            "gpt-4o",
            {
                "prompt_tokens": 14,
                "completion_tokens": 7,
                "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
            },
        ),
        ("grok-3", {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 0}}),
    ],
)
def test_usage_objects_are_the_vendors(model, usage):
    assert ask(model).usage == whole(ask(model))["usage"] == usage


def test_reasoning_is_inside_the_output_but_not_with_xai():
    plain, xai = ask("gpt-4o", reasoning_effort="medium").usage, ask("grok-3", reasoning_effort="medium").usage
    assert (plain["completion_tokens"], plain["completion_tokens_details"]["reasoning_tokens"], plain["total_tokens"]) == (71, 64, 85)
    assert (xai["completion_tokens"], xai["completion_tokens_details"]["reasoning_tokens"], xai["total_tokens"]) == (7, 64, 85)


def test_reasoning_aloud_is_streamed_and_counted():
    answer = ask("demo-reasoning", stream=True, **ASKED)
    aloud = [choice["delta"]["reasoning_content"] for event in objects(answer) for choice in event["choices"] if "reasoning_content" in choice["delta"]]
    assert "".join(aloud).startswith("First I read the question.")
    assert answer.usage["completion_tokens_details"]["reasoning_tokens"] == len(aloud)
    assert answer.usage["completion_tokens"] == len(aloud) + 7


def test_earlier_turns_count_as_cached():
    turns = [{"role": "user", "content": "word " * 40}, {"role": "assistant", "content": "yes"}, *QUESTION]
    assert ask(messages=turns).usage["prompt_tokens_details"]["cached_tokens"] == 48


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({}, PARIS, "stop"),
        ({"max_tokens": 3}, "The capital of", "length"),
        ({"max_tokens": 0}, "", "length"),
        ({"max_tokens": 7}, PARIS, "stop"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "The capital", "length"),
        ({"max_completion_tokens": 18, "reasoning_effort": "low"}, "The capital", "length"),
        ({"stop": " is"}, "The capital of France", "stop"),
        ({"stop": ["x", "France"]}, "The capital of ", "stop"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_shortens_an_answer(options, text, reason, stream):
    answer = ask("gpt-4o", stream=stream, **options)
    assert answer.text == text
    last = objects(answer)[-1] if stream else whole(answer)
    assert last["choices"][0]["finish_reason"] == reason
    if stream:
        assert spoken(answer) == text


def test_the_filter_ends_an_answer():
    answer = ask("gpt-4o", [{"role": "user", "content": "say it [content_filter]"}])
    assert whole(answer)["choices"][0]["finish_reason"] == "content_filter"
    assert "You said: say it [content_filter]".startswith(answer.text)


def test_several_choices_take_turns():
    answer = ask(n=3, stream=True, **ASKED)
    assert answer.texts == (PARIS, f"{PARIS} (choice 2)", f"{PARIS} (choice 3)") == tuple(spoken(answer, index) for index in range(3))
    assert [event["choices"][0]["index"] for event in objects(answer)[:6]] == [0, 1, 2, 0, 1, 2]
    assert answer.usage["completion_tokens"] == 7 + 11 + 11


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "获取指定城市的天气",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "城市名称"}}, "required": ["city"]},
    },
}
WEATHER = [{"role": "user", "content": "北京今天天气怎么样?"}]


def test_a_tool_is_called_as_the_document_shows():
    plain = ask("qwen3-max-2026-01-23", WEATHER, tools=[TOOL])
    choice = whole(plain)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "call_0_get_weather", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"北京"}'}}
    ]
    stream = ask("qwen3-max-2026-01-23", WEATHER, tools=[TOOL], stream=True)
    calls = [call for event in objects(stream) for choice in event["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["id"] == "call_0_get_weather"
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city":"北京"}'


@pytest.mark.parametrize(
    ("model", "options", "called"),
    [
        ("gpt-4o", {"tools": [TOOL], "tool_choice": "none"}, []),
        ("gpt-4o", {"tools": [TOOL, {"type": "function", "function": {"name": "other"}}]}, ["get_weather"]),
        (
            "gpt-4o",
            {"tools": [TOOL, {"type": "function", "function": {"name": "other"}}], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            ["other"],
        ),
        ("demo-tools", {"tools": [TOOL, {"type": "function", "function": {"name": "other"}}]}, ["get_weather", "other"]),
        ("demo-tools", {}, ["get_weather"]),
    ],
)
def test_which_tools_are_called(model, options, called):
    calls = whole(ask(model, WEATHER, **options))["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == called


def test_a_tools_answer_is_answered_in_text():
    calls = whole(ask("demo-tools", WEATHER))["choices"][0]["message"]["tool_calls"]
    turns = [*WEATHER, {"role": "assistant", "content": None, "tool_calls": calls}, {"role": "tool", "tool_call_id": calls[0]["id"], "content": "sunny"}]
    assert ask("demo-tools", turns, tools=[TOOL]).text.startswith("The tool answered call_0_get_weather: sunny")


def test_structured_answers():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "kind": {"enum": ["a", "b"]}, "count": {"type": "integer"}, "tags": {"type": "array", "items": {}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert msgspec.json.decode(ask(response_format=wanted).text) == {"city": "Paris", "kind": "a", "count": 1, "tags": ["Paris"]}
    assert msgspec.json.decode(ask(response_format={"type": "json_object"}).text) == {"answer": PARIS}


def test_logprobs_service_tier_and_fingerprint():
    choice = whole(ask("gpt-4o", logprobs=True, top_logprobs=2))["choices"][0]
    assert [row["token"] for row in choice["logprobs"]["content"]] == list(pieces(PARIS))
    answer = whole(ask("gpt-4o", service_tier="auto"))
    assert (answer["service_tier"], answer["system_fingerprint"], answer["choices"][0]["logprobs"]) == ("default", "fp_44709d6fcb", None)
    assert "service_tier" not in whole(ask("gpt-4o"))
    assert "system_fingerprint" not in whole(ask("qwen3-max-2026-01-23"))


def test_events_of_two_vendors_hold_delta_and_index_only():
    assert objects(ask("deepseek-v3.2", stream=True))[0]["choices"] == [{"delta": {"content": "The"}, "index": 0}]
    assert ask("qwen3-max-2026-01-23", stream=True).events[0].startswith(b'data: {"choices":[{"delta":{"content":"The"},"index":0}],')


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


def test_completions_and_embeddings():
    body = msgspec.json.encode({"model": "demo-chat", "prompt": ["One", "Two"], "stream": True, **ASKED})
    completion = expected(body, "completions")
    assert completion.texts == ("One … and so on.", "Two … and so on.")
    assert completion.usage["completion_tokens"] == sum(len(pieces(text)) for text in completion.texts)
    body = msgspec.json.encode({"model": "text-embedding-3-small", "input": ["Hello!", "x"], "dimensions": 4})
    embeddings = whole(expected(body, "embeddings"))
    assert [len(row["embedding"]) for row in embeddings["data"]] == [4, 4]
    assert embeddings["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("model", "stream", "events", "ending"),
    [
        ("demo-cut", True, 3, Fault.RESET),
        ("demo-cut:0", True, 0, Fault.RESET),
        ("demo-cut:999", True, 10, Fault.RESET),
        ("demo-close:5", True, 5, Fault.CLOSE),
        ("demo-stall:1", True, 1, Fault.STALL),
        ("demo-cut", False, 1, Fault.RESET),
        ("demo-error-event:2", True, 4, Fault.NONE),
        ("demo-nodone", True, 9, Fault.NONE),
        ("demo-no-head", True, 0, Fault.NO_HEAD),
        ("demo-hang", False, 0, Fault.HANG),
    ],
)
def test_faults(model, stream, events, ending):
    answer = ask(model, stream=stream)
    assert (len(answer.events), answer.ending) == (events, ending)
    assert answer.text == spoken(answer)
    if ending is not Fault.NONE and answer.content_length is not None:
        assert answer.content_length > len(answer.body)


def test_an_error_inside_a_stream_comes_before_done():
    events = ask("demo-error-event:2", stream=True).events
    assert events[-2].startswith(b'data: {"error":')
    assert events[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("model", "status", "content_type", "text"),
    [
        ("demo-error-400", 400, "application/json", b'"type":"invalid_request_error"'),
        ("demo-error-401", 401, "application/json", b"Incorrect API key provided: sk-canary"),
        ("demo-error-429", 429, "application/json", b'"code":"rate_limit_exceeded"'),
        ("demo-error-500", 500, "application/json", b'"type":"server_error"'),
        ("demo-error-418", 418, "application/json", b'"type":"invalid_request_error"'),
        ("demo-error-422:mistral", 422, "application/json", b'{"object":"error","message"'),
        ("demo-error-529:anthropic", 529, "application/json", b'{"type":"error","error":{'),
        ("demo-error-422:detail", 422, "application/json", b'{"detail":'),
        ("demo-error-500:string", 500, "application/json", b'"Scripted error 500."'),
        ("demo-error-500:llamacpp", 500, "application/json", b'{"error":{"code":500,'),
        ("demo-error-500:text", 500, "text/plain; charset=utf-8", b"Scripted error 500."),
        ("demo-error-502:html", 502, "text/html; charset=utf-8", b"<!doctype html>"),
        ("demo-html", 200, "text/html; charset=utf-8", b"<!doctype html>"),
    ],
)
def test_errors_are_vendor_shaped(model, status, content_type, text):
    answer = expected(msgspec.json.encode({"model": model, "messages": QUESTION, "stream": True}), credential="sk-canary")
    assert (answer.status, answer.headers[0]) == (status, ("content-type", content_type))
    assert text in answer.body
    assert (("retry-after", "1") in answer.headers) == (status == 429)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Could not read the request body"),
        (b'{"messages":[]}', "missing required field `model`"),
        (b'{"model":"m"}', "Missing required parameter: 'messages'"),
        (b'{"model":"m","messages":[]}', "Missing required parameter: 'messages'"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":0}', "Invalid 'n'"),
        (b'{"model":"m","messages":[{"role":"user"}],"stop":["1","2","3","4","5"]}', "at most 4"),
        (b'{"model":"m","messages":[{"role":"user"}],"stream_options":{}}', "only allowed when 'stream' is enabled"),
        (b"[" * 5000, "Could not read the request body"),
    ],
)
def test_bad_requests_are_refused_as_an_upstream_would(body, message):
    answer = expected(body)
    assert answer.status == 400
    assert message in whole(answer)["error"]["message"]


@pytest.mark.parametrize(("model", "ending"), [("demo-crlf", b"\r\n\r\n"), ("demo-cr", b"\r\r")])
def test_line_ends(model, ending):
    answer = ask(model, stream=True)
    assert all(event.endswith(ending) for event in answer.events)
    assert spoken(answer) == PARIS


def test_compressed_events_can_be_read_one_by_one():
    answer = ask("demo-gzip", stream=True)
    assert spoken(Answer(events=(gzip.decompress(answer.body),))) == PARIS
    unpack = zlib.decompressobj(wbits=31)
    assert all(unpack.decompress(event).endswith(b"\n\n") for event in answer.events)


def test_the_rest_of_the_table():
    assert len(pieces(ask("demo-long:30").text)) == 30
    assert whole(ask("demo-substitute"))["model"] == "demo-other"
    assert whole(ask("demo-json", stream=True))["object"] == "chat.completion"
    assert ask("demo-comments", stream=True).body.count(b": OPENROUTER PROCESSING\n\n") == 10
    assert (ask("demo-slow").pace_s, ask("demo-slow:0.5").pace_s, ask("demo-slow:nonsense").pace_s) == (0.05, 0.5, 0.05)
    assert ask("demo-redirect").status == 307
