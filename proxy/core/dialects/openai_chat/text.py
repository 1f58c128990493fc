"""Looks at events as bytes: their strings, and those that differ from the last in text alone.

In valid JSON a quote inside a string is escaped, so `"content":"` can only be a name and the start
of its string value: text that looks like JSON cannot be mistaken for it.
"""

from __future__ import annotations

import re

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS, plain
from proxy.core.dialects.run import Run, plain_texts

_TEXTS = re.compile(
    rb'"(?:c(?:ontent)|re(?:asoning(?:_content|_text)?|fusal)|t(?:ext|ranscript|hinking)'
    rb'|arguments|name|input)"[ \t\r\n]*+:[ \t\r\n]*+'
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"',
    re.DOTALL,
)
_CHOICES = b'"choices"'
_OBFUSCATION = b'"obfuscation":"'
# As ints: looking for an int in bytes costs an eighth of looking for bytes.
_QUOTE, _BACKSLASH, _LF, _CR = b'"\\\n\r'
_FEW = 5  # with fewer, and before so many are alike, it is quicker to look at each
_AT_ONCE = 256  # events: what is in vain for one that differs is bounded
_string_decoder = msgspec.json.Decoder(str)


def strings_in(event: bytes) -> list[bytes]:
    """What stands between the quotes of strings that may be text, behind the choices. For events of
    which nothing better can be known."""
    start = event.find(_CHOICES)
    return [] if start < 0 else _TEXTS.findall(event, start)


class Shape:
    """What stands around the one text of an event: the next one like it is measured by comparing.

    A stream's events are alike to the byte but for the text (and OpenAI's `obfuscation`, random
    padding behind it). What was around the text held no usage, error or finish_reason then, so it
    holds none now; and what is between the quotes is one string if it has no quote in it, or
    decodes as one.
    """

    __slots__ = ("_before", "_behind", "_end_bytes", "_padding", "_start_bytes")

    def __init__(self, before: bytes, padding: bytes, behind: bytes) -> None:
        self._before = before
        # from the closing quote of the text to the opening one of the padding; empty if there is
        # none
        self._padding = padding
        self._behind = behind  # from the closing quote of the text, or of the padding, to the end
        self._start_bytes = len(before)
        self._end_bytes = len(behind)

    @classmethod
    def of(cls, event: bytes, text: bytes) -> Shape | None:
        """The shape of an event whose only text, read by its structure, is this one.

        None if it cannot be told where in the event it stands.
        """
        found = [
            match.span(1)
            for match in _TEXTS.finditer(event, max(event.find(_CHOICES), 0))
            if match[1]
        ]
        if len(found) != 1:
            return None
        start, end = found[0]
        if plain(event[start:end]) != text:
            return None
        padded = event.find(_OBFUSCATION, end)
        if padded < 0:
            return cls(event[:start], b"", event[end:])
        padded += len(_OBFUSCATION)
        padding_end = event.find(b'"', padded)
        return cls(event[:start], event[end:padded], event[padding_end:])

    def run(self) -> Run:
        """Takes the same event as a whole chunk, in the frame that nearly all send.

        What is of this shape need not be parsed for events either.
        """
        framed = Shape(b"data: " + self._before, self._padding, self._behind + b"\n\n")
        return Run(framed._before, framed._behind, framed.plain_text, len(self._padding))

    def plain_text(self, event: bytes) -> bytes | None:
        """The text of this event as UTF-8; None if it is of another shape."""
        inside = self.text(event)
        return None if inside is None else plain(inside)

    def text(self, event: bytes) -> bytes | None:
        """What stands between the quotes of this event's text; None if it is of another shape."""
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
        except JSON_ERRORS:
            return None
        return inside

    def texts(self, events: list[bytes], at: int, bytes_max: int) -> list[bytes]:
        """The texts of the events of this shape from `at` on, one after the other.

        Each has at most so many bytes, and no escape.
        """
        few = events[at : at + _FEW]
        if self._padding or len(few) < _FEW or not few[1].startswith(self._before):
            return []
        found = plain_texts(few, self._before, self._behind, bytes_max)
        if len(found) == _FEW:
            more = events[at + _FEW : at + _AT_ONCE]
            found += plain_texts(more, self._before, self._behind, bytes_max)
        return found
