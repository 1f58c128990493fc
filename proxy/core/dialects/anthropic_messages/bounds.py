"""Whether a request is text alone, as far as its body says, so that its size bounds its tokens.

What the vendor looks up, runs or keeps is billed too: searches, code, files, contexts that are
summed up. Tools that the client runs are text, whatever they are called. Whatever could be read in
two ways counts as "more than text", since vendors invent new blocks all the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.names import squeezed

_MEDIA_BYTES_MAX = 2**20  # of tools that are decoded: millions of small ones cost a hundred times
# Members whose value brings in what the body does not show.
_BEYOND_TEXT = frozenset(
    map(squeezed, "mcp_servers container thread fallbacks compaction extra_body".split())
)
_PROMPTS = {squeezed(name): name for name in ("messages", "system", "tools")}
# What nearly every request is made of: their names stand for nothing else.
_TEXT_ALONE = frozenset(
    "messages system tools model max_tokens stream temperature top_p top_k metadata tool_choice"
    " thinking stop_sequences service_tier output_config cache_control speed".split()
)
_EDITS = "context_management"
_RUN_BY_CLIENTS = ("bash_", "text_editor_", "memory_", "computer_")
_NOTHING = (b"", b"null", b"[]", b"{}")


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: msgspec.Raw
    cache_control: msgspec.Raw = msgspec.Raw()
    citations: msgspec.Raw = msgspec.Raw()


class _TextualBlock(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A block of a message that is text, with all that it may have."""

    type: Literal["text", "thinking", "redacted_thinking", "tool_use", "tool_result"]
    text: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    signature: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    name: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    caller: msgspec.Raw = msgspec.Raw()
    tool_use_id: msgspec.Raw = msgspec.Raw()
    is_error: msgspec.Raw = msgspec.Raw()
    content: str | list[_Text] | None = None
    cache_control: msgspec.Raw = msgspec.Raw()
    citations: msgspec.Raw = msgspec.Raw()


class _TextualMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str | list[_TextualBlock]
    role: msgspec.Raw = msgspec.Raw()


class _ToolKind(msgspec.Struct, gc=False):
    type: str | None = None


class _Edit(msgspec.Struct, gc=False):
    type: str = ""


class _Edits(msgspec.Struct, gc=False):
    edits: list[_Edit] = []


_messages_decoder = msgspec.json.Decoder(list[_TextualMessage])
_system_decoder = msgspec.json.Decoder(str | list[_Text] | None)
_tools_decoder = msgspec.json.Decoder(list[_ToolKind] | None)
_edits_decoder = msgspec.json.Decoder(_Edits | None)


def holds_more_than_text(values: Mapping[str, msgspec.Raw]) -> bool:
    """Whether there may be anything but text in the prompt, or its vendor may add to it."""
    for name, value in values.items():
        if name in _TEXT_ALONE:
            continue
        plain = squeezed(name)
        if plain in _PROMPTS or (plain in _BEYOND_TEXT and bytes(value) not in _NOTHING):
            return True
    try:
        return _is_more(values)
    except JSON_ERRORS:
        return True


def _is_more(values: Mapping[str, msgspec.Raw]) -> bool:
    """The same for the members that hold the prompt.

    Raises one of JSON_ERRORS for parts that are not known.
    """
    messages, system, tools = (values.get(name) for name in ("messages", "system", "tools"))
    edits = values.get(_EDITS)
    if messages is not None:
        _messages_decoder.decode(messages)
    if system is not None:
        _system_decoder.decode(system)
    if edits is not None:
        read = _edits_decoder.decode(edits)
        if read is not None and any("compact" in edit.type for edit in read.edits):
            return True
    if tools is None:
        return False
    if memoryview(tools).nbytes > _MEDIA_BYTES_MAX:
        return True
    return any(not _is_run_by_client(tool.type) for tool in _tools_decoder.decode(tools) or ())


def _is_run_by_client(kind: str | None) -> bool:
    return kind is None or kind == "custom" or kind.startswith(_RUN_BY_CLIENTS)
