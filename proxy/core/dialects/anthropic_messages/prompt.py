"""The prompt of a request's body, counted with a vocabulary.

The vendor publishes no rules, so nothing here is exact: each text is counted as it stands, and what
wraps it by a few tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.scan import repair_surrogates
from proxy.core.tokens.images import ImageRule, image_rule, picture_tokens
from proxy.core.tokens.prompts import Prompt, size_bytes
from proxy.core.tokens.text import Count, count_texts

_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROMPT_FIELDS: Final = ("system", "messages", "tools")
_MESSAGE_TOKENS: Final = 3
_BYTES_PER_TOKEN: Final = 4  # of what is no text
# Members of a block whose strings a model reads.
_TEXTS: Final = ("text", "thinking", "name", "title", "context")
# Members whose value is read apart, or is a label, or is bound to be opaque to the model.
_MESSAGE_FIELDS: Final = frozenset(("role", "content"))
_BLOCK_FIELDS: Final = frozenset(
    (*_TEXTS, "content", "input", "type", "cache_control", "citations", "is_error", "caller")
)
_OPAQUE: Final = frozenset(("signature", "data"))  # of thinking
_THINKING: Final = frozenset(("thinking", "redacted_thinking"))
_SHORT_CHARS: Final = 64  # of an id
# Members of a body beside its prompt that no vendor shows to its model.
_SILENT: Final = frozenset(
    (
        "betas cache_control container context_management fallbacks inference_geo mcp_servers "
        "speed stop_sequences thinking model metadata service_tier tool_choice"
    ).split()
)
_FORM: Final = "output_config"  # a schema in it is part of the prompt


def count_prompt(
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
    except JSON_ERRORS:
        return None
    tally = _PromptTexts()
    tally.other_bytes = _beside(fields)
    tally.content(read.get("system"))
    messages = read.get("messages")
    for message in messages if isinstance(messages, list) else [messages]:
        tally.tokens += _MESSAGE_TOKENS
        tally.message(message)
    if read.get("tools"):
        tally.texts.append(msgspec.json.encode(read["tools"]).decode())
    rule = image_rule(call.model, image_rules)
    pictures = sum(picture_tokens(rule, picture.size, low=False) for picture in call.pictures)
    unseen = tally.other_bytes - sum(end - start for start, end in call.inlined)
    return Prompt(
        tally.tokens
        + count_texts(tally.texts, count)
        + pictures
        + max(unseen, 0) // _BYTES_PER_TOKEN,
        exact=False,
        characters=sum(map(len, tally.texts)),
        guessed=unseen > 0,
    )


def _beside(fields: Mapping[str, msgspec.Raw]) -> int:
    """Bytes of the members beside the prompt that a model may be shown."""
    form = bytes(fields.get(_FORM, b""))
    silent = _SILENT if b"schema" in form else _SILENT | {_FORM}
    return sum(
        len(bytes(raw))
        for name, raw in fields.items()
        if name not in silent
        and name not in _PROMPT_FIELDS
        and bytes(memoryview(raw)[:1]) in (b'"', b"[", b"{")
    )


class _PromptTexts:
    """What was found so far: the texts, and the bytes of what is none."""

    __slots__ = ("other_bytes", "texts", "tokens")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tokens = 0
        self.other_bytes = 0

    def message(self, message: object) -> None:
        """A message; what it has beside its content may be shown too, by some server."""
        if not isinstance(message, dict):
            self.content(message)
            return
        self.content(message.get("content"))
        self._other(message, _MESSAGE_FIELDS)

    def content(self, content: object) -> None:
        """A text, a list of blocks, or a block with blocks in it; however deep it is nested."""
        rest = [content]
        while rest:
            item = rest.pop()
            if isinstance(item, str):
                self.texts.append(item)
            elif isinstance(item, list):
                rest += reversed(item)
            elif isinstance(item, dict):
                self._block(item, rest)
            elif item is not None:
                self.other_bytes += size_bytes(item)

    def _block(self, block: dict[str, object], rest: list[object]) -> None:
        rest += [block[name] for name in _TEXTS if isinstance(block.get(name), str)]
        inside = block.get("content")
        if inside is not None:
            rest.append(inside)
        if block.get("input") is not None:
            self.texts.append(msgspec.json.encode(block["input"]).decode())
        known = _BLOCK_FIELDS
        self._other(block, known | _OPAQUE if block.get("type") in _THINKING else known)

    def _other(self, members: dict[str, object], known: frozenset[str]) -> None:
        for name, value in members.items():
            if name in known and (name not in _TEXTS or isinstance(value, str)):
                continue
            if not isinstance(value, str) or len(value) > _SHORT_CHARS:
                self.other_bytes += size_bytes(value)
            if len(name) > _SHORT_CHARS:
                self.other_bytes += len(name)
