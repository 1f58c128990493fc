"""What the four vendors' documents show, as requests: every parameter, message shape and answer
shape they name, and one table of odd answers."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec

JSONObject = dict[str, object]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `then` are messages to send behind the answer's own, as a second turn."""

    name: str
    body: JSONObject
    endpoint: str = "chat/completions"
    then: tuple[JSONObject, ...] = ()


def system(text: str) -> JSONObject:
    return {"role": "system", "content": text}


def user(content: object, **more: object) -> JSONObject:
    return {"role": "user", "content": content, **more}


def assistant(content: str | None, **more: object) -> JSONObject:
    return {"role": "assistant", "content": content, **more}


def chat(model: str, messages: str | list[JSONObject], **parameters: object) -> JSONObject:
    return {
        "model": model,
        "messages": [user(messages)] if isinstance(messages, str) else messages,
        **parameters,
    }


HELPFUL = system("You are a helpful assistant.")
PARIS = [HELPFUL, user("What is the capital of France?")]
TUTOR = [
    system("You are a math tutor."),
    user("What is 2+2?"),
    assistant("2 + 2 = 4."),
    user("And if you multiply that by 3?"),
]
WEATHER: JSONObject = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "获取指定城市的天气",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "城市名称"}},
            "required": ["city"],
        },
    },
}
CLOCK: JSONObject = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
    },
}
SUNNY: JSONObject = {
    "role": "tool",
    "tool_call_id": "call_0_get_weather",
    "content": '{"weather":"晴","celsius":21}',
}
CALLED: JSONObject = assistant(
    None,
    tool_calls=[
        {
            "id": "call_7",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"北京"}'},
        }
    ],
)
FORCED: JSONObject = {"type": "function", "function": {"name": "get_weather"}}
PIXELS = base64.b64encode(bytes(range(256)) * 8).decode()
SCHEMA: JSONObject = {
    "type": "json_schema",
    "json_schema": {
        "name": "capital",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "inhabitants": {"type": "integer"},
                "rivers": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city", "inhabitants", "rivers"],
            "additionalProperties": False,
        },
    },
}
IMAGES = [
    {"type": "text", "text": "这张图片里有什么？"},
    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}},
]

# 000: one endpoint, several vendors chosen by the model's name alone.
MODELMAX = {
    "basic": chat("deepseek-v3.2", PARIS),
    "story": chat("deepseek-v3.2", "Tell me a short story."),
    "several turns": chat("gemini-3-flash-preview", TUTOR),
    "sampling": chat("gemini-3-flash-preview", PARIS, temperature=0.2, top_p=0.9, max_tokens=3),
    "stop as a string": chat("deepseek-v3.2", "Tell me a short story.", stop="cart"),
    "stop as a list": chat("deepseek-v3.2", "Tell me a short story.", stop=["bridge", "cart"]),
}

# 001: the full parameter set. Its names are those of OpenAI's models; api000 below has gpt-4o.
MODELVERSE = {
    "hello": chat("gpt-4o-mini", "Hello!"),
    "every plain parameter": chat(
        "gpt-4-turbo",
        [HELPFUL, user("Hello!")],
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logit_bias={"50256": -100},
        n=1,
        seed=7,
        stop="END",
        max_tokens=50,
        temperature=0.3,
        top_p=0.8,
        user="u-17",
        metadata={"feature": "chat", "env": "test"},
        service_tier="auto",
    ),
    "max_completion_tokens": chat("gpt-4o-mini", "Tell me a short story.", max_completion_tokens=4),
    "logprobs": chat("gpt-4o-mini", "Hello!", logprobs=True, top_logprobs=1),
    "three choices": chat("gpt-4o-mini", "Hello!", n=3),
    "images": chat("gpt-4o-mini", [user(IMAGES)]),
    "sound in": chat(
        "gpt-4o-mini",
        [user([{"type": "input_audio", "input_audio": {"data": PIXELS, "format": "wav"}}])],
    ),
    "sound out": chat(
        "gpt-4o-mini",
        "Hello!",
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
    ),
    "json_schema": chat("gpt-4o-mini", "Paris", response_format=SCHEMA),
    "tools": chat("gpt-4o-mini", "北京今天天气怎么样?", tools=[WEATHER, CLOCK], tool_choice="auto"),
    "no tools wanted": chat(
        "gpt-4o-mini", "北京今天天气怎么样?", tools=[WEATHER], tool_choice="none"
    ),
    "one tool wanted": chat(
        "gpt-4o-mini",
        "北京今天天气怎么样?",
        tools=[CLOCK, WEATHER],
        tool_choice=FORCED,
        parallel_tool_calls=False,
    ),
    "hidden reasoning": chat(
        "o3-mini",
        "What is the capital of France?",
        reasoning_effort="medium",
        max_completion_tokens=500,
    ),
}

# 002: Chinese throughout, function calls.
SKYZE = {
    "documented": chat(
        "qwen3-max-2026-01-23",
        [system("你是一个有帮助的助手。"), user("用一句话介绍量子计算。")],
        temperature=0.7,
        max_tokens=200,
    ),
    "joke": chat("qwen3-max-2026-01-23", "讲个笑话"),
    "function call": chat("qwen3-max-2026-01-23", "北京今天天气怎么样?", tools=[WEATHER]),
    "tool_choice": chat(
        "qwen3-max-2026-01-23", "上海呢？", tools=[CLOCK, WEATHER], tool_choice=FORCED
    ),
    "emoji and rare signs": chat(
        "qwen3-max-2026-01-23", '𠮷野家 👩‍🚀 é \u2028 \\ " </script> \u0000 end'
    ),
}

# 003: several vendors by model, each with its own way to state usage; all the roles; every finish
# reason.
API000 = {
    "documented": chat(
        "gpt-4o", [HELPFUL, user("介绍一下深度学习的基本原理。")], temperature=0.7, max_tokens=1024
    ),
    "two choices": chat("gpt-4o", "讲个笑话", n=2),
    "four stops": chat("gpt-4o", "Tell me a short story.", stop=["###", "END", "cart", "bridge"]),
    "penalties and seed": chat(
        "gpt-4o",
        "Hello!",
        presence_penalty=1.5,
        frequency_penalty=-1.5,
        seed=42,
        top_p=0.5,
        user="张三",
    ),
    "json_object": chat("gpt-4o", "Hello!", response_format={"type": "json_object"}),
    "all roles": chat(
        "gpt-4o",
        [
            HELPFUL,
            user("天气?", name="li_lei"),
            CALLED,
            {"role": "tool", "tool_call_id": "call_7", "content": "晴"},
        ],
        tools=[WEATHER],
    ),
    "seen": chat("gpt-4o", [user(IMAGES, name="han_meimei")]),
    "finish length": chat("gpt-4o", "介绍一下深度学习的基本原理。", max_tokens=4),
    "finish tool_calls": chat(
        "claude-sonnet-4-5", "上海今天天气怎么样?", tools=[WEATHER], tool_choice="required"
    ),
    "finish content_filter": chat("gpt-4o", "Tell me more about it [content_filter]"),
    "anthropic": chat("claude-opus-4-5", "Hello!"),
    "deepseek": chat("deepseek-chat", TUTOR),
    "deepseek reasoning aloud": chat("deepseek-reasoner", "What is the capital of France?"),
    "google": chat("gemini-2.5-pro", "What is the capital of France?"),
    "xai": chat("grok-3", "What is the capital of France?", reasoning_effort="low"),
    "qwen": chat("qwen-max", "讲个笑话"),
    "llama": chat("llama-3.3-70b-instruct", "Hello!"),
}

# No vendor's document, but seen in the wild: codings, line ends, comments, missing ends, answers of
# another kind or name.
ODD = {
    name: chat(name, "What is the capital of France?")
    for name in (
        "demo-gzip", "demo-deflate", "demo-crlf", "demo-cr", "demo-comments", "demo-nodone", "demo-json", "demo-substitute", "demo-reports", "demo-silent",
        "demo-cumulative", "demo-reasoning", "demo-tools", "demo-long:500", "kimi-k2", "mistral-large",
    )
}  # fmt: skip

DOCUMENTS = {
    "modelmax": MODELMAX,
    "modelverse": MODELVERSE,
    "opt": SKYZE,
    "api000": API000,
    "odd": ODD,
}

CONVERSATIONS = {
    "modelmax": Case(
        name="a second turn",
        body=chat("gemini-3-flash-preview", TUTOR),
        then=(user("Thank you. What is the capital of France?"),),
    ),
    "modelverse": Case(
        name="a tool's answer",
        body=chat("gpt-4o-mini", "北京今天天气怎么样?", tools=[WEATHER]),
        then=(SUNNY,),
    ),
    "opt": Case(
        name="a tool's answer",
        body=chat("qwen3-max-2026-01-23", "北京今天天气怎么样?", tools=[WEATHER]),
        then=(SUNNY,),
    ),
    "api000": Case(name="a second turn", body=chat("gpt-4o", "讲个笑话"), then=(user("Hello!"),)),
}
# Without a record: GET /v1/models, and models whose names hold a slash.
MODELS = (
    Case(name="models", endpoint="models", body={}),
    Case(name="one model", endpoint="models", body={"model": "gpt-4o"}),
    Case(name="a slash", endpoint="models", body={"model": "meta-llama/Llama-3"}),
)
OTHERS = (
    Case(
        name="embeddings",
        endpoint="embeddings",
        body={"model": "text-embedding-3-small", "input": ["深度学习", "deep learning"]},
    ),
    Case(
        name="completions",
        endpoint="completions",
        body={"model": "gpt-4o-mini", "prompt": "Once upon a time", "max_tokens": 7},
    ),
)


def cases(vendor: str) -> Iterator[Case]:
    """Each request of the vendor's document three times: not streamed, streamed, streamed with the
    usage asked for; then a conversation."""
    for name, body in DOCUMENTS[vendor].items():
        yield Case(name=name, body=body)
        yield Case(name=f"{name}, streamed", body=body | {"stream": True})
        yield Case(
            name=f"{name}, streamed with usage",
            body=body | {"stream": True, "stream_options": {"include_usage": True}},
        )
    if vendor in CONVERSATIONS:
        yield CONVERSATIONS[vendor]
