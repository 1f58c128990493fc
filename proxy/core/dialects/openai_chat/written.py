"""What a model wrote, read from the choices of an event or an answer by their structure.

A client reads these members of a choice, and so does this: `delta`, else `text`, else `message`; in
them the content, a refusal, the reasoning, a transcript, the names and arguments of calls, and any
string under a name that is not known. What else vendors put there (pages that were cited, results
of tools, safety reports, log probabilities) was not written by the model, and is passed over
without being made into objects. The work is bounded, whatever an answer holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS, plain
from proxy.core.dialects.lists import ENTRIES_MAX, ListDecoder, TooMuch, check_small

_PART_TEXTS: Final = ("text", "thinking", "reasoning", "summary", "content", "value", "refusal")
_PARTS_DEPTH_MAX: Final = 6
_REASON_BYTES_MAX: Final = 1024  # of a finish reason that is an object

_ABSENT = msgspec.Raw()
Key = tuple[object, ...]


class Choice(msgspec.Struct, gc=False):
    """The members of a choice that are looked at."""

    index: msgspec.Raw = _ABSENT
    delta: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    finish_reason: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT


class _TextHolder(msgspec.Struct, gc=False):
    """A delta or a message."""

    content: msgspec.Raw = _ABSENT
    reasoning_content: msgspec.Raw = _ABSENT
    reasoning: msgspec.Raw = _ABSENT
    reasoning_text: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT
    reasoning_details: msgspec.Raw = _ABSENT
    thinking_blocks: msgspec.Raw = _ABSENT
    refusal: msgspec.Raw = _ABSENT
    audio: msgspec.Raw = _ABSENT
    function_call: msgspec.Raw = _ABSENT
    tool_calls: msgspec.Raw = _ABSENT


class _Function(msgspec.Struct, gc=False):
    name: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT


class _Call(msgspec.Struct, gc=False):
    index: msgspec.Raw = _ABSENT
    function: msgspec.Raw = _ABSENT
    custom: msgspec.Raw = _ABSENT


_KNOWN: Final = frozenset(_TextHolder.__struct_fields__)
# Members of a delta or a message that the model has not written: names, marks, seals, and pages or
# results that were found.
_LABEL: Final = re.compile(
    r"(?:.*_)?(?:role|id|ids|name|type|kind|object|status|state|index|model|format|language|mime"
    r"|url|signature|seal|opaque|encrypted_content|channel|recipient|author|phase|provider|reason"
    r"|context|results?|citations?|sources?|image|video|token|timestamp|created|version)"
)
_CHOICES: Final = ListDecoder(Choice)
_CALLS: Final = ListDecoder(_Call)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_holder_decoder = msgspec.json.Decoder(_TextHolder)
_function_decoder = msgspec.json.Decoder(_Function)
_any_decoder = msgspec.json.Decoder()


def read_choices(raw: msgspec.Raw) -> list[Choice]:
    """The choices of an event or an answer. Raises TooMuch, or one of JSON_ERRORS."""
    return _CHOICES.decode(bytes(raw))


def choices_of(raw: msgspec.Raw) -> list[Choice]:
    """The same; none where they cannot be read."""
    try:
        return read_choices(raw)
    except (TooMuch, *JSON_ERRORS):
        return []


def finish_of(choices: list[Choice]) -> str | None:
    """The last finish reason that is stated and not empty."""
    found = None
    for choice in choices:
        if choice.finish_reason is _ABSENT:
            continue
        reason = bytes(choice.finish_reason)
        if reason[:1] == b'"':
            found = plain(reason[1:-1]).decode("utf-8", "replace") or found
        elif reason[:1] == b"{" and len(reason) < _REASON_BYTES_MAX:
            found = _joined(_any_decoder.decode(reason), 0, ("type", "reason")) or found
    return found


def texts_of(choices: list[Choice]) -> list[tuple[Key, int, bytes]]:
    """Each text that is not empty: its key, its rank, its UTF-8. Raises like `read_choices`.

    The rank is that of the member it comes from; 0 is `delta`.
    """
    found: list[tuple[Key, int, bytes]] = []
    for number, choice in enumerate(choices):
        for rank, member in enumerate((choice.delta, choice.text, choice.message)):
            if member is _ABSENT:
                continue
            holder = bytes(member)
            written = list(_written(holder))
            if holder[:1] == b"{":
                written += _others(holder, written)
            texts = [
                ((_index(choice.index, number), *field), rank, text)
                for field, text in written
                if text
            ]
            if texts:
                found += texts
                break
    return found


def _written(holder: bytes) -> Iterator[tuple[Key, bytes]]:
    """The texts in a delta or a message, or in a text that stands for one."""
    if holder[:1] == b'"':
        yield ("content",), plain(holder[1:-1])
    if holder[:1] != b"{":
        return
    members = _holder_decoder.decode(holder)
    thoughts = [_text(raw) for raw in _thoughts(members) if raw is not _ABSENT]
    content = bytes(members.content)
    if content[:1] == b'"':
        yield ("content",), plain(content[1:-1])
    elif content[:1] in (b"[", b"{"):
        value = _value(members.content)
        parts = _few(value) if isinstance(value, list) else [value]
        yield (
            ("content",),
            "".join(_joined(part, 0) for part in parts if _is_text(part)).encode(
                "utf-8", "replace"
            ),
        )
        thoughts.append(
            "".join(_joined(part, 0) for part in parts if _is_thought(part)).encode(
                "utf-8", "replace"
            )
        )
    if thoughts:
        yield ("reasoning",), max(thoughts, key=len)
    if members.refusal is not _ABSENT:
        yield ("refusal",), _string(members.refusal)
    if members.audio is not _ABSENT and bytes(members.audio)[:1] == b"{":
        yield (
            ("transcript",),
            _joined(_value(members.audio), 0, ("transcript",)).encode("utf-8", "replace"),
        )
    if members.function_call is not _ABSENT:
        yield from _called(("call",), members.function_call)
    if members.tool_calls is not _ABSENT:
        for number, call in enumerate(_CALLS.decode(bytes(members.tool_calls))):
            key = ("tool", _index(call.index, number))
            yield from _called(key, call.function if call.custom is _ABSENT else call.custom)


def _others(holder: bytes, written: list[tuple[Key, bytes]]) -> Iterator[tuple[Key, bytes]]:
    """Strings under names that are not known. What is delivered is text, but for labels, and
    for what repeats a text beside it."""
    for name, raw in _members_decoder.decode(holder).items():
        if name in _KNOWN or bytes(memoryview(raw)[:1]) != b'"' or _LABEL.fullmatch(name):
            continue
        text = _string(raw)
        if all(text != other for _, other in written):
            yield ("other", name), text


def _thoughts(members: _TextHolder) -> tuple[msgspec.Raw, ...]:
    """The same thoughts under several names: the longest counts, once.

    Servers send them so for old and new clients.
    """
    return (
        members.reasoning_content,
        members.reasoning,
        members.reasoning_text,
        members.thinking,
        members.reasoning_details,
        members.thinking_blocks,
    )


def _called(key: Key, raw: msgspec.Raw) -> Iterator[tuple[Key, bytes]]:
    """Name and arguments of a call. Arguments that are no text yet are taken as their JSON."""
    if bytes(raw)[:1] == b"{":
        function = _function_decoder.decode(raw)
        for member, value in (
            ("name", function.name),
            ("arguments", function.arguments),
            ("input", function.input),
        ):
            yield (
                (*key, member),
                msgspec.json.format(bytes(value), indent=0)
                if bytes(value)[:1] in (b"{", b"[")
                else _string(value),
            )


def _index(raw: msgspec.Raw, otherwise: int) -> int:
    if raw is _ABSENT:
        return otherwise
    digits = bytes(raw)
    return int(digits) if len(digits) < 10 and digits.isdigit() else otherwise


def _string(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    return plain(text[1:-1]) if text[:1] == b'"' else b""


def _text(raw: msgspec.Raw) -> bytes:
    """The text of a member that is a string, a part, or a list of parts."""
    if bytes(raw)[:1] in (b"{", b"["):
        return _joined(_value(raw), 0).encode("utf-8", "replace")
    return _string(raw)


def _value(raw: msgspec.Raw) -> object:
    text = bytes(raw)
    check_small(text)
    return _any_decoder.decode(text)


def _few(parts: list[object]) -> list[object]:
    if len(parts) > ENTRIES_MAX:
        raise TooMuch
    return parts


def _is_thought(part: object) -> bool:
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    return "thinking" in part or (
        isinstance(kind, str) and kind.startswith(("thinking", "reasoning"))
    )


def _is_text(part: object) -> bool:
    """Whether this part of a content is text.

    Parts of other kinds (references, pictures, results of tools) hold texts that were found.
    """
    if not isinstance(part, dict):
        return True
    kind = part.get("type")
    return not _is_thought(part) and (
        not isinstance(kind, str) or kind in ("", "text", "output_text", "refusal")
    )


def _joined(value: object, depth: int, names: tuple[str, ...] = _PART_TEXTS) -> str:
    """The text of a part, or of several in a row."""
    if isinstance(value, str):
        return value
    if depth < _PARTS_DEPTH_MAX:
        if isinstance(value, list):
            return "".join(_joined(part, depth + 1) for part in _few(value))
        if isinstance(value, dict):
            return next((_joined(value[name], depth + 1) for name in names if value.get(name)), "")
    return ""
