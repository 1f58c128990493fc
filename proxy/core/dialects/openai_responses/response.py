"""The response itself: a whole answer, or what the events at both ends of a stream hold."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.dialects.cost import stated_cost_nano
from proxy.core.dialects.json_text import JSON_ERRORS, string_text
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, repaired
from proxy.core.dialects.stated import Stated, read_stated

WAITING: Final = ("queued", "in_progress")  # the vendor goes on, and nothing is stated yet
_ABSENT = msgspec.Raw()
_NO_ERROR: Final = (b"", b"null", b"false", b'""', b"{}", b"0", b"[]")
_TEXT_CHARS_MAX: Final = 256  # names from upstreams become rows and labels
_OBJECTS: Final = (b'"response"', b'"response.compaction"')


class Response(msgspec.Struct, gc=False):
    """The members of a response that are looked at; each value stays text until then."""

    id: msgspec.Raw = _ABSENT
    object: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    status: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    incomplete_details: msgspec.Raw = _ABSENT
    model: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    output_text: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    tool_usage: msgspec.Raw = _ABSENT
    background: msgspec.Raw = _ABSENT

    @property
    def is_one(self) -> bool:
        """Whether it is a response at all: other objects come under this path too."""
        return bytes(self.object) in _OBJECTS or bytes(memoryview(self.output)[:1]) == b"["

    @property
    def waits(self) -> bool:
        """Whether its vendor goes on, so that what it will have used is not known yet."""
        return word(self.status) in WAITING

    @property
    def reason(self) -> str | None:
        """Why it is incomplete, if it is."""
        try:
            return word(_reason_decoder.decode(self.incomplete_details).reason)
        except JSON_ERRORS:
            return None


class _Incomplete(msgspec.Struct, gc=False):
    reason: msgspec.Raw = _ABSENT


class _Searches(msgspec.Struct, frozen=True, gc=False):
    num_requests: int | None = None


class _ToolUsage(msgspec.Struct, gc=False):
    web_search: _Searches = _Searches()


class _Wrapped(msgspec.Struct, gc=False):
    response: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class _Other(msgspec.Struct, gc=False):
    choices: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    output_text: msgspec.Raw = _ABSENT


_response_decoder = msgspec.json.Decoder(Response)
_wrapped_decoder = msgspec.json.Decoder(_Wrapped)
_other_decoder = msgspec.json.Decoder(_Other)
_reason_decoder = msgspec.json.Decoder(_Incomplete)
_tools_decoder = msgspec.json.Decoder(_ToolUsage)
_object_decoder = msgspec.json.Decoder(dict[str, object])


def read_response(data: bytes) -> Response | None:
    """The top level of this JSON object, or of the response that it wraps; None if it is none."""
    try:
        response = _response_decoder.decode(data)
        if not response.is_one:
            wrapped = _wrapped_decoder.decode(data)
            for inner in (wrapped.response, wrapped.data):
                if bytes(memoryview(inner)[:1]) == b"{":
                    one = _response_decoder.decode(inner)
                    if one.is_one:
                        return one
        return response
    except JSON_ERRORS:
        return None


def is_of_another_api(data: bytes) -> bool:
    """Whether this object, which is no response, holds what may be an answer all the same."""
    try:
        other = _other_decoder.decode(data)
    except JSON_ERRORS:
        return False
    return (
        any(bytes(memoryview(raw)[:1]) in (b"[", b"{") for raw in (other.choices, other.content))
        or bytes(memoryview(other.output_text)[:1]) == b'"'
    )


def is_failure(raw: msgspec.Raw) -> bool:
    """Whether a member called error says so; it is null in every good response."""
    return bytes(memoryview(raw)[:8]) not in _NO_ERROR


def word(raw: msgspec.Raw) -> str | None:
    """A string that is not empty, cut to what fits a row; else None."""
    text = bytes(raw)
    if text[:1] != b'"':
        return None
    return string_text(text[1:-1])[:_TEXT_CHARS_MAX] or None


def text(raw: msgspec.Raw) -> str | None:
    """A string that is not empty, all of it; else None."""
    inside = bytes(raw)
    return (string_text(inside[1:-1]) or None) if inside[:1] == b'"' else None


def stated_in(usage: msgspec.Raw, tools: msgspec.Raw) -> Stated | None:
    """What these two members of a response state: its tokens, and the searches beside them."""
    if bytes(memoryview(usage)[:1]) != b"{":
        return None
    stated = read_stated(_object(usage), upstream_cost_nano=stated_cost_nano(usage))
    searches = _searches(tools)
    if stated is None or searches is None:
        return stated
    return msgspec.structs.replace(stated, searches=searches)


def _searches(tools: msgspec.Raw) -> int | None:
    """How many searches are billed. Items of searches say nothing of that: some are free."""
    try:
        return _tools_decoder.decode(tools).web_search.num_requests
    except JSON_ERRORS:
        return None


def _object(raw: msgspec.Raw) -> dict[str, object]:
    """An object; one with a number in it that no reader takes (1e400) without that number."""
    try:
        return _object_decoder.decode(raw)
    except JSON_ERRORS:
        pass
    try:
        return _object_decoder.decode(repaired(bytes(raw)[:REPAIRED_BYTES_MAX]))
    except JSON_ERRORS:
        return {}
