"""A message as nearly every vendor sends it, read in one decode.

It ended in an ordinary way and holds texts, shown thinking and nothing else. Whatever is different
is none, and takes the careful way of `events.py`; a test holds that both say the same.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from proxy.core.dialects.anthropic_messages.stated import read_statement
from proxy.core.dialects.contract import MEASURE_UNCALIBRATED
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.whole_answer import WholeAnswer, utf8_bytes

_BODY_BYTES_MAX: Final = 256 * 1024  # decoded in one go
_NAME_CHARS_MAX: Final = 64  # longer ones are cut, by who reads with care


class _PlainText(msgspec.Struct, gc=False, tag="text"):
    text: str
    thinking: None = None


class _ShownThinking(msgspec.Struct, gc=False, tag="thinking"):
    thinking: str
    text: None = None


class _UsualOne(msgspec.Struct, gc=False):
    """What else stands in it says nothing of what was used."""

    content: Annotated[list[_PlainText | _ShownThinking], msgspec.Meta(max_length=256)]
    usage: msgspec.Raw
    type: Literal["message"]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence"]
    model: str = ""
    id: str = ""
    error: None = None


_decode = msgspec.json.Decoder(_UsualOne).decode


def usual_message(
    body: bytes,
    cached_inside_input: bool,
    measure: tuple[int, int] = MEASURE_UNCALIBRATED,
    body_bytes_max: int = _BODY_BYTES_MAX,
) -> WholeAnswer | None:
    """The message, if it is a usual one that states what it used."""
    if len(body) > _BODY_BYTES_MAX or len(body) > body_bytes_max:
        return None
    try:
        found = _decode(body)
    except JSON_ERRORS:
        return None
    if len(found.model) > _NAME_CHARS_MAX or len(found.id) > _NAME_CHARS_MAX:
        return None
    statement = read_statement(found.usage)
    if statement is None or not (statement.own.input_tokens and statement.own.output_tokens):
        return None
    text_bytes = sum(
        utf8_bytes(block.text if type(block) is _PlainText else block.thinking)
        for block in found.content
    )
    tokens, per_bytes = measure
    return WholeAnswer(
        statement.usage(cached_inside_input=cached_inside_input),
        text_bytes,
        -(-text_bytes * tokens // per_bytes),
        found.stop_reason,
        found.model or None,
        found.id or None,
        statement.own.service_tier,
    )
