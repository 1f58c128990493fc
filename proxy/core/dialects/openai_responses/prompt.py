"""Counts the prompt of a request by the rules of chats.

Its items are the messages of chats in another form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.scan import repair_surrogates
from proxy.core.tokens.images import ImageRule, image_rule
from proxy.core.tokens.prompts import Prompt, beside_prompt_bytes, count_prompt, size_bytes
from proxy.core.tokens.text import EXACT_CHARS_MAX, Count

_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROMPT_FIELDS: Final = ("instructions", "input", "tools")
_FORM: Final = "text"  # stays JSON: a schema in it is part of the prompt
# Members of a body beside its prompt that no vendor shows to its model.
_SILENT: Final = frozenset(
    (
        "background background_options client_metadata conversation include instructions "
        "max_output_tokens max_tool_calls previous_response_id prompt_cache_options reasoning "
        "text top_logprobs truncation"
    ).split()
)
# Members that hold the prompt in other APIs, and so count there as that.
_OF_CHATS: Final = ("messages", "functions", "prompt", "prediction", "response_format")
_SHORT_CHARS: Final = 64  # of an id
_PART_TEXTS: Final = ("text", "refusal")


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
    beside = {name: raw for name, raw in fields.items() if name not in _SILENT}
    prompt = count_prompt(
        _messages(read.get("instructions"), read.get("input")),
        read.get("tools"),
        name,
        count,
        image_rule(call.model, image_rules),
        response_format=form if '"json_schema"' in form else "",
        other_bytes=beside_prompt_bytes(beside)
        + sum(len(bytes(fields[name])) for name in _OF_CHATS if name in fields),
    )
    plain = isinstance(read.get("input"), str) and len(body) <= EXACT_CHARS_MAX
    return Prompt(prompt.tokens, prompt.exact and plain, prompt.characters, prompt.guessed)


def _messages(instructions: object, input: object) -> list[object]:
    """The items as the messages of a chat."""
    messages: list[object] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})
    if isinstance(input, list):
        messages += [_message(item) for item in input]
    elif input is not None:
        messages.append({"role": "user", "content": input})
    return messages


def _message(item: object) -> object:
    """One item. What it holds beside its texts stays in it, and counts with its bytes."""
    if not isinstance(item, dict):
        return item
    content = item.get("content", item.get("output", item.get("summary")))
    message: dict[str, object] = {"content": _content(content)}
    if isinstance(item.get("role"), str):
        message["role"] = item["role"]
    called = {name: item[name] for name in ("name", "arguments", "input") if name in item}
    if called:
        message["tool_calls"] = [called]
    known = {"content", "output", "summary", "role", "name", "arguments", "input", "type", "status"}
    for name, value in item.items():
        if name in known or value is None or (name in ("id", "call_id") and _is_short(value)):
            continue
        message[name] = value
    return message


def _content(content: object) -> object:
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "input_image":
        return {
            "type": "image_url",
            "image_url": {"url": part.get("image_url"), "detail": part.get("detail")},
        }
    for name in _PART_TEXTS:
        if isinstance(part.get(name), str):
            return {"type": "text", "text": part[name], **_more(part, name)}
    return part


def _more(part: Mapping[str, object], text: str) -> dict[str, object]:
    """What a part has beside its text, if that is anything: annotations of an earlier answer."""
    silent = {"type", text, "logprobs", "prompt_cache_breakpoint"}
    return {name: value for name, value in part.items() if name not in silent and value}


def _is_short(value: object) -> bool:
    return size_bytes(value) <= _SHORT_CHARS + 2
