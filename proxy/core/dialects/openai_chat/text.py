"""How much text an answer delivered, in UTF-8 bytes, read with one regular expression instead of a JSON parse.

In valid JSON a quote inside a string is escaped, so `"content":"` can only be a name and the start of its string value: text that looks like JSON cannot be
mistaken for it. What counts is what a model writes: content, reasoning, refusals, names and arguments of tool calls, transcripts; of every choice.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

_TEXTS = re.compile(
    rb'"(c(?:ontent)|re(?:asoning(?:_content)?|fusal)|finish_reason|t(?:ext|ranscript)|arguments|name|input)"[ \t\r\n]*+:[ \t\r\n]*+'
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"',
    re.DOTALL,
)
_CHOICES = b'"choices"'
_FINISH = b"finish_reason"
# The same thoughts under two names, as several servers send them for old and new clients, are counted once.
_TWINS: Final = (b"reasoning", b"reasoning_content", b"text")
_OBFUSCATION = b'"obfuscation":"'
_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'     # as ints: looking for an int in bytes costs an eighth of looking for bytes
_string_decoder = msgspec.json.Decoder(str)


def delivered(data: bytes) -> tuple[int, str | None, int]:
    """Of one event or JSON answer: bytes of text delivered, the last finish_reason that is stated and not empty, and how many strings were found."""
    start = data.find(_CHOICES)
    if start < 0:
        return 0, None, 0
    found = _TEXTS.findall(data, start)
    total = 0
    strings = 0
    finish: str | None = None
    twins: dict[bytes, int] = {}
    for name, value in found:
        if name == _FINISH:
            finish = value.decode("utf-8", "replace") or finish
            continue
        strings += 1
        size = len(value) if _BACKSLASH not in value else string_bytes(value)
        if name in _TWINS:
            twins[name] = twins.get(name, 0) + size
        else:
            total += size
    return total + (max(twins.values()) if twins else 0), finish, strings


def string_bytes(inside: bytes) -> int:
    """UTF-8 bytes of the text that a JSON string stands for, given what is between its quotes. A lone surrogate counts 3, like the sign shown in its place."""
    quoted = b'"' + inside + b'"'
    try:
        return len(_string_decoder.decode(quoted).encode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        text = json.loads(quoted.decode("utf-8", "replace"), strict=False)
    except json.JSONDecodeError:
        return len(inside)
    return len(text.encode("utf-8", "surrogatepass"))


class Shape:
    """An event seen before, as what stands around its one text: the next event that differs in nothing but the text is measured by comparing.

    A stream's events are alike to the byte but for the text (and OpenAI's `obfuscation`, random padding behind it). What was around the text held no usage, error
    or finish_reason then, so it holds none now; and what is between the quotes is one string if it has no quote in it, or decodes as one.
    """

    __slots__ = ("_before", "_behind", "_end_bytes", "_padding", "_start_bytes")

    def __init__(self, before: bytes, padding: bytes, behind: bytes) -> None:
        self._before = before
        self._padding = padding         # from the text's closing quote to the padding's opening one; empty if there is no padding
        self._behind = behind           # from the closing quote of the text, or of the padding, to the end
        self._start_bytes = len(before)
        self._end_bytes = len(behind)

    @classmethod
    def of(cls, event: bytes) -> Shape | None:
        """The shape of an event with exactly one string of text in it."""
        matches = [match for match in _TEXTS.finditer(event, max(event.find(_CHOICES), 0)) if match[1] != _FINISH]
        if len(matches) != 1:
            return None
        start, end = matches[0].span(2)
        padded = event.find(_OBFUSCATION, end)
        if padded < 0:
            return cls(event[:start], b"", event[end:])
        padded += len(_OBFUSCATION)
        padding_end = event.find(b'"', padded)
        return cls(event[:start], event[end:padded], event[padding_end:])

    def framed(self) -> Shape:
        """The same event as a whole chunk, in the frame that nearly all send: what is of this shape need not be parsed for events either."""
        return Shape(b"data: " + self._before, self._padding, self._behind + b"\n\n")

    def text_bytes(self, event: bytes) -> int:
        """Bytes of this event's text, or -1 if it is not of this shape."""
        if not event.startswith(self._before) or not event.endswith(self._behind):
            return -1
        inside = event[self._start_bytes : -self._end_bytes]
        if self._padding:
            inside, padding, rest = inside.partition(self._padding)
            if not padding or _QUOTE in rest or _BACKSLASH in rest or _LF in rest or _CR in rest:
                return -1
        elif len(event) < self._start_bytes + self._end_bytes:
            return -1
        if _LF in inside or _CR in inside:
            return -1
        if _BACKSLASH not in inside:
            return len(inside) if _QUOTE not in inside else -1
        try:
            return len(_string_decoder.decode(b'"' + inside + b'"').encode())
        except (msgspec.DecodeError, UnicodeDecodeError):
            return -1
