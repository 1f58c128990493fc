"""A chat completion as nearly every vendor sends it, read in one decode.

It has one choice that ended in an ordinary way, whose message holds text and nothing else that was
written. Whatever is different is none, and takes the careful way of `shapes.py` and `written.py`; a
test holds that both say the same. It takes a tenth of their time.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from proxy.core.dialects.contract import MEASURE_UNCALIBRATED
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.delivered import exceeds
from proxy.core.dialects.openai_chat.plain_usage import proved_usage
from proxy.core.dialects.openai_chat.shapes import Answer, stated_in
from proxy.core.dialects.whole_answer import WholeAnswer, utf8_bytes

BODY_BYTES_MAX: Final = 256 * 1024  # decoded in one go
_NAME_CHARS_MAX: Final = 64  # longer ones are cut, by who reads with care
_AROUND_BYTES: Final = 2048  # of a body beside its text; in more may be text under another name


class _UsualMessage(msgspec.Struct, gc=False):
    """What else stands in it was not written by the model."""

    content: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: tuple[()] | None = None
    reasoning: None = None
    reasoning_text: None = None
    thinking: None = None
    reasoning_details: None = None
    thinking_blocks: None = None


class _UsualChoice(msgspec.Struct, gc=False):
    message: _UsualMessage
    finish_reason: Literal["stop", "length"]
    delta: None = None
    text: None = None
    usage: None = None


class _UsualGroq(msgspec.Struct, gc=False):
    usage: None = None
    error: None = None


class _UsualBody(msgspec.Struct, gc=False):
    choices: tuple[_UsualChoice]
    usage: msgspec.Raw
    model: str = ""
    id: str = ""
    service_tier: str | None = None
    object: Literal["chat.completion"] = "chat.completion"
    x_groq: _UsualGroq | None = None
    error: None = None
    type: None = None
    data: None = None


_decode = msgspec.json.Decoder(_UsualBody).decode


def usual_answer(
    body: bytes,
    cached_inside_input: bool = True,
    measure: tuple[int, int] = MEASURE_UNCALIBRATED,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> WholeAnswer | None:
    """The answer, if it is a usual one that states what it used."""
    if len(body) > BODY_BYTES_MAX or len(body) > body_bytes_max:
        return None
    try:
        found = _decode(body)
    except JSON_ERRORS:
        return None
    model, id, tier = found.model, found.id, found.service_tier
    if len(model) > _NAME_CHARS_MAX or len(id) > _NAME_CHARS_MAX:
        return None
    if tier is not None and len(tier) > _NAME_CHARS_MAX:
        return None
    usage = proved_usage(found.usage, cached_inside_input)
    if usage is None:
        stated = stated_in(Answer(usage=found.usage))
        if stated is None:
            return None
        usage = stated.usage(cached_inside_input=cached_inside_input)
        if not usage.input_tokens or not usage.output_tokens:
            return None
        tier = tier or stated.service_tier
    (choice,) = found.choices
    message = choice.message
    text_bytes = utf8_bytes(message.content) + utf8_bytes(message.reasoning_content)
    if exceeds(max(text_bytes, len(body) - _AROUND_BYTES), usage.output_tokens):
        return None
    tokens, per_bytes = measure
    return WholeAnswer(
        usage,
        text_bytes,
        -(-text_bytes * tokens // per_bytes),
        choice.finish_reason,
        model or None,
        id or None,
        tier or None,
    )
