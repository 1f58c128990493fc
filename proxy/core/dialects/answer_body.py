"""The body of an answer as it comes, told to be events or one JSON value, its coding undone.

Every wire reads its answers through it: a dialect's meter takes the events and the whole body from
here, and knows what stands in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.core.dialects.kept_body import KeptBody
from proxy.core.dialects.opening import Opening
from proxy.core.http.content_coding import Decoder, coding_name
from proxy.core.http.sse import SSEParser, ends_at

BOM = b"\xef\xbb\xbf"
# Comments, data, event, id, retry: what a line of an event stream begins with.
_FIELD_STARTS = b":deir"
_EVENT_NAME = b"event:"
_BRACE = 0x7B
# Put before JSON by frameworks, so that no web page can run it as a script.
_GUARD = re.compile(rb"(?:\)\]\}'?,?|for ?\(;;\);|while ?\(1\);)[ \t\r\n]*")
_GUARD_STARTS = (b")", b"f", b"w")
_GUARD_BYTES_MAX = 16


class AnswerBody:
    """Feed it each chunk through `pieces` and each piece through `events`, then `end` once.

    - `parser`: reads the events
    - `kept`: the bytes that wait to be read as one JSON value
    - `plain`: there is no content coding; `blind`: it cannot be undone, or no further
    - `json`: whether it is one JSON value; None until the first byte tells
    - `prose`: it begins neither like events nor like JSON
    - `size_bytes`: the size of what is no event stream, or may be none
    """

    __slots__ = (
        "_decoder", "_expects_events", "_mark", "_opening",
        "blind", "json", "kept", "parser", "plain", "prose", "size_bytes",
    )  # fmt: skip  # a line for what is private, one for what is read

    def __init__(
        self,
        *,
        stream: bool,
        content_type: str | None = None,
        content_encoding: str | None = None,
        status: int = 200,
        event_bytes_max: int = 1024 * 1024,
        answer_bytes_max: int = 4 * 1024 * 1024,
        end_bytes_max: int = 0,
    ) -> None:
        self.blind = False
        self._decoder: Decoder | None = None
        if content_encoding is not None and coding_name(content_encoding) != "identity":
            self._decoder = Decoder.for_encoding(content_encoding)
            self.blind = self._decoder is None
        self.plain = self._decoder is None
        self._expects_events = (stream and status < 400) or (content_type or "").lower().startswith(
            "text/event-stream"
        )
        self.json: bool | None = None
        self._mark = b""  # what may become a byte order mark, or the name of a line
        self._opening: Opening | None = None  # of a body that may be one JSON value or JSON lines
        self.prose = False
        self.parser = SSEParser(event_bytes_max, end_bytes_max)
        self.size_bytes = 0
        self.kept = KeptBody(answer_bytes_max)

    @property
    def oversized(self) -> bool:
        """Whether an event or the answer was larger than its bound."""
        return self.parser.oversized > 0 or self.kept.cut

    @property
    def begun(self) -> bool:
        """Whether anything came of it."""
        return self.json is not None or self.size_bytes > 0

    @property
    def between_events(self) -> bool:
        """Whether all events that came are whole, so that another one may be put behind them."""
        return self.json is False and self.plain and not self.blind and self.parser.between

    def whole_events(self, chunk: bytes) -> bytes:
        """The part of the chunk fed last that ends with a whole event.

        Empty if no event ends in it, as none does in JSON.
        """
        if self.between_events:
            return chunk
        return chunk[: 0 if self.json else ends_at(chunk, by_lines=self.parser.by_lines)]

    @property
    def pending_bytes(self) -> int:
        """What is not read yet: of an event before its end, of a JSON answer."""
        parser = self.parser
        return self.size_bytes if parser.between else self.size_bytes + parser.pending_bytes

    def pieces(self, chunk: bytes) -> Iterable[bytes]:
        """The parts of this chunk with their coding undone; none where it cannot be undone."""
        if self.blind:
            self.size_bytes += len(chunk)
            return ()
        return (chunk,) if self._decoder is None else self._decoded(self._decoder, chunk)

    def _decoded(self, decoder: Decoder, chunk: bytes) -> Iterable[bytes]:
        yield from decoder.feed(chunk)
        if decoder.failed:
            self.blind = True

    def events(self, piece: bytes) -> list[bytes]:
        """The data of each event that this piece completes; none in a JSON answer."""
        if self.json is None:
            return self._start(piece)
        if self.json:
            return self._keep(piece)
        return self.parser.feed(piece)

    def end(self) -> list[bytes]:
        """The body is over: the event that it ended inside of, if any. JSON waits in `kept`."""
        events: list[bytes] = []
        if self._mark.removeprefix(BOM).strip():
            events = self._begin(self._mark.removeprefix(BOM).lstrip())
        return events if self.json else events + self.parser.end()

    def _start(self, piece: bytes) -> list[bytes]:
        """The first byte tells JSON and pages from events; the content type may not: some vendors
        answer JSON to `stream: true`, or name neither."""
        if not self._mark and piece[:1] == b"{":
            return self._begin(piece)  # as nearly every JSON answer begins
        piece = (self._mark + piece).lstrip()
        text = piece.removeprefix(BOM).lstrip()
        if text[:1] in _GUARD_STARTS:
            if len(text) < _GUARD_BYTES_MAX:
                self._mark = text
                return []
            guard = _GUARD.match(text)
            text = text if guard is None else text[guard.end() :]
            if not text:
                self._mark = b""
                return []
        named = text[:1] in (b"d", b"e")  # as no JSON value begins; a line of an event stream does
        if not text or BOM.startswith(piece) or (named and len(text) < len(_EVENT_NAME)):
            self._mark = text if named else piece[: len(BOM)]
            return []
        return self._begin(text)

    def _begin(self, text: bytes) -> list[bytes]:
        """The body's first bytes that say something."""
        self._mark = b""
        events = self._expects_events or text.startswith((b"data:", _EVENT_NAME, b":"))
        self.json = text[0] in b"{[<" or not events
        self.prose = text[0] not in (b"{[" if self.json else _FIELD_STARTS)
        if text[0] == _BRACE:
            self._opening = Opening(self.kept.bytes_max)
        return self.events(text)

    def _keep(self, piece: bytes) -> list[bytes]:
        self.size_bytes += len(piece)
        if self._opening is not None:
            self._opening.feed(piece)
            if self._opening.lines:
                return self._read_lines(piece)
            if self._opening.lines is False:
                self._opening = None
        self.kept.add(piece)
        return []

    def _read_lines(self, piece: bytes) -> list[bytes]:
        """What began like a JSON answer is a stream of JSON lines."""
        self.json = False
        self.size_bytes = 0
        return self.parser.feed(self.kept.whole() + piece)
