"""What a model wrote, read from the items of a response by their members.

Results of tools, cited pages, pictures and what is encrypted were not written by the model as text,
and are passed over without being made into objects. The work is bounded, whatever an item holds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from proxy.core.dialects.json_text import plain
from proxy.core.dialects.lists import ListDecoder, TooMuch, check_small

TEXT: Final = "text"
REFUSAL: Final = "refusal"
REASONING: Final = "reasoning"
SUMMARY: Final = "summary"
TRANSCRIPT: Final = "transcript"
NAME: Final = "name"
ARGUMENTS: Final = "arguments"
INPUT: Final = "input"
CODE: Final = "code"
COMMAND: Final = "command"
DIFF: Final = "diff"
ACTION: Final = "action"
OTHER: Final = "other"  # new text in an event of a kind that is not known

# A summary repeats the reasoning of its item in short: of the two the longer one counts.
THOUGHTS: Final = frozenset((REASONING, SUMMARY))

_ABSENT = msgspec.Raw()
_ACTION_TEXTS: Final = ("queries", "query", "commands", "command", "text", "pattern", "url")
_JOINED_MAX: Final = 2048  # texts of one action
_FOUND = ("_output", "_result", "_list_tools", "_approval_request")  # ends of types: not written


class Item(msgspec.Struct, gc=False):
    """The members of an item that are looked at; each value stays text until then."""

    type: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    container_id: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    summary: msgspec.Raw = _ABSENT
    name: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    code: msgspec.Raw = _ABSENT
    action: msgspec.Raw = _ABSENT
    queries: msgspec.Raw = _ABSENT
    operation: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT


class Part(msgspec.Struct, gc=False):
    """A part of a message, of reasoning or of its summary."""

    type: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    refusal: msgspec.Raw = _ABSENT
    transcript: msgspec.Raw = _ABSENT


class _Operation(msgspec.Struct, gc=False):
    diff: msgspec.Raw = _ABSENT


class Written(NamedTuple):
    """One text of an item: its kind, the number of its part, its UTF-8."""

    kind: str
    part: int
    text: bytes


ITEMS: Final = ListDecoder(Item)
_PARTS: Final = ListDecoder(Part)
_part_decoder = msgspec.json.Decoder(Part)
_item_decoder = msgspec.json.Decoder(Item)
_operation_decoder = msgspec.json.Decoder(_Operation)
_any_decoder = msgspec.json.Decoder()


def read_item(raw: msgspec.Raw) -> Item:
    """One item. Raises one of JSON_ERRORS; what is no object has nothing."""
    return _item_decoder.decode(raw) if bytes(memoryview(raw)[:1]) == b"{" else Item()


def written(item: Item) -> list[Written]:
    """Each text of this item that is not empty. Raises TooMuch, or one of JSON_ERRORS."""
    kind = string(item.type).decode("utf-8", "replace")
    if kind.endswith(_FOUND):
        return []
    found = [
        *_parts(item.content, REASONING if kind == "reasoning" else TEXT),
        *_parts(item.summary, SUMMARY),
        Written(NAME, 0, string(item.name)),
        Written(ARGUMENTS, 0, text_or_json(item.arguments)),
        Written(INPUT, 0, text_or_json(item.input)),
        Written(CODE, 0, string(item.code)),
        Written(ACTION, 0, _action(item.action, item.queries)),
    ]
    if bytes(memoryview(item.operation)[:1]) == b"{":
        found.append(Written(DIFF, 0, string(_operation_decoder.decode(item.operation).diff)))
    return [one for one in found if one.text]


def written_in_part(raw: msgspec.Raw, kind: str, number: int) -> list[Written]:
    """The texts of one part. `kind`: what its text is, where it does not say so itself."""
    if bytes(memoryview(raw)[:1]) != b"{":
        return []
    return [one for one in _part(_part_decoder.decode(raw), kind, number) if one.text]


def string(raw: msgspec.Raw) -> bytes:
    """A string as UTF-8; nothing for anything else."""
    text = bytes(raw)
    return plain(text[1:-1]) if text[:1] == b'"' else b""


def text_or_json(raw: msgspec.Raw) -> bytes:
    """A string; arguments that are no text yet are the JSON that they would be."""
    text = bytes(raw)
    if text[:1] in (b"{", b"["):
        return msgspec.json.format(text, indent=0)
    return string(raw)


def _parts(raw: msgspec.Raw, kind: str) -> list[Written]:
    if bytes(memoryview(raw)[:1]) == b'"':
        return [Written(kind, 0, string(raw))]
    parts = _PARTS.decode(bytes(raw)) if raw is not _ABSENT else []
    return [one for number, part in enumerate(parts) for one in _part(part, kind, number)]


def _part(part: Part, kind: str, number: int) -> list[Written]:
    own = string(part.type)
    if own.endswith((b"image", b"file")):
        return []
    if own.startswith(b"reasoning"):
        kind = REASONING
    elif own.startswith(b"summary") and kind != REASONING:
        kind = SUMMARY
    return [
        Written(kind, number, string(part.text)),
        Written(REFUSAL, number, string(part.refusal)),
        Written(TRANSCRIPT, number, string(part.transcript)),
    ]


def _action(action: msgspec.Raw, queries: msgspec.Raw) -> bytes:
    """What a built-in tool was asked: the same queries may stand there in two ways."""
    for raw in (action, queries):
        if bytes(memoryview(raw)[:1]) in (b"{", b"["):
            check_small(bytes(raw))
            value = _any_decoder.decode(raw)
            if isinstance(value, dict):
                members = (value.get(name) for name in _ACTION_TEXTS)
                value = next((member for member in members if member), None)
            if text := _joined(value):
                return text.encode("utf-8", "surrogatepass")
    return b""


def _joined(value: object) -> str:
    if isinstance(value, list):
        if len(value) > _JOINED_MAX:
            raise TooMuch
        return " ".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
