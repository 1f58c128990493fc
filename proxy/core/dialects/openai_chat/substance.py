"""Tells whether something of an answer is in what came: a choice or data.

An error, a page or an empty body holds no answer, whatever its status.
"""

from __future__ import annotations

import re

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.shapes import Answer, has_choices, is_something

# OpenRouter's finish_reason of a choice whose provider failed under HTTP 200.
FINISH_ERROR = "error"
_BEGINS = re.compile(rb'"(?:choices|data)"[ \t\r\n]*+:[ \t\r\n]*+[\[{][ \t\r\n]*+[^ \t\r\n\]}]')
_UNFINISHED = (None, "", FINISH_ERROR)
# Of a choice and its message: what says nothing of an answer.
_ENVELOPE = frozenset(
    {
        "index",
        "role",
        "id",
        "object",
        "type",
        "name",
        "logprobs",
        "usage",
        "error",
        "finish_reason",
        "native_finish_reason",
        "stop_reason",
        "matched_stop",
    }
)
# So much of choices is not nothing, and as objects it could take a second.
_LOOKED_AT_BYTES_MAX = 64 * 1024
_any_decoder = msgspec.json.Decoder()


def holds_answer(answer: Answer) -> bool:
    """Whether something of an answer is in it: data, or a choice that holds something or ends.

    The speaker's role alone is nothing.

    What a choice holds under names that are not known counts: it was delivered, whatever it is.
    """
    if has_data(answer):
        return True
    if not has_choices(answer):
        return False
    if memoryview(answer.choices).nbytes > _LOOKED_AT_BYTES_MAX:
        return True
    try:
        return _holds(_any_decoder.decode(answer.choices))
    except JSON_ERRORS:
        return True


def begins_answer(data: bytes) -> bool:
    """Whether a choice or data, or the beginning of one, is in what cannot be read as JSON."""
    return _BEGINS.search(data) is not None


def has_data(answer: Answer) -> bool:
    """Whether there are embeddings."""
    return is_something(answer.data) and (
        bytes(memoryview(answer.data)[:1]) == b"[" or b'"embedding"' in bytes(answer.data)
    )


def _holds(value: object) -> bool:
    if isinstance(value, dict):
        if value.get("finish_reason") not in _UNFINISHED:
            return True
        return any(
            _holds(inner)
            for name, inner in value.items()
            if name not in _ENVELOPE and not name.startswith("content_filter_")
        )
    if isinstance(value, list):
        return any(_holds(inner) for inner in value)
    # A message that is no object is text.
    return not isinstance(value, bool) and value not in (None, "", 0)
