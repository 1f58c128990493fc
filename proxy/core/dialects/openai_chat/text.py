"""Looks at events as bytes: their strings, and those that differ from the last in text alone.

In valid JSON a quote inside a string is escaped, so `"content":"` can only be a name and the start
of its string value: text that looks like JSON cannot be mistaken for it.
"""

from __future__ import annotations

import re
from itertools import islice

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS, plain
from proxy.core.dialects.run import Run

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
# Behind so many events that are alike, it is quicker to look for what stands between the next ones
_MANY = 8
_AT_ONCE = 256  # of so many: what is in vain for one that differs is bounded
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
        found: list[bytes] = []
        if self._padding:
            return found
        before, behind = self._before, self._behind
        start, around = self._start_bytes, self._start_bytes + self._end_bytes
        for event in islice(events, at, None):
            size = len(event) - around
            if not (0 <= size <= bytes_max and event.startswith(before) and event.endswith(behind)):
                break
            inside = event[start : start + size]
            if _QUOTE in inside or _BACKSLASH in inside or _LF in inside or _CR in inside:
                break
            found.append(inside)
            if len(found) == _MANY:
                return found + self._texts_at_once(events[at + _MANY : at + _AT_ONCE], bytes_max)
        return found

    def _texts_at_once(self, events: list[bytes], bytes_max: int) -> list[bytes]:
        """The texts of those in front that are alike, found by what stands between two of them.

        Empty if they are not so plain, and each has to be looked at by itself.
        """
        if not events or not events[0].startswith(self._before):
            return []
        joined = b"\n".join(events)
        if joined.count(b"\n") != len(events) - 1:
            return []  # one of several lines: its parts would be taken for events
        found = joined[self._start_bytes :].split(self._behind + b"\n" + self._before)
        # The last piece has what stands behind its text as well, and all that is of another shape.
        last = found.pop()
        end = last.find(self._behind)
        if end >= 0 and last[end + self._end_bytes : end + self._end_bytes + 1] in (b"", b"\n"):
            found.append(last[:end])
        whole = b"".join(found)
        if (
            not found
            or _QUOTE in whole
            or _BACKSLASH in whole
            or _LF in whole
            or _CR in whole
            or max(map(len, found)) > bytes_max
        ):
            return []
        return found
