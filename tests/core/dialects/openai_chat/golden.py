"""Golden answers: what each vendor sends, written for this project from the shapes that they
document, and what is to be read from it.

One row an answer. `docs/vendors.md` shows the same rows to operators;
tests/core/dialects/openai_chat/test_golden.py runs them in every framing.
"""

from __future__ import annotations

import json
from typing import Final

import msgspec

from proxy.core.usage import Usage

DONE: Final = "[DONE]"
Event = dict[str, object]


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of a vendor and all that the meter is to know at its end. `text`: what was
    delivered, which the measure is taken from."""

    name: str
    vendor: str
    shape: str
    body: bytes
    usage: Usage | None = None
    final: bool | None = None  # by default: if usage is stated
    text: str = ""
    measure: int | None = (
        None  # tokens, where it does not follow from the text: bytes that were not read
    )
    done: bool | None = None  # by default: if the body ends with it
    error: bool = False
    finish: str | None = None
    model: str | None = None
    id: str | None = None
    tier: str | None = None
    answered: bool | None = True  # False: what came is no answer; None: nothing came that tells
    unreadable: bool = False
    stream: bool = True
    status: int = 200
    content_type: str | None = "text/event-stream"
    cached_inside_input: bool = True

    def expected(self) -> dict[str, object]:
        """The meter's attributes at the end."""
        return {
            "usage": self.usage,
            "usage_final": self.usage is not None if self.final is None else self.final,
            "output_measure": -(-len(self.text.encode()) // 4)
            if self.measure is None
            else self.measure,
            "done": self.body.endswith(b"[DONE]\n\n") if self.done is None else self.done,
            "error": self.error,
            "finish_reason": self.finish,
            "model_served": self.model,
            "response_id": self.id,
            "service_tier": self.tier,
            "answered": self.answered,
            "unreadable": self.unreadable,
            "oversized": False,
        }

    def result(self) -> str:
        """The same in an operator's words."""
        said = []
        if self.usage is not None:
            details = [
                ("cached", self.usage.cached_tokens),
                ("written to the cache", self.usage.cache_write_tokens),
            ]
            said.append(f"input {self.usage.input_tokens}" + _parts(details))
            said.append(
                f"output {self.usage.output_tokens}"
                + _parts([("reasoning", self.usage.reasoning_tokens)])
            )
            if self.usage.upstream_cost_nano is not None:
                said.append(f"cost {self.usage.upstream_cost_nano} nano")
            said += ["a running total"] if self.final is False else []
            said += ["inconsistent"] if self.usage.inconsistent else []
        else:
            said.append("nothing stated")
        said += ["error"] if self.error else []
        said += ["unreadable"] if self.unreadable else []
        said += ["no answer"] if not self.answered else []
        return ", ".join(said)


def _parts(parts: list[tuple[str, int | None]]) -> str:
    inner = ", ".join(f"{name} {count}" for name, count in parts if count is not None)
    return f" ({inner})" if inner else ""


def packed(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def sse(*events: Event | str) -> bytes:
    """The events as a stream; text is sent as it is, text that begins with a colon as a comment."""
    lines = [event if isinstance(event, str) else packed(event) for event in events]
    return "".join(
        f"{line}\n\n" if line.startswith(":") else f"data: {line}\n\n" for line in lines
    ).encode()


def body(value: object, *, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode()


def chunk(
    delta: Event | None,
    finish: str | None = None,
    *,
    id: str = "c-1",
    model: str = "m-1",
    choice: Event | None = None,
    **fields: object,
) -> Event:
    """A chunk with one choice. Its envelope is what all vendors send; `fields` what this one
    adds."""
    inner = {} if delta is None else {"delta": delta}
    choices = [{"index": 0, **inner, "finish_reason": finish, **({} if choice is None else choice)}]
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
        **fields,
    }


def last(
    usage: object, *, id: str = "c-1", model: str = "m-1", choices: object = (), **fields: object
) -> Event:
    """A chunk with nothing but usage."""
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
        "usage": usage,
        **fields,
    }


def answer(
    content: object,
    finish: str = "stop",
    *,
    id: str = "c-1",
    model: str = "m-1",
    choice: Event | None = None,
    **fields: object,
) -> Event:
    """An answer that is no stream."""
    message = content if isinstance(content, dict) else {"role": "assistant", "content": content}
    choices = [
        {
            "index": 0,
            "message": message,
            "finish_reason": finish,
            **({} if choice is None else choice),
        }
    ]
    return {
        "id": id,
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": choices,
        **fields,
    }


def plain(prompt: int, completion: int) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


ROLE: Final[Event] = {"role": "assistant", "content": ""}
HI: Final[Event] = {"content": "Grüß"}
THERE: Final[Event] = {"content": ' "dich" 好\n'}
TEXT: Final = 'Grüß "dich" 好\n'

OPENAI: Final = {
    **plain(21, 9),
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
    "completion_tokens_details": {
        "reasoning_tokens": 3,
        "audio_tokens": 1,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
OPENAI_USAGE: Final = Usage(21, 4, None, 9, 3, 2, 1, False, OPENAI)
ERROR: Final = {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}
PLAIN: Final = plain(12, 5)
PLAIN_USAGE: Final = Usage(12, output_tokens=5, raw=PLAIN)
RUNNING: Final = plain(12, 2)
RUNNING_USAGE: Final = Usage(12, output_tokens=2, raw=RUNNING)
JSON: Final = "application/json"
KNOWN: Final = {"model": "m-1", "id": "c-1"}

_OPENAI = (
    Golden(
        name="openai-stream",
        vendor="OpenAI",
        shape="`include_usage`: a last chunk with `choices: []`, the others `usage: null`; `obfuscation`; `service_tier` as used",
        body=sse(
            chunk(ROLE, usage=None, service_tier="auto", obfuscation="a1b"),
            chunk(HI, usage=None, service_tier="auto", obfuscation="c"),
            chunk(THERE, usage=None, service_tier="auto", obfuscation=""),
            chunk({}, "stop", usage=None, service_tier="auto", obfuscation="d9"),
            last(OPENAI, service_tier="default", obfuscation="e"),
            DONE,
        ),
        usage=OPENAI_USAGE,
        text=TEXT,
        finish="stop",
        tier="default",
        **KNOWN,
    ),
    Golden(
        name="openai-stream-unasked",
        vendor="OpenAI",
        shape="without `include_usage`",
        body=sse(chunk(ROLE), chunk(HI), chunk(THERE), chunk({}, "length"), DONE),
        text=TEXT,
        finish="length",
        **KNOWN,
    ),
    Golden(
        name="openai-stream-interrupted",
        vendor="OpenAI",
        shape="broken off before its usage",
        body=sse(chunk(ROLE, usage=None), chunk(HI, usage=None)),
        text="Grüß",
        **KNOWN,
    ),
    Golden(
        name="openai-stream-tools",
        vendor="OpenAI",
        shape="tool calls",
        body=sse(
            chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "t",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                        }
                    ],
                }
            ),
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "function": {"arguments": '{"usage":{"prompt_tokens":1}'}}
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
            chunk({}, "tool_calls"),
            last(PLAIN),
            DONE,
        ),
        usage=PLAIN_USAGE,
        text='f{"usage":{"prompt_tokens":1}}',
        finish="tool_calls",
        **KNOWN,
    ),
    Golden(
        name="openai-completions-stream",
        vendor="OpenAI",
        shape="`/v1/completions`",
        body=sse(
            *(
                {
                    "id": "c-1",
                    "object": "text_completion",
                    "created": 1,
                    "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": end}],
                    "model": "m-1",
                }
                for text, end in (("Hi", None), (" you", "stop"))
            ),
            {
                "id": "c-1",
                "object": "text_completion",
                "created": 1,
                "model": "m-1",
                "choices": [],
                "usage": PLAIN,
            },
            DONE,
        ),
        usage=PLAIN_USAGE,
        text="Hi you",
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="openai-json",
        vendor="OpenAI",
        shape="no stream",
        body=body(
            answer(TEXT, usage=OPENAI, service_tier="flex", system_fingerprint="f"), indent=2
        ),
        usage=OPENAI_USAGE,
        text=TEXT,
        finish="stop",
        tier="flex",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="openai-embeddings",
        vendor="OpenAI",
        shape="embeddings: `prompt_tokens`, `total_tokens`",
        body=body(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -2e-05]}],
                "model": "m-1",
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            }
        ),
        usage=Usage(8, output_tokens=0, raw={"prompt_tokens": 8, "total_tokens": 8}),
        model="m-1",
        stream=False,
        content_type=JSON,
    ),
    Golden(
        name="openai-error",
        answered=False,
        vendor="OpenAI",
        shape="a refusal to a stream",
        body=body(ERROR, indent=1),
        error=True,
        status=429,
        content_type=JSON,
    ),
    Golden(
        name="azure-stream",
        vendor="Azure",
        shape='first chunk `choices: []`, `id: ""`, `prompt_filter_results`; filter chunks without `delta`',
        body=sse(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": [
                    {
                        "prompt_index": 0,
                        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
                    }
                ],
            },
            chunk(ROLE, usage=None),
            chunk(HI, usage=None),
            chunk(
                None,
                None,
                id="",
                model="",
                choice={
                    "content_filter_offsets": {"check_offset": 9},
                    "content_filter_results": {},
                },
            ),
            chunk(THERE, usage=None),
            chunk({}, "stop", usage=None),
            last(OPENAI),
            DONE,
        ),
        usage=OPENAI_USAGE,
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="azure-json",
        vendor="Azure",
        shape="no stream",
        body=body(
            answer(
                TEXT,
                choice={
                    "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}
                },
                prompt_filter_results=[{"prompt_index": 0}],
                usage=OPENAI,
            )
        ),
        usage=OPENAI_USAGE,
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
)

DEEPSEEK: Final = {
    **plain(20, 8),
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 3},
    "prompt_cache_hit_tokens": 16,
    "prompt_cache_miss_tokens": 4,
}
DEEPSEEK_OLD: Final = {**plain(20, 8), "prompt_cache_hit_tokens": 16, "prompt_cache_miss_tokens": 4}
GEMINI: Final = {"completion_tokens": 5, "prompt_tokens": 12, "total_tokens": 57}
QWEN: Final = {**plain(22, 5), "prompt_tokens_details": {"cached_tokens": 10}}
KIMI: Final = {**plain(19, 6), "cached_tokens": 10}
GROQ: Final = {
    "queue_time": 0.02,
    "prompt_tokens": 12,
    "prompt_time": 0.0005,
    "completion_tokens": 5,
    "completion_time": 0.01,
    "total_tokens": 17,
    "total_time": 0.0105,
}
XAI: Final = {
    "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 19, "prompt_tokens_details": {"text_tokens": 10, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 0}, "num_sources_used": 0,
}  # fmt: skip
XAI_USAGE: Final = Usage(10, 6, None, 9, 7, 0, 0, False, XAI)

_VENDORS = (
    Golden(
        name="deepseek-stream",
        vendor="DeepSeek",
        shape="usage on the last content chunk, asked or not; comments `: keep-alive`; `reasoning_content`",
        body=sse(
            ": keep-alive",
            chunk({"role": "assistant", "content": None, "reasoning_content": "Hm"}),
            ": keep-alive",
            chunk({"content": "Grüß", "reasoning_content": None}),
            chunk({"content": ' "dich" 好\n', "reasoning_content": None}, "stop", usage=DEEPSEEK),
            DONE,
        ),
        usage=Usage(20, 16, None, 8, 3, raw=DEEPSEEK),
        text="Hm" + TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="deepseek-json",
        vendor="DeepSeek",
        shape="`prompt_cache_hit_tokens` alone; empty lines while it is generated",
        body=b"\n\n\n" + body(answer(TEXT, usage=DEEPSEEK_OLD)),
        usage=Usage(20, 16, None, 8, raw=DEEPSEEK_OLD),
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="gemini-stream",
        vendor="Gemini (compat)",
        shape="usage on every chunk, cumulative; thoughts outside of all but the total",
        body=sse(
            chunk({"role": "assistant", **HI}, usage={**RUNNING, "total_tokens": 54}),
            chunk(THERE, "stop", usage=GEMINI),
            DONE,
        ),
        usage=Usage(12, output_tokens=45, inconsistent=True, raw=GEMINI),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="gemini-stream-interrupted",
        vendor="Gemini (compat)",
        shape="the same, broken off",
        body=sse(
            chunk({"role": "assistant", **HI}, usage=plain(12, 1)), chunk(THERE, usage=RUNNING)
        ),
        usage=RUNNING_USAGE,
        final=False,
        text=TEXT,
        **KNOWN,
    ),
    Golden(
        name="gemini-json",
        vendor="Gemini (compat)",
        shape="no stream",
        body=body(answer(TEXT, usage=PLAIN)),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="qwen-stream",
        vendor="Qwen / DashScope",
        shape='as OpenAI; `finish_reason` is `""` or null until the end',
        body=sse(
            chunk({"role": "assistant", **HI}, "", usage=None),
            chunk(THERE, usage=None),
            chunk({"content": ""}, "stop", usage=None),
            last(QWEN, choices=[]),
            DONE,
        ),
        usage=Usage(22, 10, None, 5, raw=QWEN),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="qwen-json",
        vendor="Qwen / DashScope",
        shape="no stream",
        body=body(answer(TEXT, usage=QWEN)),
        usage=Usage(22, 10, None, 5, raw=QWEN),
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="kimi-stream",
        vendor="Moonshot / Kimi",
        shape="`choices[0].usage` on the finish chunk, `cached_tokens` on its top level",
        body=sse(
            chunk(ROLE), chunk(HI), chunk(THERE), chunk({}, "stop", choice={"usage": KIMI}), DONE
        ),
        usage=Usage(19, 10, None, 6, raw=KIMI),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="kimi-stream-asked",
        vendor="Moonshot / Kimi",
        shape="`include_usage`: a last chunk as well",
        body=sse(
            chunk(HI),
            chunk(THERE),
            chunk({}, "stop", choice={"usage": RUNNING}),
            last(KIMI, choices=[]),
            DONE,
        ),
        usage=Usage(19, 10, None, 6, raw=KIMI),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="kimi-json",
        vendor="Moonshot / Kimi",
        shape="no stream",
        body=body(answer(TEXT, usage=KIMI)),
        usage=Usage(19, 10, None, 6, raw=KIMI),
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="groq-stream",
        vendor="Groq",
        shape="`x_groq.usage` on the finish chunk",
        body=sse(
            chunk(ROLE, x_groq={"id": "r"}),
            chunk(HI),
            chunk(THERE),
            chunk({}, "stop", x_groq={"id": "r", "usage": GROQ}),
            DONE,
        ),
        usage=Usage(12, output_tokens=5, raw=GROQ),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="groq-stream-error",
        vendor="Groq",
        shape="`x_groq.error`: stopped early",
        body=sse(
            chunk(ROLE, x_groq={"id": "r"}),
            chunk(HI),
            chunk({}, x_groq={"id": "r", "error": "over capacity"}),
            DONE,
        ),
        text="Grüß",
        error=True,
        **KNOWN,
    ),
    Golden(
        name="groq-json",
        vendor="Groq",
        shape="no stream",
        body=body(answer(TEXT, usage=GROQ, x_groq={"id": "r"}, service_tier="on_demand")),
        usage=Usage(12, output_tokens=5, raw=GROQ),
        text=TEXT,
        finish="stop",
        tier="on_demand",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="mistral-stream",
        vendor="Mistral",
        shape="usage on the last chunk, unasked",
        body=sse(
            chunk(ROLE), chunk(HI), chunk(THERE), chunk({"content": ""}, "stop", usage=PLAIN), DONE
        ),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="mistral-stream-error",
        vendor="Mistral",
        shape='`{"object":"error"}` inside a stream',
        body=sse(
            chunk(ROLE),
            chunk(HI),
            {"object": "error", "message": "no", "type": "internal", "param": None, "code": "1000"},
        ),
        text="Grüß",
        error=True,
        **KNOWN,
    ),
    Golden(
        name="mistral-json",
        vendor="Mistral",
        shape="thinking in parts of the content",
        body=body(
            answer(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                    {"type": "text", "text": TEXT},
                ],
                usage=PLAIN,
            )
        ),
        usage=PLAIN_USAGE,
        text="Hm" + TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="xai-stream",
        vendor="xAI",
        shape="`completion_tokens` without the reasoning, `total_tokens` with it",
        body=sse(
            chunk({"role": "assistant", "reasoning_content": "Hm"}),
            chunk(HI),
            chunk(THERE),
            chunk({}, "stop"),
            last(XAI, choices=[]),
            DONE,
        ),
        usage=XAI_USAGE,
        text="Hm" + TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="xai-json",
        vendor="xAI",
        shape="no stream",
        body=body(
            answer(
                {"role": "assistant", "content": TEXT, "reasoning_content": "Hm", "refusal": None},
                usage=XAI,
            )
        ),
        usage=XAI_USAGE,
        text="Hm" + TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
)

_SERVERS = (
    Golden(
        name="vllm-stream",
        vendor="vLLM",
        shape="last chunk with `choices` null",
        body=sse(
            chunk(ROLE),
            chunk(HI),
            chunk(THERE, "stop", choice={"stop_reason": None}),
            last(PLAIN, choices=None),
            DONE,
        ),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="vllm-stream-continuous",
        vendor="vLLM",
        shape="`continuous_usage_stats`: cumulative on each chunk",
        body=sse(
            chunk(ROLE, usage=plain(12, 0)),
            chunk(HI, usage=RUNNING),
            chunk(THERE, "stop", usage=PLAIN),
            last(PLAIN, choices=[]),
            DONE,
        ),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="vllm-stream-error",
        vendor="vLLM",
        shape="an error event, then `[DONE]`",
        body=sse(
            chunk(ROLE),
            chunk(HI),
            {"error": {"message": "no", "type": "InternalServerError", "param": None, "code": 500}},
            DONE,
        ),
        text="Grüß",
        error=True,
        **KNOWN,
    ),
    Golden(
        name="vllm-stream-continuous-error",
        vendor="vLLM",
        shape="the same after cumulative usage",
        body=sse(
            chunk(ROLE, usage=plain(12, 0)),
            chunk(HI, usage=RUNNING),
            {"error": {"message": "no", "type": "InternalServerError", "param": None, "code": 500}},
            DONE,
        ),
        usage=RUNNING_USAGE,
        final=False,
        text="Grüß",
        error=True,
        **KNOWN,
    ),
    Golden(
        name="vllm-json",
        vendor="vLLM",
        shape="no stream, null details",
        body=body(
            answer(
                {"role": "assistant", "content": TEXT, "tool_calls": []},
                usage={**PLAIN, "prompt_tokens_details": None},
                prompt_logprobs=None,
            )
        ),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="sglang-stream",
        vendor="SGLang",
        shape="cumulative on each chunk, then a last chunk",
        body=sse(
            chunk(ROLE, usage=plain(12, 0)),
            chunk(HI, usage=RUNNING),
            chunk(THERE, "stop", usage=RUNNING, choice={"matched_stop": 2}),
            last({**PLAIN, "reasoning_tokens": 0}, choices=[]),
            DONE,
        ),
        usage=Usage(12, output_tokens=5, reasoning_tokens=0, raw={**PLAIN, "reasoning_tokens": 0}),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="llamacpp-stream",
        vendor="llama.cpp",
        shape="usage if asked, with `timings`",
        body=sse(
            chunk(ROLE),
            chunk(HI),
            chunk(THERE),
            chunk({}, "stop"),
            last(
                PLAIN,
                choices=[],
                timings={"prompt_n": 2, "prompt_ms": 1.5, "predicted_n": 5, "predicted_ms": 9.25},
            ),
            DONE,
        ),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="llamacpp-stream-unasked",
        vendor="llama.cpp",
        shape="`timings` alone: no usage, since `prompt_n` leaves out what was cached",
        body=sse(
            chunk(ROLE),
            chunk(HI),
            chunk(THERE),
            chunk({}, "stop", timings={"prompt_n": 2, "predicted_n": 5}),
            DONE,
        ),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="llamacpp-error",
        answered=False,
        vendor="llama.cpp",
        shape="integer error codes",
        body=body(
            {
                "error": {
                    "code": 400,
                    "message": "too long",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9,
                    "n_ctx": 8,
                }
            }
        ),
        error=True,
        status=400,
        content_type=JSON,
    ),
    Golden(
        name="llamacpp-embeddings",
        vendor="llama.cpp",
        shape="embeddings: usage before the data",
        body=body(
            {
                "model": "m-1",
                "object": "list",
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
                "data": [{"embedding": [0.5], "index": 0}],
            }
        ),
        usage=Usage(8, output_tokens=0, raw={"prompt_tokens": 8, "total_tokens": 8}),
        model="m-1",
        stream=False,
        content_type=JSON,
    ),
    Golden(
        name="transformers-stream",
        vendor="transformers serve",
        shape="usage always, on the finish chunk; no `[DONE]`",
        body=sse(chunk(ROLE), chunk(HI), chunk(THERE), chunk({}, "stop", usage=PLAIN)),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="transformers-error",
        vendor="transformers serve",
        shape="a plain-text 500",
        body=b"Internal Server Error",
        answered=False,
        unreadable=True,
        status=500,
        content_type="text/plain",
    ),
    Golden(
        name="ollama-stream",
        vendor="Ollama",
        shape="three plain counters if asked",
        body=sse(
            chunk({"role": "assistant", "content": "", "reasoning": "Hm"}),
            chunk(HI),
            chunk(THERE),
            chunk({"content": ""}, "stop"),
            last(PLAIN, choices=[]),
            DONE,
        ),
        usage=PLAIN_USAGE,
        text="Hm" + TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="ollama-json",
        vendor="Ollama",
        shape="no stream",
        body=body(answer(TEXT, usage=PLAIN)),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
)

OPENROUTER: Final = {
    **plain(194, 2), "cost": 0.00014, "is_byok": False, "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20, "audio_tokens": 0},
    "cost_details": {"upstream_inference_cost": None, "upstream_inference_prompt_cost": 0.0001}, "completion_tokens_details": {"reasoning_tokens": 1, "image_tokens": 0},
}  # fmt: skip
OPENROUTER_NUMBERS: Final = {
    **plain(194, 2), "cost": 0.00014, "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20, "audio_tokens": 0},
    "cost_details": {"upstream_inference_prompt_cost": 0.0001}, "completion_tokens_details": {"reasoning_tokens": 1, "image_tokens": 0},
}  # fmt: skip
OPENROUTER_USAGE: Final = Usage(194, 100, 20, 2, 1, 0, None, False, OPENROUTER_NUMBERS, 140_000)
LITELLM: Final = {
    **plain(30, 5),
    "completion_tokens_details": None,
    "prompt_tokens_details": {"cached_tokens": 20},
    "cache_creation_input_tokens": 6,
    "cache_read_input_tokens": 20,
}
LITELLM_NUMBERS: Final = {name: value for name, value in LITELLM.items() if value is not None}
BESIDE: Final = {
    "prompt_tokens": 4,
    "completion_tokens": 5,
    "total_tokens": 35,
    "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 6},
}

_GATEWAYS = (
    Golden(
        name="openrouter-stream",
        vendor="OpenRouter",
        shape="comments; usage always in the last event, with `cost`",
        body=sse(
            ": OPENROUTER PROCESSING",
            ": OPENROUTER PROCESSING",
            chunk(
                {
                    **ROLE,
                    "reasoning": "Hm",
                    "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}],
                },
                provider="P",
            ),
            chunk(HI, provider="P"),
            chunk(THERE, provider="P"),
            chunk(
                {"content": ""}, "stop", provider="P", choice={"native_finish_reason": "end_turn"}
            ),
            chunk({"content": ""}, provider="P", usage=OPENROUTER),
            DONE,
        ),
        usage=OPENROUTER_USAGE,
        text="Hm" + TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="openrouter-stream-error",
        vendor="OpenRouter",
        shape="an error in mid-stream under HTTP 200",
        body=sse(
            ": OPENROUTER PROCESSING",
            chunk(HI, provider="P"),
            chunk(
                {"content": ""},
                "error",
                provider="P",
                error={"code": 502, "message": "Provider disconnected"},
            ),
        ),
        text="Grüß",
        error=True,
        finish="error",
        **KNOWN,
    ),
    Golden(
        name="openrouter-stream-finish-error",
        vendor="OpenRouter",
        shape="`finish_reason: error` alone, then its usage",
        body=sse(chunk(HI), chunk({}, "error"), chunk({"content": ""}, usage=OPENROUTER), DONE),
        usage=OPENROUTER_USAGE,
        text="Grüß",
        error=True,
        finish="error",
        **KNOWN,
    ),
    Golden(
        name="openrouter-json",
        vendor="OpenRouter",
        shape="no stream",
        body=body(
            answer(
                {"role": "assistant", "content": TEXT, "reasoning": None},
                usage=OPENROUTER,
                provider="P",
            )
        ),
        usage=OPENROUTER_USAGE,
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="openrouter-json-error",
        vendor="OpenRouter",
        shape="a choice that failed under HTTP 200",
        body=body(
            answer("Grüß", "error", choice={"error": {"code": 502, "message": "no"}}, usage=PLAIN)
        ),
        usage=PLAIN_USAGE,
        text="Grüß",
        error=True,
        finish="error",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="bedrock-stream",
        vendor="Bedrock (compat)",
        shape="a stream without any usage, asked or not",
        body=sse(chunk(ROLE), chunk(HI), chunk(THERE), chunk({}, "stop"), DONE),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="bedrock-json",
        vendor="Bedrock (compat)",
        shape="no stream",
        body=body(answer(TEXT, usage=PLAIN, service_tier="default")),
        usage=PLAIN_USAGE,
        text=TEXT,
        finish="stop",
        tier="default",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
    Golden(
        name="litellm-stream",
        vendor="LiteLLM proxy",
        shape="the usage chunk has a choice; Anthropic's names for the cache",
        body=sse(
            chunk({"role": "assistant", **HI}),
            chunk(THERE),
            chunk({}, "stop"),
            chunk({}, usage=LITELLM),
            DONE,
        ),
        usage=Usage(30, 20, 6, 5, raw=LITELLM_NUMBERS),
        text=TEXT,
        finish="stop",
        **KNOWN,
    ),
    Golden(
        name="litellm-json",
        vendor="LiteLLM proxy",
        shape="no stream",
        body=body(answer(TEXT, usage=LITELLM)),
        usage=Usage(30, 20, 6, 5, raw=LITELLM_NUMBERS),
        text=TEXT,
        finish="stop",
        stream=False,
        content_type=JSON,
        **KNOWN,
    ),
)

_OTHERS = (
    Golden(
        name="cached-beside-stream", vendor="any, with `cached_inside_input: false`", shape="cached tokens beside the prompt tokens", body=sse(chunk(HI), chunk(THERE), chunk({}, "stop"), last(BESIDE, choices=[]), DONE),
        usage=Usage(30, 20, 6, 5, raw=BESIDE), text=TEXT, finish="stop", cached_inside_input=False, **KNOWN,
    ),
    Golden(
        name="cached-beside-json", vendor="any, with `cached_inside_input: false`", shape="no stream", body=body(answer(TEXT, usage=BESIDE)),
        usage=Usage(30, 20, 6, 5, raw=BESIDE), text=TEXT, finish="stop", cached_inside_input=False, stream=False, content_type=JSON, **KNOWN,
    ),
    Golden(
        name="cached-beside-unsaid", vendor="any", shape="the same without the setting: the total proves it", body=body(answer(TEXT, usage=BESIDE)),
        usage=Usage(30, 20, 6, 5, raw=BESIDE), text=TEXT, finish="stop", stream=False, content_type=JSON, **KNOWN,
    ),
    Golden(
        name="cached-beside-untold", vendor="any", shape="and a total that leaves them out", body=body(answer(TEXT, usage={**BESIDE, "total_tokens": 9})),
        usage=Usage(30, 20, 6, 5, inconsistent=True, raw={**BESIDE, "total_tokens": 9}), text=TEXT, finish="stop", stream=False, content_type=JSON, **KNOWN,
    ),
    Golden(
        name="json-to-stream", vendor="any", shape="JSON to `stream: true`", body=body(answer(TEXT, usage=PLAIN)),
        usage=PLAIN_USAGE, text=TEXT, finish="stop", content_type=JSON, **KNOWN,
    ),
    Golden(
        name="zeros-then-usage", vendor="any", shape="zeros on every chunk, the usage on the last one", body=sse(chunk(ROLE, usage=plain(0, 0)), chunk(HI, usage=plain(0, 0)), chunk(THERE, "stop", usage=PLAIN), DONE),
        usage=PLAIN_USAGE, text=TEXT, finish="stop", **KNOWN,
    ),
    Golden(
        name="usage-then-zeros", vendor="any", shape="the usage on the finish chunk, zeros on the last one", body=sse(chunk(HI), chunk(THERE, "stop", usage=PLAIN), last(plain(0, 0), choices=[]), DONE),
        usage=PLAIN_USAGE, text=TEXT, finish="stop", **KNOWN,
    ),
    Golden(
        name="usage-before-text", vendor="any", shape="usage on the first chunk alone: it has not counted the text", body=sse(chunk(ROLE, usage=plain(12, 1)), chunk(HI), chunk(THERE, "stop"), DONE),
        usage=Usage(12, output_tokens=1, raw=plain(12, 1)), final=False, text=TEXT, finish="stop", **KNOWN,
    ),
    Golden(
        name="sides-apart", vendor="any", shape="the prompt on the first chunk, the output on the last one", body=sse(chunk(ROLE, usage={**plain(12, 1), "prompt_tokens_details": {"cached_tokens": 4}}), chunk(HI), chunk(THERE, "stop"), last({"completion_tokens": 5}, choices=[]), DONE),
        usage=Usage(12, 4, None, 5, raw={"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 4}}), text=TEXT, finish="stop", **KNOWN,
    ),
    Golden(name="role-alone", vendor="any", shape="a stream of nothing but the role", body=sse(chunk(ROLE), DONE), answered=None, **KNOWN),
    Golden(
        name="zeros-alone", vendor="any", shape="no choices and a usage of zeros", body=body({"id": "c-1", "object": "chat.completion", "created": 1, "model": "m-1", "usage": plain(0, 0)}),
        usage=Usage(0, output_tokens=0, raw=plain(0, 0)), answered=False, stream=False, content_type=JSON, **KNOWN,
    ),
    Golden(
        name="json-as-events", vendor="any", shape="JSON to `stream: true`, said to be events", body=body(answer(TEXT, usage=PLAIN), indent=1),
        usage=PLAIN_USAGE, text=TEXT, finish="stop", **KNOWN,
    ),
    Golden(name="error-json-to-stream", answered=False, vendor="any", shape="an error body under HTTP 200", body=body(ERROR), error=True, content_type=JSON),
    Golden(name="html-to-stream", vendor="any", shape="an HTML page under HTTP 200, to a stream", body=b"<html><h1>Welcome</h1></html>", answered=False, unreadable=True, content_type="text/html"),
    Golden(name="html", vendor="any", shape="an HTML page under HTTP 200", body=b"<html><h1>Welcome</h1></html>", answered=False, unreadable=True, stream=False, content_type="text/html"),
    Golden(name="text-to-stream", answered=False, vendor="any", shape="plain text under HTTP 200, to a stream", body=b"Upstream is busy", unreadable=True, content_type="text/plain"),
    Golden(name="detail", answered=False, vendor="any", shape="`{\"detail\": …}` with its status", body=body({"detail": "Not found"}), status=404, content_type=JSON),
    Golden(name="empty", answered=None, vendor="any", shape="no body at all", body=b""),
)  # fmt: skip

GOLDENS: Final = (*_OPENAI, *_VENDORS, *_SERVERS, *_GATEWAYS, *_OTHERS)
