"""How much a request may use at most, as far as its body says: whether its prompt is text alone.

For limits that admit only what can be bounded. Whatever could be read in two ways counts as "cannot
be told": what the vendor keeps (an earlier response, a conversation, a file) and what its own tools
find are billed as input, and nothing in the body says how much that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.names import squeezed
from proxy.core.dialects.scan import holds

_INPUT_BYTES_MAX: Final = 2**20
_BEYOND_TEXT: Final = frozenset(
    map(
        squeezed,
        (
            "previous_response_id conversation prompt context_management container thread "
            "extra_body prompt_embeds cached_content data_sources search_parameters "
            "search_options enable_search web_search web_search_options mcp_servers audio "
            "messages attachments files file_ids"
        ).split(),
    )
)
_SAME_NAMES: Final = {squeezed(name): name for name in ("input", "instructions", "tools")}
_CLIENT_RUN: Final = frozenset(("function", "custom"))  # others are the vendor's own
_NOTHING: Final = (b"", b"null", b"false", b"[]")
# Names and types that bring in more than they say, wherever they stand.
_MEDIA: Final = tuple(
    f'"{name}"'.encode()
    for name in (
        "input_image image_url input_file file_id file_url file_data input_audio input_video "
        "item_reference computer_screenshot"
    ).split()
)
_ESCAPE: Final = re.compile(rb"\\u00([2-7][0-9a-fA-F])")  # of a printable ASCII character


class _TextPart(msgspec.Struct, gc=False):
    """A part that is text, whatever it may have beside."""

    type: Literal["input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"]


class _Texts(msgspec.Struct, gc=False):
    """An item that is text alone; others do not decode."""

    type: Literal[
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    ] = "message"
    content: str | list[_TextPart] | None = None
    output: str | list[_TextPart] | None = None
    summary: list[_TextPart] | None = None


class _AnyTool(msgspec.Struct, gc=False):
    type: str = ""


_items_decoder = msgspec.json.Decoder(list[_Texts])
_tools_decoder = msgspec.json.Decoder(list[_AnyTool])


def answers_max(values: Mapping[str, msgspec.Raw]) -> int | None:
    """One, which its cap holds with all its reasoning; None where the body may say otherwise."""
    return None if "extra_body" in values or "n" in values else 1


def holds_more_than_text(values: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the prompt may be more than the text of this body."""
    for name, value in values.items():
        plain = squeezed(name)
        if plain in _BEYOND_TEXT and bytes(memoryview(value)[:5]) not in _NOTHING:
            return True
        if _SAME_NAMES.get(plain, name) != name:
            return True
    return _has_vendors_tools(values.get("tools")) or _has_media(values.get("input"))


def _has_vendors_tools(tools: msgspec.Raw | None) -> bool:
    if tools is None or bytes(memoryview(tools)[:4]) == b"null":
        return False
    if memoryview(tools).nbytes > _INPUT_BYTES_MAX:
        return True  # millions of small ones would be decoded in one go
    try:
        return any(tool.type not in _CLIENT_RUN for tool in _tools_decoder.decode(tools))
    except JSON_ERRORS:
        return True


def _has_media(input: msgspec.Raw | None) -> bool:
    text = b"" if input is None else bytes(input)
    if text[:1] == b'"' or text in (b"", b"null"):
        return False
    if len(text) > _INPUT_BYTES_MAX:
        return True
    # Names are looked for by their bytes, since readers disagree about which of two equal fields
    # holds. They may be written in escapes.
    plain = text
    if holds(text, b"\\u00"):
        plain = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), text)
    if any(plain.find(media) >= 0 for media in _MEDIA):
        return True
    try:
        _items_decoder.decode(text)
    except JSON_ERRORS:
        return True
    return False
