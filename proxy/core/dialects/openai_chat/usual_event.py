"""An event of a chat's stream as nearly every vendor sends it, read in one decode.

It has one choice, which adds text, names the speaker or says why it ends, or it has none and states
the usage. Whatever is different is none, and takes the careful way of `shapes.py` and `written.py`;
a test holds that both say the same. Every stream begins and ends with a few that are like no other.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.written import Key

_BYTES_MAX: Final = 64 * 1024  # decoded in one go
_NAME_CHARS_MAX: Final = 64  # longer ones are cut, by who reads with care
_ABSENT: Final = msgspec.Raw()


class _Delta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: str | None = None
    reasoning_content: str | None = None
    role: Literal["assistant"] | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None


class _Choice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    delta: _Delta
    index: Annotated[int, msgspec.Meta(ge=0, lt=1000)]
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    logprobs: None = None
    stop_reason: None = None
    matched_stop: None = None
    token_ids: None = None


class UsualEvent(msgspec.Struct, gc=False):
    """What is looked at in such an event."""

    choices: Annotated[list[_Choice], msgspec.Meta(max_length=1)]
    object: Literal["chat.completion.chunk"]
    model: str = ""
    id: str = ""
    service_tier: str | None = None
    usage: msgspec.Raw = _ABSENT
    error: None = None
    x_groq: None = None
    type: None = None
    data: None = None

    @property
    def finish_reason(self) -> str | None:
        """Why its choice ends, if it does."""
        return self.choices[0].finish_reason if self.choices else None

    @property
    def states_usage(self) -> bool:
        """Whether there is an object; null, as some send with every event, is none."""
        return self.usage is not _ABSENT and bytes(memoryview(self.usage)[:1]) == b"{"

    def texts(self) -> list[tuple[Key, int, bytes]]:
        """Each text that is not empty, as `written.texts_of` has it."""
        found: list[tuple[Key, int, bytes]] = []
        for choice in self.choices:
            delta = choice.delta
            if delta.content:
                found.append(((choice.index, "content"), 0, delta.content.encode()))
            if delta.reasoning_content:
                found.append(((choice.index, "reasoning"), 0, delta.reasoning_content.encode()))
        return found


_decode = msgspec.json.Decoder(UsualEvent).decode


def usual_event(event: bytes) -> UsualEvent | None:
    """The event, if it is a usual one."""
    if len(event) > _BYTES_MAX:
        return None
    try:
        found = _decode(event)
    except JSON_ERRORS:
        return None
    tier = found.service_tier
    if len(found.model) > _NAME_CHARS_MAX or len(found.id) > _NAME_CHARS_MAX:
        return None
    return None if tier is not None and len(tier) > _NAME_CHARS_MAX else found
