"""The prompt of a request's body, counted with a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.endpoints import CHAT
from proxy.core.dialects.scan import repair_surrogates
from proxy.core.tokens.images import ImageRule, image_rule
from proxy.core.tokens.prompts import Prompt, beside_prompt_bytes, count_input, count_prompt
from proxy.core.tokens.text import EXACT_CHARS_MAX, Count

_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROMPT_FIELDS: Final = ("messages", "tools", "functions", "prompt", "input")
_FORM: Final = "response_format"  # stays JSON


def count_prompt_of(
    call: Call, body: bytes, name: str, image_rules: Sequence[ImageRule], count: Count
) -> Prompt | None:
    """What the prompt comes to, or None for a body that cannot be decoded as a whole.

    Its top level could be.
    """
    try:
        fields = _fields_decoder.decode(repair_surrogates(body) or body)
        read = {
            name: msgspec.json.decode(fields[name]) for name in _PROMPT_FIELDS if name in fields
        }
        form = bytes(fields.get(_FORM, b"")).decode()
    except JSON_ERRORS:
        return None
    beside_bytes = beside_prompt_bytes(fields)
    if call.endpoint == CHAT:
        prompt = count_prompt(
            read.get("messages"),
            _tools(read.get("tools"), read.get("functions")),
            name,
            count,
            image_rule(call.model, image_rules),
            response_format=form,
            other_bytes=beside_bytes,
        )
        return Prompt(
            prompt.tokens,
            prompt.exact and len(body) <= EXACT_CHARS_MAX,
            prompt.characters,
            prompt.guessed,
        )
    asked = read.get("prompt") if read.get("prompt") is not None else read.get("input")
    tokens = count_input(asked, count, other_bytes=beside_bytes)
    return Prompt(
        tokens, len(body) <= EXACT_CHARS_MAX and not beside_bytes, len(body), beside_bytes > 0
    )


def _tools(tools: object, functions: object) -> object:
    """Both, where a request names its tools in the old way too."""
    if isinstance(tools, list) and isinstance(functions, list):
        return [*tools, *functions]
    return tools if tools is not None else functions
