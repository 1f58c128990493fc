"""How much text an answer delivered, in UTF-8 bytes, read with one regular expression instead of a JSON parse.

In valid JSON a quote inside a string is escaped, so `"content":"` can only be a name and the start of its string value: text that looks like JSON cannot be
mistaken for it. What counts is what a model writes: content, reasoning, refusals, names and arguments of tool calls, transcripts; of every choice.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Final

import msgspec

_TEXTS = re.compile(
    rb'"(c(?:ontent)|re(?:asoning(?:_content)?|fusal)|finish_reason|t(?:ext|ranscript)|arguments|name|input)"[ \t\r\n]*+:[ \t\r\n]*+'
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"',
    re.DOTALL,
)
_CHOICES = b'"choices"'
_FINISH = b"finish_reason"
_INDEX = re.compile(rb'"index"[ \t\r\n]*+:[ \t\r\n]*+([0-9]{1,9})')
_INDEXES_MAX = 4        # of an event, that tell whose its texts are: of a choice, of a tool call in it. Where it holds many choices, their order tells them apart
# The same thoughts under two names, as several servers send them for old and new clients, are counted once.
_TWINS: Final = (b"reasoning", b"reasoning_content", b"text")
_OBFUSCATION = b'"obfuscation":"'
_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'     # as ints: looking for an int in bytes costs an eighth of looking for bytes
_string_decoder = msgspec.json.Decoder(str)


def delivered(data: bytes) -> tuple[int, str | None, list[tuple[bytes, bytes]]]:
    """Of one event or JSON answer: bytes of text delivered, the last finish_reason that is stated and not empty, and each string found.

    A string is (its name, what stands between its quotes). Of twins both are there; `untwinned` leaves one.
    """
    start = data.find(_CHOICES)
    if start < 0:
        return 0, None, []
    strings = _TEXTS.findall(data, start)
    total = 0
    finish: str | None = None
    twins: dict[bytes, int] = {}
    for name, value in strings:
        if name == _FINISH:
            finish = value.decode("utf-8", "replace") or finish
            continue
        size = string_bytes(value)
        if name in _TWINS:
            twins[name] = twins.get(name, 0) + size
        else:
            total += size
    if finish is not None:
        strings = [string for string in strings if string[0] != _FINISH]
    return total + (max(twins.values()) if twins else 0), finish, strings


def untwinned(strings: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The strings without the shorter of twins: what `delivered` has measured."""
    twins: dict[bytes, int] = {}
    for name, value in strings:
        if name in _TWINS:
            twins[name] = twins.get(name, 0) + string_bytes(value)
    if len(twins) < 2:
        return strings
    longest = max(twins, key=twins.__getitem__)
    return [string for string in strings if string[0] == longest or string[0] not in twins]


def string_bytes(inside: bytes) -> int:
    """UTF-8 bytes of the text that a JSON string stands for, given what is between its quotes. A lone surrogate counts 3, like the sign shown in its place."""
    return len(inside) if _BACKSLASH not in inside else len(string_text(inside).encode("utf-8", "surrogatepass"))


def string_text(inside: bytes) -> str:
    """The text that a JSON string stands for, given what is between its quotes; as it stands there if it is none."""
    quoted = b'"' + inside + b'"'
    try:
        return _string_decoder.decode(quoted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    loose = quoted.decode("utf-8", "replace")
    try:
        text = json.loads(loose, strict=False)
    except json.JSONDecodeError:
        return loose[1:-1]
    return text if isinstance(text, str) else loose[1:-1]


def whose(event: bytes) -> tuple[bytes, ...]:
    """Which choice, and which of its tool calls, an event continues, as far as its indexes say: texts of different ones do not belong together."""
    return tuple(match[1] for match in islice(_INDEX.finditer(event, max(event.find(_CHOICES), 0)), _INDEXES_MAX))


class Shape:
    """An event seen before, as what stands around its one text: the next event that differs in nothing but the text is measured by comparing.

    A stream's events are alike to the byte but for the text (and OpenAI's `obfuscation`, random padding behind it). What was around the text held no usage, error
    or finish_reason then, so it holds none now; and what is between the quotes is one string if it has no quote in it, or decodes as one.
    `key` tells the text that it continues from others, as in `Texts`.
    """

    __slots__ = ("_before", "_behind", "_end_bytes", "_padding", "_start_bytes", "key")

    def __init__(self, before: bytes, padding: bytes, behind: bytes, key: object) -> None:
        self._before = before
        self._padding = padding     # from the closing quote of the text to the opening one of the padding; empty if there is none
        self._behind = behind       # from the closing quote of the text, or of the padding, to the end
        self._start_bytes = len(before)
        self._end_bytes = len(behind)
        self.key = key

    @classmethod
    def of(cls, event: bytes) -> Shape | None:
        """The shape of an event with exactly one string of text in it."""
        matches = [match for match in _TEXTS.finditer(event, max(event.find(_CHOICES), 0)) if match[1] != _FINISH]
        if len(matches) != 1:
            return None
        key = (whose(event), matches[0][1], 0)
        start, end = matches[0].span(2)
        padded = event.find(_OBFUSCATION, end)
        if padded < 0:
            return cls(event[:start], b"", event[end:], key)
        padded += len(_OBFUSCATION)
        padding_end = event.find(b'"', padded)
        return cls(event[:start], event[end:padded], event[padding_end:], key)

    def framed(self) -> Shape:
        """The same event as a whole chunk, in the frame that nearly all send: what is of this shape need not be parsed for events either."""
        return Shape(b"data: " + self._before, self._padding, self._behind + b"\n\n", self.key)

    def text(self, event: bytes) -> bytes | None:
        """What stands between the quotes of this event's text, or None if it is not of this shape."""
        if not event.startswith(self._before) or not event.endswith(self._behind):
            return None
        inside = event[self._start_bytes : -self._end_bytes]
        if self._padding:
            inside, padding, rest = inside.partition(self._padding)
            if not padding or _QUOTE in rest or _BACKSLASH in rest or _LF in rest or _CR in rest:
                return None
        elif len(event) < self._start_bytes + self._end_bytes:
            return None
        if _LF in inside or _CR in inside:
            return None
        if _BACKSLASH not in inside:
            return inside if _QUOTE not in inside else None
        try:
            _string_decoder.decode(b'"' + inside + b'"')
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return inside
