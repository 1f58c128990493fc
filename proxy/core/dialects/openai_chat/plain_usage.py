"""The usage object that nearly every vendor sends, read in one look.

It has OpenAI's names, plain numbers, and details that hold only numbers of a known kind. Whatever
is different is read by `stated.py`; a test holds that both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.stated import INTEGER_MAX, Stated
from proxy.core.usage import Usage

_INSIDE, _OUT = "prompt_tokens_details", "completion_tokens_details"
_NAMES: Final = frozenset(("prompt_tokens", "completion_tokens", "total_tokens", _INSIDE, _OUT))
_NAMES_INSIDE: Final = frozenset(("cached_tokens", "audio_tokens", "text_tokens", "image_tokens"))
_NAMES_OUT: Final = frozenset(
    (
        "reasoning_tokens",
        "audio_tokens",
        "text_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    )
)
_Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
# The decoder itself refuses what is no plain count: floats, strings, booleans, negative numbers.
_decode = msgspec.json.Decoder(dict[str, _Count | dict[str, _Count] | None]).decode


def plain_usage(stated: Mapping[str, object]) -> Stated | None:
    """The counts of a plain object; None for another one."""
    if not stated.keys() <= _NAMES:
        return None
    inputs, outputs = stated.get("prompt_tokens"), stated.get("completion_tokens")
    total = stated.get("total_tokens")
    inside = _counts(stated.get(_INSIDE), _NAMES_INSIDE)
    out = _counts(stated.get(_OUT), _NAMES_OUT)
    if (
        inside is None
        or out is None
        or type(inputs) is not int
        or type(outputs) is not int
        or type(total) is not int
        or not (0 <= inputs <= INTEGER_MAX and 0 <= outputs <= INTEGER_MAX)
        or not 0 <= total <= INTEGER_MAX
    ):
        return None
    return Stated(
        input_tokens=inputs,
        output_tokens=outputs,
        total_tokens=total or None,
        cached_tokens=inside.get("cached_tokens"),
        reasoning_tokens=out.get("reasoning_tokens"),
        audio_input_tokens=inside.get("audio_tokens"),
        audio_output_tokens=out.get("audio_tokens"),
        raw={name: value for name, value in stated.items() if value not in (None, {})},
    )


def proved_usage(stated: bytes, cached_inside_input: bool) -> Usage | None:
    """The usage of a plain object whose counts agree; None for another one.

    They are above zero and add up to the total, with every part inside its whole. So they are what
    they say, and nothing has to be proved (`Stated.usage`).
    """
    try:
        counts = _decode(stated)
    except JSON_ERRORS:
        return None
    inputs, outputs = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if type(inputs) is not int or type(outputs) is not int or not inputs or not outputs:
        return None
    if counts.get("total_tokens") != inputs + outputs:
        return None
    if len(counts) == 3:
        return Usage(input_tokens=inputs, output_tokens=outputs, raw={**counts})
    inside, out = _part(counts, _INSIDE), _part(counts, _OUT)
    if inside is None or out is None or not counts.keys() <= _NAMES:
        return None
    if not (inside.keys() <= _NAMES_INSIDE and out.keys() <= _NAMES_OUT):
        return None
    cached, reasoning = inside.get("cached_tokens"), out.get("reasoning_tokens")
    if cached and (cached > inputs or not cached_inside_input):
        return None
    if reasoning and reasoning > outputs:
        return None
    return Usage(
        input_tokens=inputs,
        cached_tokens=cached,
        output_tokens=outputs,
        reasoning_tokens=reasoning,
        audio_input_tokens=inside.get("audio_tokens"),
        audio_output_tokens=out.get("audio_tokens"),
        raw={name: value for name, value in counts.items() if value},
    )


def _part(counts: dict[str, int | dict[str, int] | None], name: str) -> dict[str, int] | None:
    """The details of this name, empty where there are none; None if they are something else."""
    details = counts.get(name)
    if details is None:
        return {}
    return details if type(details) is dict else None


def _counts(details: object, names: frozenset[str]) -> dict[str, int] | None:
    """Details that hold only counts under these names; empty where there are no details."""
    if details is None:
        return {}
    if type(details) is not dict or not details.keys() <= names:
        return None
    for count in details.values():
        if type(count) is not int or not 0 <= count <= INTEGER_MAX:
            return None
    return details
