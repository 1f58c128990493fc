"""Finds members that choose another model, vendor or host by a name inside of their value.

OpenRouter and Anthropic have tools with a `model` of their own, which is asked and billed beside
the request's; NanoGPT has a member `advisor` for that. LiteLLM takes `api_base` from a tool, and
puts what `extra_body` holds in the place of what stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.names import squeezed
from proxy.core.dialects.scan import Ambiguous, walk
from proxy.core.steering import names_a_model, steering_field

EXTRA = "extra_body"
_EXTRA_DEPTH_MAX = 4  # one inside the other; each relay may unpack one
_EXTRA, _TOOLS, _PARAMETERS = squeezed(EXTRA), "tools", "parameters"
# Limits and prices are worked out from these members. What an `extra_body` says of them would hold
# in their place.
_DECIDING = "model n best_of max_tokens max_completion_tokens service_tier stream stream_options"
_DECIDED_ON = frozenset(map(squeezed, _DECIDING.split()))
# Their values are text, labels or numbers: a name in them chooses nothing.
VALUES = frozenset(
    """
    model messages prompt input functions response_format metadata stream stream_options
    temperature top_p n max_tokens max_completion_tokens user stop seed logprobs tool_choice
    parallel_tool_calls reasoning_effort store encoding_format service_tier frequency_penalty
    presence_penalty logit_bias
    """.split()
)
# What nearly every tool is made of.
_OF_FUNCTIONS = frozenset(("type", "function", "name", "description", "strict"))
_TOOLS_BYTES_MAX = 1024 * 1024  # that are decoded: many small tools cost a hundred times their size
# In more than that, which no API takes, any name like these is enough, wherever it stands, or one
# that is escaped.
_SUSPECT = re.compile(
    rb'(?i)"[a-z_. -]{0,24}(?:model|engine|deployment|endpoint|fallback|api.?base|base.?url'
    rb"|api.?key|provider)|\\u00[4-7]"
)
_SUSPECT_BYTES = 64
_STEP_BYTES = 64 * 1024  # searched at a time: other threads stand still meanwhile
_Fields = dict[str, msgspec.Raw]
_fields_decoder = msgspec.json.Decoder(_Fields)
_tools_decoder = msgspec.json.Decoder(list[_Fields])


def steers_inside(name: str, value: msgspec.Raw, depth: int = 0) -> bool:
    """Whether the value of this member chooses what `model` and the config are to choose."""
    if name in VALUES:
        return False
    plain, text = squeezed(name), bytes(value)
    if plain == _EXTRA:
        return depth > _EXTRA_DEPTH_MAX or _unpacked(text, depth)
    if plain == _TOOLS:
        return _in_tools(text)
    return plain != "metadata" and text.startswith(b"{") and any(map(names_a_model, _names(text)))


def _unpacked(text: bytes, depth: int) -> bool:
    """Whether an `extra_body` holds what its reader would put beside `model`, or in its place.

    What else is in it passes: Gemini's API needs it.
    """
    try:
        fields = _fields_decoder.decode(text)
        walk(text, fields)
    except Ambiguous:
        return True
    except JSON_ERRORS:
        return False  # no object: nothing to put anywhere
    return any(
        steering_field(name)
        or squeezed(name) in _DECIDED_ON
        or steers_inside(name, value, depth + 1)
        for name, value in fields.items()
    )


def _in_tools(text: bytes) -> bool:
    """Whether a tool names a model or a host, itself or in the `parameters` beside its type.

    The parameters of a function are a schema, and choose nothing.
    """
    if len(text) > _TOOLS_BYTES_MAX:
        return any(
            _SUSPECT.search(text, at, at + _STEP_BYTES + _SUSPECT_BYTES) is not None
            for at in range(0, len(text), _STEP_BYTES)
        )
    try:
        tools = _tools_decoder.decode(text)
    except JSON_ERRORS:
        return False  # no list of objects: nothing that a reader could run
    return any(map(_tool_steers, tools))


def _tool_steers(tool: Mapping[str, msgspec.Raw]) -> bool:
    return any(
        names_a_model(name)
        or (squeezed(name) == _PARAMETERS and any(map(names_a_model, _names(bytes(value)))))
        for name, value in tool.items()
        if name not in _OF_FUNCTIONS
    )


def _names(text: bytes) -> list[str]:
    """The names of an object; none for anything else."""
    try:
        return list(_fields_decoder.decode(text))
    except JSON_ERRORS:
        return []
