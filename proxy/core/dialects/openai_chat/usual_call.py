"""The usual request of a chat, read in half the time: `call.py` reads all others.

What is not surely usual is left to it, so whatever is read here is read as it would be there.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.inside import steers_inside
from proxy.core.dialects.openai_chat.bounds import functions_alone, names_media, text_alone
from proxy.core.dialects.openai_chat.endpoints import CHAT
from proxy.core.dialects.scan import laid_out

_BYTES_MAX: Final = 64 * 1024  # fewer than the quotes that a body may have
_MODEL_CHARS_MAX: Final = 256
_CAP_DIGITS_MAX: Final = 15
# Names that steer nothing, stand for no other name, and whose values bring nothing into the prompt;
# `tools` is looked into.
NAMES: Final = frozenset(
    "model messages stream stream_options temperature top_p max_tokens max_completion_tokens"
    " user stop seed presence_penalty frequency_penalty tools tool_choice parallel_tool_calls"
    " reasoning_effort".split()
)
SPLICED: Final = ("model", "stream", "stream_options")  # whose places in the body are kept
_READ: Final = NAMES & {"stream", "stream_options", "tools", "max_tokens", "max_completion_tokens"}
_ASKING: Final = (b'{"include_usage":true}', b'{"include_usage": true}')
_Values = dict[str, msgspec.Raw]
_decode_values = msgspec.json.Decoder(_Values).decode
_decode_string = msgspec.json.Decoder(str).decode
_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def usual_call(endpoint: str, body: bytes) -> Call | None:
    """The call that a usual body makes; None for any other body."""
    if endpoint != CHAT or len(body) > _BYTES_MAX or names_media(body):
        return None
    try:
        if not body.isascii():
            body.decode()
        values = _decode_values(body)
        if not values.keys() <= NAMES:
            return None
        model = _decode_string(values["model"])
        if not text_alone(values["messages"]):
            return None
        user = _decode_string(values["user"]) if "user" in values else None
    except (KeyError, *_ERRORS):
        return None
    spans = laid_out(body, values)
    if (
        spans is None
        or not 0 < len(model) <= _MODEL_CHARS_MAX
        or not model.isprintable()
        or model != model.strip()
        or "," in model
        or "@" in model
    ):
        return None
    stream, cap, asks = False, None, None
    for name in values.keys() & _READ:
        text = bytes(values[name])
        if name == "stream":
            if text != b"true" and text != b"false":
                return None
            stream = text == b"true"
        elif name == "stream_options":
            if text not in _ASKING:
                return None
            asks = True
        elif name == "tools":
            if steers_inside(name, values[name]) or not functions_alone(text):
                return None
        elif not text.isdigit() or len(text) > _CAP_DIGITS_MAX:
            return None
        else:
            cap = int(text) if cap is None else max(cap, int(text))
    return Call(
        endpoint=endpoint,
        model=model,
        stream=stream,
        answers=1,
        max_tokens=cap,
        include_usage=asks,
        user=user,
        prompt_bytes=len(body),
        spans={name: spans[name] for name in SPLICED if name in spans},
        object_start=1,
    )
