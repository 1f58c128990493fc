"""Asks a stream for its usage on a client's behalf.

Nothing is parsed and written anew: the request gets one member more (or one value replaced) at a
known offset, and the answer loses at most the one event that the client did not ask for. Every
other byte stays.
"""

from __future__ import annotations

import json
import re

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.endpoints import CHAT, COMPLETIONS
from proxy.core.dialects.openai_chat.shapes import tells_failure
from proxy.core.dialects.scan import Ambiguous, walk
from proxy.core.http.sse import SSEParser

STREAMS = frozenset({CHAT, COMPLETIONS})
_MEMBER = b'"stream_options":{"include_usage":true},'
_OPTIONS_BYTES_MAX = 64 * 1024  # of what is read on the loop
_options_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

# Two line ends in a row; or one, behind an object that another one follows: some servers leave the
# empty line out (`core/sse.py`).
# Atomic, so that one CRLF is never read as two ends.
_EVENT_END = re.compile(
    rb"(?>\r\n|\r|\n)(?:(?>\r\n|\r|\n)|(?<=\}[\r\n])(?=%b)|(?<=\}\r\n)(?=%b))"
    % (2 * (rb"(?:data: ?){0,2}(?:\{|\[DONE\])",))
)
_END_BYTES_MAX = 20  # of an end with what has to be seen behind it
_USAGE = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*\{')
# Members that hold a part of an answer, or a failure, where there is no choice to hold it.
_PARTS = ("delta", "content", "text", "output")
_FAILURES = ("error", "message")


def splice(body: bytes, call: Call) -> bytes | None:
    """The body that also asks for usage, or None.

    None if it asks already, streams nothing, or says something that only its vendor can answer.
    """
    if not call.stream or call.include_usage is True or call.endpoint not in STREAMS:
        return None
    span = call.spans.get("stream_options")
    if span is None:
        return body[: call.object_start] + _MEMBER + body[call.object_start :]
    start, end = span
    options = body[start:end]
    if options == b"null":
        return body[:start] + b'{"include_usage":true}' + body[end:]
    if options[:1] != b"{" or len(options) > _OPTIONS_BYTES_MAX:
        return None
    try:
        inner, inner_start = walk(options, _options_decoder.decode(options))
    except (Ambiguous, *JSON_ERRORS):
        return None
    stated = inner.get("include_usage")
    if stated is not None and options[stated[0] : stated[1]] not in (b"false", b"null"):
        return None
    if stated is not None:
        return body[: start + stated[0]] + b"true" + body[start + stated[1] :]
    member = b'"include_usage":true,' if inner else b'"include_usage":true'
    return body[: start + inner_start] + member + body[start + inner_start :]


class UsageEventFilter:
    """Passes an event stream on without its usage event, byte for byte else.

    `feed` gives what may be forwarded now, `end` the rest. Only an event that is not whole yet is
    held back. One longer than `event_bytes_max` passes unread, however it comes, as the meter
    leaves it unread. Each byte is searched and copied a fixed number of times, however small the
    chunks. Total: no input makes it raise. A body that is one object and nothing else is an answer
    and no stream: it passes.
    """

    __slots__ = ("_after_cr", "_alone", "_held", "_max", "_open", "_searched")

    def __init__(self, event_bytes_max: int) -> None:
        self._max = event_bytes_max
        self._held = bytearray()  # the unfinished event
        self._searched = 0  # bytes of it in which no end was found
        self._open = False  # the unfinished event is too long and is being passed on unread
        self._alone = True  # no event has ended yet
        # The last end was a CR: a LF next belongs to it, and is passed on (True) or not (False).
        self._after_cr: bool | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is held back, so that an event which is none of usage may pass it by."""
        return not (self._held or self._open or self._alone) and self._after_cr is None

    def feed(self, chunk: bytes) -> bytes:
        """The part of the stream so far that may go to the client."""
        held = self._held
        if (
            not held
            and self._after_cr is None
            and not self._open
            and chunk[-2:] == b"\n\n"
            and b'"usage"' not in chunk
            and 13 not in chunk
        ):
            self._alone = False
            return chunk  # whole events of which none can be the one
        out: list[bytes] = []
        if self._after_cr is not None and chunk:
            if chunk[:1] == b"\n":
                out += [b"\n"] if self._after_cr else []
                chunk = chunk[1:]
            self._after_cr = None
        held += chunk
        at = 0
        while (found := _EVENT_END.search(held, max(at, self._searched))) is not None:
            end = found.end()
            self._alone = False
            event = bytes(held[at:end])
            passes = self._open or len(event) > self._max or not is_usage_event(event)
            self._open = False
            if passes:
                out.append(event)
            at = end
            self._searched = 0
            if event.endswith(b"\r"):
                if held[at : at + 1] == b"\n":
                    at += 1
                    out += [b"\n"] if passes else []
                elif at == len(held):
                    self._after_cr = passes
        del held[:at]
        if self._open or len(held) > self._max:
            self._open = True
            # The last bytes may begin an event's end.
            keep = len(held) - min(_END_BYTES_MAX, len(held))
            out.append(bytes(held[:keep]))
            del held[:keep]
        self._searched = max(0, len(held) - _END_BYTES_MAX)
        return b"".join(out)

    def end(self) -> bytes:
        """The unfinished event at the end: it is passed on, unless it is the usage event."""
        held = bytes(self._held)
        self._held.clear()
        answer = self._alone and held.lstrip().startswith(b"{")
        return b"" if held and not self._open and not answer and is_usage_event(held) else held


def is_usage_event(event: bytes) -> bool:
    """Whether this event (as its bytes came) states usage and holds nothing of the answer.

    A stream that asks for its usage gets such an event, and a loop over `chunk.choices[0]` that did
    not ask dies of it. What else vendors put into it (timings, prices, lists of nothing, choices
    that say nothing) comes with the usage and goes with it.
    """
    if _USAGE.search(event) is None:
        return False
    parser = SSEParser(len(event))
    found = parser.feed(event) + parser.end()
    if len(found) != 1:
        return False
    fields = _read(found[0])
    if not isinstance(fields, dict) or not isinstance(fields.get("usage"), dict):
        return False
    if any(tells_failure(fields.get(name)) for name in _FAILURES) or not all(
        _is_nothing(fields.get(name)) for name in _PARTS
    ):
        return False
    choices = fields.get("choices")
    return _is_nothing(choices) or (isinstance(choices, list) and all(map(_is_silent, choices)))


def _read(data: bytes) -> object:
    """The JSON of an event; None if it is none.

    NaN, which servers in Python write, is read as clients in Python read it.
    """
    try:
        return msgspec.json.decode(data)
    except JSON_ERRORS:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_silent(choice: object) -> bool:
    """Whether a choice holds nothing but its number, and usage where a vendor states it there."""
    return isinstance(choice, dict) and all(
        name in ("index", "usage") or _is_nothing(value) for name, value in choice.items()
    )


def _is_nothing(value: object) -> bool:
    """Null, empty, or made of nothing else. Numbers and truths say something."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += item.values()
        elif isinstance(item, list):
            rest += item
        elif item is not None and item != "":
            return False
    return True
