"""Reads what an answer states about its usage, merges its objects, and proves its counts.

Whole numbers from 0 to 2^53 count, also written as 700.0 or "700"; anything else is as if it were
not there. A zero never hides a number: layers between a vendor and its client fill names in that
they know nothing of, in the same object or in one that comes earlier or later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from proxy.core.usage import Usage

INTEGER_MAX = 2**53  # beyond it JSON readers disagree
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_TIER_CHARS_MAX = 64
_RAW_BYTES_MAX = 4096  # of a usage object kept for audits: the longest known has 600
_RAW_ENTRIES_MAX = 64  # of it and of each object in it
_RAW_DEPTH_MAX = 3
_RAW_NAME_CHARS_MAX = 64
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")
# Each count's names, the most telling first: OpenAI's, the Responses API's, and those that gateways
# pass on from Bedrock and from SDKs in JavaScript, from Ollama and from Google.
_INPUT = (
    *("prompt_tokens", "input_tokens", "promptTokens", "inputTokens"),
    *("prompt_eval_count", "promptTokenCount", "inputTokenCount"),
)
_OUTPUT = (
    *("completion_tokens", "output_tokens", "completionTokens", "outputTokens"),
    *("eval_count", "candidatesTokenCount", "outputTokenCount"),
)
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount")
# The parts: in the details, then beside the other counts.
_CACHED_INSIDE = ("cached_tokens", "cache_read_input_tokens", "cache_read_tokens")
# Moonshot, DeepSeek, LiteLLM before Anthropic, Mistral, Ollama, Google, Bedrock's metrics.
_CACHED = (
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "num_cached_tokens",
    "prompt_eval_cached_count",
    "cachedContentTokenCount",
    "cacheReadInputTokenCount",
)
_WRITTEN_INSIDE = (
    "cache_write_tokens",
    "cache_creation_input_tokens",
    "cache_creation_tokens",
    "cached_creation_tokens",
)
_WRITTEN = ("cache_creation_input_tokens", "cache_write_tokens", "cacheWriteInputTokenCount")
# How the writes are divided by how long they are kept: Anthropic's names, then OpenAI's.
_SPLITS_INSIDE = ("cache_write_tokens_details", "cache_creation_token_details")
_KEPT_SHORT = ("ephemeral_5m_input_tokens", "ttl_30m_tokens")
_KEPT_LONG = ("ephemeral_1h_input_tokens", "ttl_12h_tokens")
_SEARCHES = ("web_search_requests",)
_REASONING = ("reasoning_tokens",)
_REASONING_INSIDE = ("reasoning_tokens", "thinking_tokens")
_THOUGHTS = ("thoughtsTokenCount",)  # Google's own API: beside its candidates
_AUDIO = ("audio_tokens",)


class Stated(msgspec.Struct, frozen=True, gc=False):
    """The counts of usage objects as they stand there. `total_tokens` is of the same object as the
    latest of the counts it sums up."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    upstream_cost_nano: int | None = None
    service_tier: str | None = None
    raw: dict[str, object] | None = None
    cache_write_long_tokens: int | None = None
    searches: int | None = None

    def merged(self, later: Stated) -> Stated:
        """Both as one: field by field the last number stated, and a zero only where no number is.
        Nothing is ever added."""
        parts = (later.input_tokens, later.output_tokens)
        # A total is not of the counts that come after it.
        old_total = None if any(parts) else self.total_tokens
        return Stated(
            input_tokens=_last(self.input_tokens, later.input_tokens),
            output_tokens=_last(self.output_tokens, later.output_tokens),
            total_tokens=_last(old_total, later.total_tokens),
            cached_tokens=_last(self.cached_tokens, later.cached_tokens),
            cache_write_tokens=_last(self.cache_write_tokens, later.cache_write_tokens),
            reasoning_tokens=_last(self.reasoning_tokens, later.reasoning_tokens),
            audio_input_tokens=_last(self.audio_input_tokens, later.audio_input_tokens),
            audio_output_tokens=_last(self.audio_output_tokens, later.audio_output_tokens),
            upstream_cost_nano=_last(self.upstream_cost_nano, later.upstream_cost_nano),
            service_tier=self.service_tier if later.service_tier is None else later.service_tier,
            raw=_merged_raw(self.raw, later.raw),
            cache_write_long_tokens=_last(
                self.cache_write_long_tokens, later.cache_write_long_tokens
            ),
            searches=_last(self.searches, later.searches),
        )

    def counts_output_of(self, whole: Stated) -> bool:
        """Whether the output of `whole`, which this one is merged into, is what this one states."""
        if self.output_tokens is not None and self.output_tokens == whole.output_tokens:
            return True
        return self.total_tokens is not None and self.total_tokens == whole.total_tokens

    def growth(self, earlier: Stated | None) -> int:
        """By how much more output is stated than before; text since then may be in it."""
        if earlier is None:
            return 1
        if self.output_tokens is None or earlier.output_tokens is None:
            return _number(self.total_tokens) - _number(earlier.total_tokens)
        return self.output_tokens - earlier.output_tokens

    def usage(self, *, cached_inside_input: bool = True, embeddings: bool = False) -> Usage:
        """The counts as `Usage`, in the reading that the numbers prove.

        A total that comes out only with the reasoning or the cached tokens added, and a part larger
        than its whole, prove that these lie beside: they are added. What a total has beyond all
        that is stated was thought unseen, so it is output. A side that is missing follows from the
        total. Whatever does not come out is marked `inconsistent`. `embeddings` have no output, and
        none is without an input. Without `cached_inside_input` the vendor counts what is read from
        and written to its cache beside its prompt tokens; its total may hold that or not.
        """
        if embeddings:
            input_tokens = (
                self.total_tokens if _number(self.input_tokens) == 0 else self.input_tokens
            )
            output_tokens: int | None = _number(self.output_tokens)
            inconsistent = None not in (
                input_tokens,
                self.total_tokens,
            ) and self.total_tokens != _number(input_tokens) + _number(output_tokens)
        else:
            input_tokens, output_tokens, inconsistent = self._proved(
                cached_inside_input=cached_inside_input
            )
        return Usage(
            input_tokens=input_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=output_tokens,
            reasoning_tokens=self.reasoning_tokens,
            audio_input_tokens=self.audio_input_tokens,
            audio_output_tokens=self.audio_output_tokens,
            inconsistent=inconsistent,
            raw=self.raw,
            upstream_cost_nano=self.upstream_cost_nano,
            total_tokens=self.total_tokens
            if input_tokens is None and output_tokens is None
            else None,
            # the split divides what is stated as written, and adds nothing to it
            cache_write_long_tokens=None
            if self.cache_write_long_tokens is None
            else min(self.cache_write_long_tokens, _number(self.cache_write_tokens)),
            searches=self.searches,
        )

    def _proved(self, *, cached_inside_input: bool) -> tuple[int | None, int | None, bool]:
        """Input and output as `usage` promises, and whether the numbers contradict each other."""
        input_tokens, output_tokens, total = (
            self.input_tokens,
            self.output_tokens,
            self.total_tokens,
        )
        if total is not None:
            # A zero is no count where the total has more than the other side.
            if input_tokens == 0 and total > _number(output_tokens):
                input_tokens = None
            if output_tokens == 0 and total > _number(input_tokens):
                output_tokens = None
        cached, written, reasoning = (
            _number(self.cached_tokens),
            _number(self.cache_write_tokens),
            _number(self.reasoning_tokens),
        )
        cache = cached + written
        if not cached_inside_input and input_tokens is not None:
            input_tokens += cache
        # What may lie beside the prompt tokens without anyone having said so.
        beside_input = cache if cached_inside_input else 0
        if total is not None and input_tokens is not None and output_tokens is not None:
            for more_input in dict.fromkeys(
                (0, beside_input, *((cached, written) if beside_input else ()))
            ):
                for more_output in (0, reasoning):
                    whole_input, whole_output = (
                        input_tokens + more_input,
                        output_tokens + more_output,
                    )
                    totals = (total,) if cached_inside_input else (total, total + cache)
                    if (
                        cache <= whole_input
                        and reasoning <= whole_output
                        and whole_input + whole_output in totals
                    ):
                        return whole_input, whole_output, False
        inconsistent = False
        if input_tokens is not None and beside_input > input_tokens:
            input_tokens, inconsistent = input_tokens + beside_input, True
        if output_tokens is not None and reasoning > output_tokens:
            output_tokens, inconsistent = output_tokens + reasoning, True
        if total is None:
            return input_tokens, output_tokens, inconsistent
        if input_tokens is None and output_tokens is None:
            return None, None, False
        if output_tokens is None:
            assert input_tokens is not None, "one of the two is stated"
            whole = total if total >= input_tokens else total + cache
            return (
                (input_tokens, whole - input_tokens, inconsistent)
                if whole >= input_tokens
                else (input_tokens, None, True)
            )
        if input_tokens is None:
            return (
                (total - output_tokens, output_tokens, inconsistent)
                if total >= output_tokens
                else (None, output_tokens, True)
            )
        return input_tokens, max(output_tokens, total - input_tokens), True


def read_stated(
    stated: Mapping[str, object], *, upstream_cost_nano: int | None = None
) -> Stated | None:
    """One usage object; None if it states neither input, output nor total."""
    prompt_details = [
        value for name in _PROMPT_DETAILS if isinstance(value := stated.get(name), dict)
    ]
    completion_details = [
        value for name in _COMPLETION_DETAILS if isinstance(value := stated.get(name), dict)
    ]
    beside = (stated,)
    written = _last(_count(beside, _WRITTEN), _count(prompt_details, _WRITTEN_INSIDE))
    kept_short, kept_long = _split(stated, prompt_details)
    if not written and (kept_short or kept_long):
        written = _number(kept_short) + _number(kept_long)
    input_tokens = _count(beside, _INPUT)
    output_tokens = _count(beside, _OUTPUT)
    total_tokens = _count(beside, _TOTAL)
    if total_tokens == 0:
        total_tokens = None  # it says no more than the zeros beside it, and less than numbers
    if input_tokens is None and output_tokens is None and total_tokens is None:
        return None
    return Stated(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=total_tokens,
        cached_tokens=_last(_count(beside, _CACHED), _count(prompt_details, _CACHED_INSIDE)),
        cache_write_tokens=written,
        cache_write_long_tokens=kept_long,
        searches=_count([server], _SEARCHES)
        if isinstance(server := stated.get("server_tool_use"), dict)
        else None,
        reasoning_tokens=_last(
            _last(_count(beside, _REASONING), _count(completion_details, _REASONING_INSIDE)),
            _count(beside, _THOUGHTS),
        ),
        audio_input_tokens=_count(prompt_details, _AUDIO),
        audio_output_tokens=_count(completion_details, _AUDIO),
        upstream_cost_nano=upstream_cost_nano,
        service_tier=tier[:_TIER_CHARS_MAX]
        if isinstance(tier := stated.get("service_tier"), str) and tier
        else None,
        raw=_numbers(stated),
    )


def _split(
    stated: Mapping[str, object], prompt_details: Sequence[Mapping[str, object]]
) -> tuple[int | None, int | None]:
    """What was written to the cache for a short time and for a long one."""
    splits = [stated.get("cache_creation")]
    splits += [details.get(name) for details in prompt_details for name in _SPLITS_INSIDE]
    found = [split for split in splits if isinstance(split, dict)]
    return _count(found, _KEPT_SHORT), _count(found, _KEPT_LONG)


def _number(count: int | None) -> int:
    """What a part adds to a sum: one that is not stated adds nothing."""
    return 0 if count is None else count


def _last(one: int | None, later: int | None) -> int | None:
    """The last number of two counts; a zero only where there is no number."""
    return later if later or one is None else one


def _count(objects: Sequence[Mapping[str, object]], names: Sequence[str]) -> int | None:
    """The first number that one of these names states, else 0 if one says so, else None."""
    found = None
    for stated in objects:
        for name in names:
            value = stated.get(name)
            if value is None:
                continue
            count = _whole(value)
            if count:
                return count
            found = count if found is None else found
    return found


def _whole(value: object) -> int | None:
    """A count, if this is one: 700, 700.0, 7e2 and "700" are the same number."""
    if type(value) is int:
        return value if 0 <= value <= INTEGER_MAX else None
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value) else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INTEGER_MAX
        else None
    )


def _merged_raw(
    one: dict[str, object] | None, later: dict[str, object] | None
) -> dict[str, object] | None:
    """Both usage objects as one for audits, by the same rule; the later alone if that is too long
    for a row."""
    if one is None or later is None:
        return one if later is None else later
    merged = _overlaid(one, later)
    return merged if len(msgspec.json.encode(merged)) <= _RAW_BYTES_MAX else later


def _overlaid(one: dict[str, object], later: dict[str, object]) -> dict[str, object]:
    merged = dict(one)
    for name, value in later.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _overlaid(old, value)
        elif value != 0 or old is None:
            merged[name] = value
    return merged


def _numbers(stated: Mapping[str, object]) -> dict[str, object] | None:
    """A vendor's usage object reduced to its numbers, nested objects kept; None if that is too long
    for a row."""
    kept = _numbers_at(stated, 1)
    return kept if len(msgspec.json.encode(kept)) <= _RAW_BYTES_MAX else None


def _numbers_at(stated: Mapping[str, object], depth: int) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in islice(stated.items(), _RAW_ENTRIES_MAX):
        if len(name) > _RAW_NAME_CHARS_MAX or not name.isprintable():
            continue
        if type(value) is int:
            if abs(value) <= INTEGER_MAX:
                kept[name] = value
        elif isinstance(value, dict):
            inner = _numbers_at(value, depth + 1) if depth < _RAW_DEPTH_MAX else {}
            if inner:
                kept[name] = inner
        elif isinstance(value, float) and math.isfinite(value):
            kept[name] = value
    return kept
