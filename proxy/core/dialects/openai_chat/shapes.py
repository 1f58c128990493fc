"""Where each vendor says what it used, and how its numbers become one `Usage`.

Looked for in `usage`, `x_groq.usage` (Groq) and `choices[*].usage` (Moonshot). Whole numbers from 0 to 2^53 count; anything else is as if it were not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

import msgspec

from proxy.core.usage import Usage

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)   # what a decoder raises; RecursionError: nesting near 1,000
_ABSENT = msgspec.Raw()
_INTEGER_MAX = 2**53            # beyond it JSON readers disagree
_TEXT_CHARS_MAX = 256           # names from upstreams become rows and labels
_RAW_BYTES_MAX = 4096           # of a usage object kept for audits: the longest known has 600
_RAW_ENTRIES_MAX = 64           # of it and of each object in it
_RAW_DEPTH_MAX = 3
_RAW_NAME_CHARS_MAX = 64


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


class _Holder(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _ABSENT


_answer_decoder = msgspec.json.Decoder(Answer)
_holder_decoder = msgspec.json.Decoder(_Holder)
_holders_decoder = msgspec.json.Decoder(list[_Holder])
_string_decoder = msgspec.json.Decoder(str)
_object_decoder = msgspec.json.Decoder(dict[str, object])


def read_answer(data: bytes) -> Answer | None:
    """The top level of this JSON object; None if it is none."""
    try:
        return _answer_decoder.decode(data)
    except JSON_ERRORS:
        return None


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
    """Whether this says that something went wrong: `{"error": …}`, `{"object": "error"}` or `{"type": "error"}`."""
    return bytes(answer.error) not in (b"", b"null", b"false", b'""', b"{}") or bytes(answer.object) == b'"error"' or bytes(answer.type) == b'"error"'


def has_choices(answer: Answer) -> bool:
    """Whether there is any choice; none, `[]` and null are all "no"."""
    return bytes(answer.choices).translate(None, b" \t\r\n") not in (b"", b"null", b"[]")


def stated_usage(answer: Answer) -> Usage | None:
    """The usage stated in this answer; the last one of several."""
    usage = None
    for raw in _usages(answer):
        try:
            stated = _object_decoder.decode(raw)
        except JSON_ERRORS:
            continue
        usage = read_usage(stated) or usage
    return usage


def _usages(answer: Answer) -> list[msgspec.Raw]:
    found: list[msgspec.Raw] = []
    choices = bytes(answer.choices)
    if choices.find(b'"usage"') >= 0:
        with suppress(*JSON_ERRORS):    # not a list of objects: then they hold no usage
            found.extend(holder.usage for holder in _holders_decoder.decode(choices))
    if bytes(answer.x_groq):
        with suppress(*JSON_ERRORS):
            found.append(_holder_decoder.decode(answer.x_groq).usage)
    found.append(answer.usage)
    return [usage for usage in found if bytes(usage)[:1] == b"{"]


def read_usage(stated: Mapping[str, object]) -> Usage | None:
    """One usage object as `Usage`; None if it states no count.

    A side that is missing follows from the total. If the total also holds the reasoning tokens (xAI), they are part of the output. Any other sum that does not
    come out, and any part larger than its whole, is marked `inconsistent`; the parts stand as stated.
    """
    prompt_details = _details(stated, "prompt_tokens_details", "input_tokens_details")
    completion_details = _details(stated, "completion_tokens_details", "output_tokens_details")
    input_tokens = _first(_count(stated, "prompt_tokens"), _count(stated, "input_tokens"))
    output_tokens = _first(_count(stated, "completion_tokens"), _count(stated, "output_tokens"))
    total = _count(stated, "total_tokens")
    reasoning = _first(_count(completion_details, "reasoning_tokens"), _count(stated, "reasoning_tokens"))
    cached = _first(_count(prompt_details, "cached_tokens"), _count(stated, "cached_tokens"), _count(stated, "prompt_cache_hit_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    inconsistent = False
    if total is not None:
        if output_tokens is None and input_tokens is not None and total >= input_tokens:
            output_tokens = total - input_tokens
        elif input_tokens is None and output_tokens is not None and total >= output_tokens:
            input_tokens = total - output_tokens
        elif input_tokens is not None and output_tokens is not None and total != input_tokens + output_tokens:
            if reasoning is not None and total == input_tokens + output_tokens + reasoning:
                output_tokens += reasoning
            else:
                inconsistent = True
        else:
            inconsistent = input_tokens is None or output_tokens is None
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_tokens=_count(prompt_details, "cache_write_tokens"),
        output_tokens=output_tokens,
        reasoning_tokens=reasoning,
        audio_input_tokens=_count(prompt_details, "audio_tokens"),
        audio_output_tokens=_count(completion_details, "audio_tokens"),
        inconsistent=inconsistent or _exceeds(cached, input_tokens) or _exceeds(reasoning, output_tokens),
        raw=_numbers(stated),
    )


def _numbers(stated: Mapping[str, object]) -> dict[str, object] | None:
    """A vendor's usage object reduced to its numbers, nested objects kept; None if that is too long for a row."""
    kept = _numbers_at(stated, 1)
    return kept if len(msgspec.json.encode(kept)) <= _RAW_BYTES_MAX else None


def _numbers_at(stated: Mapping[str, object], depth: int) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in islice(stated.items(), _RAW_ENTRIES_MAX):
        if len(name) > _RAW_NAME_CHARS_MAX or not name.isprintable():
            continue
        if isinstance(value, dict):
            inner = _numbers_at(value, depth + 1) if depth < _RAW_DEPTH_MAX else {}
            if inner:
                kept[name] = inner
        elif isinstance(value, float):
            if math.isfinite(value):
                kept[name] = value
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _INTEGER_MAX:
            kept[name] = value
    return kept


def _details(stated: Mapping[str, object], *names: str) -> Mapping[str, object]:
    for name in names:
        value = stated.get(name)
        if isinstance(value, dict):
            return value
    return {}


def _count(stated: Mapping[str, object], name: str) -> int | None:
    value = stated.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INTEGER_MAX else None


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _exceeds(part: int | None, whole: int | None) -> bool:
    return part is not None and whole is not None and part > whole
