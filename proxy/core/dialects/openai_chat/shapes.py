"""Where each vendor says what it used, and how its numbers become one `Usage`.

Looked for in `usage`, `x_groq.usage` (Groq) and `choices[*].usage` (Moonshot). Whole numbers from 0 to 2^53 count; anything else is as if it were not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

import msgspec

from proxy.core.dialects.openai_chat.cost import stated_cost_nano
from proxy.core.usage import Usage

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)   # what a decoder raises; RecursionError: nesting near 1,000
_ABSENT = msgspec.Raw()
_NO_ERROR = (b"", b"null", b"false", b'""', b"{}")
_INTEGER_MAX = 2**53            # beyond it JSON readers disagree
_TEXT_CHARS_MAX = 256           # names from upstreams become rows and labels
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")     # Moonshot, DeepSeek, LiteLLM in front of Anthropic
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
    error: msgspec.Raw = _ABSENT


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
    """Whether this says that something went wrong: `{"error": …}`, `{"object": "error"}`, `{"type": "error"}` or `{"x_groq": {"error": …}}`."""
    if bytes(answer.error) not in _NO_ERROR or bytes(answer.object) == b'"error"' or bytes(answer.type) == b'"error"':
        return True
    if bytes(answer.x_groq).find(b'"error"') >= 0:
        with suppress(*JSON_ERRORS):
            return bytes(_holder_decoder.decode(answer.x_groq).error) not in _NO_ERROR
    return False


def has_choices(answer: Answer) -> bool:
    """Whether there is any choice; none, `[]` and null are all "no"."""
    return bytes(answer.choices).translate(None, b" \t\r\n") not in (b"", b"null", b"[]")


def stated_usage(answer: Answer, *, cached_inside_input: bool = True) -> Usage | None:
    """The usage stated in this answer; the last one of several. `cached_inside_input` as in `read_usage`."""
    usage = None
    for raw in _usages(answer):
        try:
            stated = _object_decoder.decode(raw)
        except JSON_ERRORS:
            continue
        usage = read_usage(stated, cached_inside_input=cached_inside_input, upstream_cost_nano=stated_cost_nano(raw)) or usage
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


def read_usage(stated: Mapping[str, object], *, cached_inside_input: bool = True, upstream_cost_nano: int | None = None) -> Usage | None:
    """One usage object as `Usage`; None if it states no count.

    A side that is missing follows from the total. If the total also holds the reasoning tokens (xAI), they are part of the output. Any other sum that does not
    come out, and any part larger than its whole, is marked `inconsistent`; the parts stand as stated.
    Without `cached_inside_input` the vendor counts what is read from and written to its cache beside its prompt tokens: it is added to them. Its total may hold it or not.
    """
    prompt_details = _details(stated, "prompt_tokens_details", "input_tokens_details")
    completion_details = _details(stated, "completion_tokens_details", "output_tokens_details")
    input_tokens = _first(_count(stated, "prompt_tokens"), _count(stated, "input_tokens"))
    output_tokens = _first(_count(stated, "completion_tokens"), _count(stated, "output_tokens"))
    reasoning = _first(_count(completion_details, "reasoning_tokens"), _count(stated, "reasoning_tokens"))
    cached = _first(_count(prompt_details, "cached_tokens"), *(_count(stated, name) for name in _CACHED))
    cache_write = _first(_count(prompt_details, "cache_write_tokens"), _count(stated, "cache_creation_input_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    beside = 0 if cached_inside_input else sum(part for part in (cached, cache_write) if part is not None)
    if input_tokens is not None:
        input_tokens += beside
    input_tokens, output_tokens, inconsistent = _summed(input_tokens, output_tokens, reasoning, _count(stated, "total_tokens"), beside)
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_tokens=cache_write,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning,
        audio_input_tokens=_count(prompt_details, "audio_tokens"),
        audio_output_tokens=_count(completion_details, "audio_tokens"),
        inconsistent=inconsistent or _exceeds(cached, input_tokens) or _exceeds(reasoning, output_tokens),
        raw=_numbers(stated),
        upstream_cost_nano=upstream_cost_nano,
    )


def _summed(input_tokens: int | None, output_tokens: int | None, reasoning: int | None, total: int | None, beside: int) -> tuple[int | None, int | None, bool]:
    """Input and output as the total completes them, and whether it contradicts them. `beside` is part of the input already, and maybe not of the total."""
    if total is None:
        return input_tokens, output_tokens, False
    if input_tokens is not None and output_tokens is not None:
        both = input_tokens + output_tokens
        if both in (total, total + beside):
            return input_tokens, output_tokens, False
        if reasoning is not None and both + reasoning in (total, total + beside):
            return input_tokens, output_tokens + reasoning, False
        return input_tokens, output_tokens, True
    if input_tokens is not None:
        whole = total if total >= input_tokens else total + beside
        return (input_tokens, whole - input_tokens, False) if whole >= input_tokens else (input_tokens, None, True)
    assert output_tokens is not None, "one of the two is stated"
    return (total - output_tokens, output_tokens, False) if total >= output_tokens else (None, output_tokens, True)


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
