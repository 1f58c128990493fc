"""Where each vendor puts what, in an event or a JSON answer: errors, choices, usage.

Usage is looked for in `usage`, `x_groq.usage` (Groq) and `choices[*].usage` (Moonshot); `stated.py`
reads the numbers. Answers in the form of another API are read by `native.py`.
"""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec

from proxy.core.dialects.cost import stated_cost_nano
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.native import (
    choices_in,
    read_native,
    usage_in,
    wrapped_in,
)
from proxy.core.dialects.openai_chat.plain_usage import plain_usage
from proxy.core.dialects.openai_chat.written import choices_of
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, repaired
from proxy.core.dialects.stated import Stated, read_stated

_ABSENT = msgspec.Raw()
_NO_ERROR = (b"", b"null", b"false", b'""', b"{}", b"0", b"[]")
_ERROR_BYTES_MAX = 1024  # of one that may say that there is none
_ALL_IS_WELL = (200, "200", "0", "ok", "success")  # codes, and words in any letter case
_TEXT_CHARS_MAX = 256  # names from upstreams become rows and labels


class Answer(msgspec.Struct, gc=False):
    """The top level of an event or a JSON answer; each value stays text until it is looked at."""

    usage: msgspec.Raw = _ABSENT
    x_groq: msgspec.Raw = _ABSENT
    choices: msgspec.Raw = _ABSENT
    model: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    object: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class _Holder(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


# With the white space that a value of nothing may hold; vectors have megabytes.
_NOTHING_BYTES_MAX = 64
_NOTHING = (b"", b"null", b"[]", b"{}")
_USAGE_STATED = re.compile(rb'"usage"[ \t\r\n]*+:[ \t\r\n]*+\{')
_answer_decoder = msgspec.json.Decoder(Answer)
_holder_decoder = msgspec.json.Decoder(_Holder)
_string_decoder = msgspec.json.Decoder(str)
_any_decoder = msgspec.json.Decoder()
_object_decoder = msgspec.json.Decoder(dict[str, object])


def read_answer(data: bytes) -> Answer | None:
    """The top level of this JSON object, or of the answer that it wraps; None if it is none."""
    try:
        answer = _answer_decoder.decode(data)
        if answer.choices is not _ABSENT:
            return answer
        if answer.data is not _ABSENT:
            return _answer_decoder.decode(answer.data) if _wraps_choices(answer.data) else answer
        return _of_another_api(data, answer)
    except JSON_ERRORS:
        return None


def _of_another_api(data: bytes, answer: Answer) -> Answer:
    """The answer in this API's form, where a server has answered in its own; else as it is.

    Raises one of JSON_ERRORS.
    """
    native = read_native(data)
    inside = wrapped_in(native)
    if inside is not None:
        wrapped = _answer_decoder.decode(inside)
        native = read_native(inside)
        if wrapped.choices is not _ABSENT:
            return wrapped
        answer = wrapped if wrapped.usage is not _ABSENT else answer
    answer.choices = choices_in(native)
    if answer.usage is _ABSENT:
        answer.usage = usage_in(native)
    if answer.model is _ABSENT:
        answer.model, answer.id = native.model_version, native.response_id
    return answer


def _wraps_choices(data: msgspec.Raw) -> bool:
    """Whether the answer itself stands in `data`, beside a code and a message.

    Some gateways send it so. The `data` of embeddings is a list.
    """
    return bytes(memoryview(data)[:1]) == b"{" and b'"choices"' in bytes(data)


def read_leniently(data: bytes) -> Answer | None:
    """The same; what is not quite JSON is repaired, unless there is too much of it."""
    answer = read_answer(data)
    return (
        read_answer(repaired(data))
        if answer is None and len(data) <= REPAIRED_BYTES_MAX
        else answer
    )


def text_of(raw: msgspec.Raw) -> str | None:
    """A string that is not empty, cut to what fits a row; else None."""
    if not bytes(raw).startswith(b'"'):
        return None
    try:
        text = _string_decoder.decode(raw)
    except JSON_ERRORS:
        return None
    return text[:_TEXT_CHARS_MAX] or None


def is_error(answer: Answer) -> bool:
    """Whether this says that something went wrong.

    `{"error": …}`, `{"object": "error"}`, `{"type": "error"}` or `{"x_groq": {"error": …}}` do.
    """
    if (
        _fails(answer.error)
        or bytes(answer.object) == b'"error"'
        or bytes(answer.type) == b'"error"'
    ):
        return True
    if bytes(answer.x_groq).find(b'"error"') >= 0:
        with suppress(*JSON_ERRORS):
            return _fails(_holder_decoder.decode(answer.x_groq).error)
    return False


def _fails(raw: msgspec.Raw) -> bool:
    """Whether a member called error says so.

    Gateways in Go send it in good answers as well: `{"message": "", "type": "", "code": null}`.
    """
    text = bytes(raw)
    if text in _NO_ERROR:
        return False
    if len(text) > _ERROR_BYTES_MAX:
        return True
    try:
        return tells_failure(_any_decoder.decode(text))
    except JSON_ERRORS:
        return True


def tells_failure(value: object) -> bool:
    """Whether an error or a message says that something failed.

    It does not where it is made of nothing, of zeros, or of words that all is well.
    """
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += item.values()
        elif isinstance(item, list):
            rest += item
        elif item and (item.lower() if isinstance(item, str) else item) not in _ALL_IS_WELL:
            return True
    return False


def has_choices(answer: Answer) -> bool:
    """Whether there is any choice; none, `[]` and null are all "no"."""
    return is_something(answer.choices)


def is_something(raw: msgspec.Raw) -> bool:
    """Whether it is there and not empty."""
    text = bytes(memoryview(raw)[:_NOTHING_BYTES_MAX])
    return text.translate(None, b" \t\r\n") not in _NOTHING


def may_state_usage(event: bytes) -> bool:
    """Whether a usage object may be in it: null, as some send on every event, is none."""
    return event.find(b'"usage"') >= 0 and _USAGE_STATED.search(event) is not None


def stated_in(answer: Answer) -> Stated | None:
    """All that this answer states about its usage, the objects of several merged."""
    whole: Stated | None = None
    for raw in _usages(answer):
        try:
            stated = _object_decoder.decode(raw)
        except JSON_ERRORS:
            stated = _loosely(raw)
        one = plain_usage(stated) or read_stated(stated, upstream_cost_nano=stated_cost_nano(raw))
        if one is not None:
            whole = one if whole is None else whole.merged(one)
    return whole


def _usages(answer: Answer) -> list[msgspec.Raw]:
    found: list[msgspec.Raw] = []
    if bytes(answer.choices).find(b'"usage"') >= 0:
        found.extend(choice.usage for choice in choices_of(answer.choices))
    if bytes(answer.x_groq):
        with suppress(*JSON_ERRORS):
            found.append(_holder_decoder.decode(answer.x_groq).usage)
    found.append(answer.usage)
    return [usage for usage in found if bytes(usage)[:1] == b"{"]


def _loosely(raw: msgspec.Raw) -> dict[str, object]:
    """A usage object with a number in it that no reader takes (1e400): the others stand."""
    try:
        return _object_decoder.decode(repaired(bytes(raw)[:REPAIRED_BYTES_MAX]))
    except JSON_ERRORS:
        return {}
