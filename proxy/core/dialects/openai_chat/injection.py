"""Asking a stream for its usage on a client's behalf: what is spliced into the request, and what is taken out of the answer again.

Nothing is parsed and written anew: the request gets one member more (or one value replaced) at a known offset, the answer loses at most
the one event that the client did not ask for. Every other byte stays.
"""

from __future__ import annotations

import re

import msgspec

from proxy.core.dialects.openai_chat.call import Call
from proxy.core.dialects.openai_chat.scan import Ambiguous, walk

STREAMS = frozenset({"/v1/chat/completions", "/v1/completions"})
_MEMBER = b'"stream_options":{"include_usage":true},'
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_options_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

# Two line ends in a row. Atomic, so that one CRLF is never read as two ends.
_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_ENVELOPE = frozenset({"id", "object", "created", "model", "system_fingerprint", "service_tier", "provider", "obfuscation", "timings", "usage", "choices"})
_event_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def splice(body: bytes, call: Call) -> bytes | None:
    """The body that also asks for usage, or None if it asks already, streams nothing, or says something that only its vendor can answer."""
    if not call.stream or call.include_usage is True or call.endpoint not in STREAMS:
        return None
    span = call.spans.get("stream_options")
    if span is None:
        return body[: call.object_start] + _MEMBER + body[call.object_start :]
    start, end = span
    options = body[start:end]
    if options == b"null":
        return body[:start] + b'{"include_usage":true}' + body[end:]
    if options[:1] != b"{":
        return None
    try:
        inner, inner_start = walk(options, _options_decoder.decode(options))
    except (Ambiguous, *_JSON_ERRORS):
        return None
    stated = inner.get("include_usage")
    if stated is not None and options[stated[0] : stated[1]] not in (b"false", b"null"):
        return None
    if stated is not None:
        return body[: start + stated[0]] + b"true" + body[start + stated[1] :]
    member = b'"include_usage":true,' if inner else b'"include_usage":true'
    return body[: start + inner_start] + member + body[start + inner_start :]


class UsageEventFilter:
    """Passes an event stream on without its usage event, byte for byte else. `feed` gives what may be forwarded now; `end` what is left.

    Only an event that is not whole yet is held back, and none longer than `event_bytes_max`: such a one passes unread, as the meter leaves it unread, however it
    comes. Each byte is searched and copied a fixed number of times, however small the chunks. Total: no input makes it raise.
    """

    __slots__ = ("_after_cr", "_held", "_max", "_open", "_searched")

    def __init__(self, event_bytes_max: int) -> None:
        self._max = event_bytes_max
        self._held = bytearray()  # the unfinished event
        self._searched = 0        # of it, how far no end was found
        self._open = False        # the unfinished event is too long and is being passed on unread
        self._after_cr: bool | None = None  # the last end was a CR: a LF next belongs to it, and is passed on (True) or not (False)

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream so far may go to the client."""
        held = self._held
        if not held and self._after_cr is None and not self._open and chunk[-2:] == b"\n\n" and b'"usage"' not in chunk and 13 not in chunk:
            return chunk       # whole events of which none can be the one
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
            keep = len(held) - min(3, len(held))
            out.append(bytes(held[:keep]))
            del held[:keep]
        self._searched = max(0, len(held) - 3)
        return b"".join(out)

    def end(self) -> bytes:
        """What the stream ended inside of: passed on, unless it is the usage event without its last line end."""
        held = bytes(self._held)
        self._held.clear()
        return b"" if held and not self._open and is_usage_event(held) else held


def is_usage_event(event: bytes) -> bool:
    """Whether this event (as its bytes came) holds nothing but usage and envelope fields."""
    if b'"usage"' not in event:
        return False
    lines = event.removeprefix(b"\xef\xbb\xbf").splitlines()
    data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
    try:
        fields = _event_decoder.decode(data)
    except _JSON_ERRORS:
        return False
    if bytes(fields.get("usage", msgspec.Raw(b"")))[:1] != b"{" or "choices" not in fields:
        return False
    choices = bytes(fields["choices"]).translate(None, b" \t\r\n")
    return choices in (b"[]", b"null") and _ENVELOPE.issuperset(fields)
