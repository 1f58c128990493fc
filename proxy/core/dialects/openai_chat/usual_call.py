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

_BYTES_MAX: Final = 64 * 1024  # fewer than the quotes that a body may have
_MODEL_CHARS_MAX: Final = 256
_CAP_DIGITS_MAX: Final = 15
# Names that steer nothing, stand for no other name, and whose values bring nothing into the prompt;
# `tools` is looked into.
_UNREAD: Final = frozenset(
    "model messages user temperature top_p stop seed presence_penalty frequency_penalty"
    " tool_choice parallel_tool_calls reasoning_effort".split()
)
_CAPS: Final = frozenset({"max_tokens", "max_completion_tokens"})
NAMES: Final = _UNREAD | _CAPS | {"stream", "stream_options", "tools"}
SPLICED: Final = ("model", "stream", "stream_options")  # whose places in the body are kept
_ASKING: Final = (b'{"include_usage":true}', b'{"include_usage": true}')
_Values = dict[str, msgspec.Raw]
_decode_values = msgspec.json.Decoder(_Values).decode
_decode_string = msgspec.json.Decoder(str).decode
_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def usual_call(endpoint: str, body: bytes) -> Call | None:
    """The call that a usual body makes; None for any other body."""
    if endpoint != CHAT or len(body) > _BYTES_MAX:
        return None
    at = body.find(b":") + 1
    if body[at : at + 1].isspace() or names_media(body):
        return None  # who puts a blank behind one name does it behind each
    try:
        if not body.isascii():
            body.decode()
        values = _decode_values(body)
        model = _decode_string(values["model"])
        messages = values["messages"]
        user = _decode_string(values["user"]) if "user" in values else None
    except (KeyError, *_ERRORS):
        return None
    stream, cap, asks = False, None, None
    spans: dict[str, tuple[int, int]] = {}
    end = 0
    for name, value in values.items():
        start = end + len(name) + 4  # behind `{` or `,` and `"name":`
        end = start + len(value)
        if name in SPLICED:
            spans[name] = (start, end)
        if name in _UNREAD:
            continue
        text = bytes(value)
        if name == "stream":
            if text != b"true" and text != b"false":
                return None
            stream = text == b"true"
        elif name == "stream_options":
            if text not in _ASKING:
                return None
            asks = True
        elif name == "tools":
            if steers_inside(name, value) or not functions_alone(text):
                return None
        elif name not in _CAPS or not text.isdigit() or len(text) > _CAP_DIGITS_MAX:
            return None
        else:
            cap = int(text) if cap is None else max(cap, int(text))
    # If all of them are as long as the body, it holds each once and nothing else: see `laid_out`.
    if end + 1 != len(body) or not _is_plain(model) or not text_alone(messages):
        return None
    return Call(
        endpoint=endpoint,
        model=model,
        stream=stream,
        answers=1,
        max_tokens=cap,
        include_usage=asks,
        user=user,
        prompt_bytes=len(body),
        spans=spans,
        object_start=1,
    )


def _is_plain(model: str) -> bool:
    """Whether a name stands for one model and nothing else, to every reader."""
    return (
        0 < len(model) <= _MODEL_CHARS_MAX
        and model.isprintable()
        and model == model.strip()
        and "," not in model
        and "@" not in model
    )
