"""Server-sent events from bytes, without I/O: the data of each event, whatever the chunks.

The parser stands on the forwarding path, so it is total: no input makes it raise, wait or grow. It
keeps one event at most and looks at each byte once, so its cost is linear in what it is fed. An
event above `event_bytes_max` is dropped and counted, and reading goes on in step behind it.

Rules (WHATWG HTML, "Server-sent events"): one leading BOM is dropped; lines end with LF, CR or
CRLF; `:` starts a comment; the data lines of an event are joined with LF; an empty line ends it.

Beyond the rules, what servers really send is read as line-wise clients read it:

- `end` gives out an unterminated last event. Browsers drop it, a bill should not.
- A JSON object ends its event where another object, or `[DONE]`, begins on the next data line. No
  JSON text goes on like that, so those are two events whose empty line is missing. Once that was
  seen, each line with a whole object is an event at once.
- A line that is a JSON object or `[DONE]`, without `data:`, is data: JSON lines, and the odd event
  without a name.
- `data: data: {` has its name once too often; ` data: {` and `Data: {` are data as well.
"""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"
_DATA = b"data:"
_DATA_SPACE = b"data: "
_EVENT = b"event:"
_ERROR = b"error"
_ERROR_FIELD = b"error:"  # llama.cpp before 2025-09 calls the data line itself so
_DONE = b"[DONE]"
_LF = 0x0A
_CR = 0x0D
_OPEN = 0x7B  # a brace
_D = 0x64  # with which the name may begin again
_START_BYTES = 64  # of a line that is too long, enough to tell what it is
_DONE_BYTES_MAX = 16
_BLANKS_MAX = 8  # in front of a name that is still taken for `data:`


class LargeEnd(bytes):
    """The end of an event that was too large to be kept: what of its data lines came last."""


class SSEParser:
    """`feed` chunks and take the data of their events; `end` gives an unterminated last one.

    - `between`: nothing is pending, the next byte starts a line of a new event
    - `oversized`: events dropped because their data lines together exceeded `event_bytes_max`
    - `dropped_bytes`: what those held
    - `by_lines`: events have come without the empty line that ends them
    - `errors`: events that are called an error by their name

    `end_bytes_max`: so much of the end of a dropped event is given out in its place, as a
    `LargeEnd`. It is the same in whatever pieces the event came.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_dropping",
        "_end",
        "_end_bytes_max",
        "_ends_object",
        "_first_line",
        "_line",
        "_line_bytes",
        "_size",
        "_skipped_end",
        "_skipping",
        "_skips_data",
        "between",
        "by_lines",
        "dropped_bytes",
        "errors",
        "event_bytes_max",
        "oversized",
    )

    def __init__(self, event_bytes_max: int, end_bytes_max: int = 0) -> None:
        self.oversized = 0
        self.dropped_bytes = 0
        self.event_bytes_max = event_bytes_max
        self.between = False
        self.by_lines = False
        self.errors = 0
        self._first_line = True  # a BOM may still come
        self._after_cr = False  # a LF coming next belongs to the CR before it
        self._line = bytearray()  # the unfinished line
        self._line_bytes = 0  # its length, skipped bytes included
        self._skipping = False  # the rest of the unfinished line is of no use
        self._skips_data = False  # and it is a data line
        self._data: list[bytes] = []  # data lines of the unfinished event
        self._size = 0  # bytes of its data lines, names included
        self._dropping = False  # the unfinished event is too large
        # Its last line does not go on: it is `[DONE]` or ends with a brace.
        self._ends_object = False
        self._skipped_end = b""  # the last byte of the skipped line so far
        self._end_bytes_max = end_bytes_max
        self._end = bytearray()  # of the event that is dropped

    @property
    def pending_bytes(self) -> int:
        """Bytes of the unfinished event so far, those of its names and comments included."""
        return 0 if self.between else self._line_bytes + (0 if self._dropping else self._size)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that this chunk completes, in order."""
        if self._first_line and not self._line_bytes and chunk and chunk[0] != _BOM[0]:
            self._first_line = False  # no BOM will come: the stream has begun like all others
            self.between = True
        if _CR in chunk:
            return self._feed_lines(chunk)
        # What nearly every chunk is: whole events that end with LF, maybe with part of one before
        # and behind them. (Looking for an int in bytes costs an eighth of looking for bytes.)
        at = 0 if self.between else chunk.find(b"\n\n") + 2
        if at == 1:
            return self._feed_lines(chunk)
        events = self._feed_lines(chunk[:at]) if at else []
        end = chunk.rfind(b"\n\n", at)
        if end >= at and self.between:
            self._take_whole(chunk[at:end], events)
            at = end + 2
        if at < len(chunk):
            events += self._feed_lines(chunk[at:])
        return events

    def _take_whole(self, text: bytes, events: list[bytes]) -> None:
        """Whole events, but for the empty line that ends the last."""
        if text.startswith(_DATA_SPACE):
            # As nearly all are: each a line of its own, that begins with the same name.
            found = text[6:].split(b"\n\ndata: ")
            if (
                text.count(b"\n") == 2 * len(found) - 2
                and len(text) <= self.event_bytes_max
                and not [event for event in found if not event or event[0] == _D]
            ):
                events += found
                return
        for block in text.split(b"\n\n"):
            if (
                block.startswith(_DATA_SPACE)
                and _LF not in block
                and 6 < len(block) <= self.event_bytes_max
                and block[6] != _D
            ):
                events.append(block[6:])
            else:
                for line in block.split(b"\n"):
                    self._take_line(line, events)
                self._take_line(b"", events)

    def end(self) -> list[bytes]:
        """The data of an event that the stream ended inside of, if any."""
        events: list[bytes] = []
        if self._line_bytes:
            self._finish_line(events)
        self._take_line(b"", events)
        return events

    def _feed_lines(self, chunk: bytes) -> list[bytes]:
        """The same for any chunk: line by line, keeping the unfinished one."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == _LF:
                chunk = chunk[1:]
        events: list[bytes] = []
        if not chunk:
            self.between = self._at_rest()
            return events
        lines = chunk.splitlines()  # on bytes: LF, CR and CRLF only
        last = chunk[-1]
        rest = b"" if last in (_LF, _CR) else lines.pop()
        self._after_cr = last == _CR
        for line in lines:
            if self._line_bytes or self._first_line:
                self._grow_line(line, events)
                self._finish_line(events)
            else:
                self._take_line(line, events)
        if rest:
            self._grow_line(rest, events)
        self.between = self._at_rest()
        return events

    def _at_rest(self) -> bool:
        return not (
            self._line_bytes or self._data or self._dropping or self._after_cr or self._first_line
        )

    def _grow_line(self, piece: bytes, events: list[bytes]) -> None:
        """Keep one more piece of the unfinished line, unless it is known to be of no use."""
        self._line_bytes += len(piece)
        if self._skipping:
            self._skipped_end = piece.rstrip()[-1:] or self._skipped_end
            if self._skips_data:
                self._keep_end(piece)
            return
        self._line += piece
        if self._line_bytes + (0 if self._ends_object else self._size) > self.event_bytes_max + len(
            _BOM
        ):
            start = bytes(self._line[:_START_BYTES])
            if self._first_line:
                start = start.removeprefix(_BOM)
            self._skips_data = start.startswith((_DATA, b"{", _ERROR_FIELD)) or _is_odd_data(start)
            if self._skips_data:
                if self._ends_object and _begins_object(start):
                    self.by_lines = True
                    self._end_event(events)
                self._drop()
                line = bytes(self._line)
                self._keep_end(b"\n" + (line.removeprefix(_BOM) if self._first_line else line))
            if self._skips_data or len(start) == _START_BYTES:
                self._skipping = True
                self._skipped_end = bytes(self._line).rstrip()[-1:]
                self._line.clear()

    def _finish_line(self, events: list[bytes]) -> None:
        line = bytes(self._line)
        skipping = self._skipping
        if skipping and self._skips_data:
            self.dropped_bytes += self._line_bytes
            self._ends_object = self._skipped_end == b"}"
        self._line.clear()
        self._line_bytes = 0
        self._skipping = False
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not skipping:
            self._take_line(line, events)

    def _take_line(self, line: bytes, events: list[bytes]) -> None:
        """One whole line of the unfinished event; an empty one ends it."""
        if not line:
            self._end_event(events)
        elif line.startswith(_DATA) or line == b"data":
            self._take_data(line, _value(line), events)
        elif line[0] == _OPEN:
            if line.rstrip().endswith(b"}") or self._size + len(line) > self.event_bytes_max:
                self._take_data(line, line, events)
        elif line == _DONE:
            self._take_data(line, line, events)
        elif line.startswith(_EVENT):
            self.errors += line[6:].strip() == _ERROR
        elif line.startswith(_ERROR_FIELD):
            self.errors += 1
            self._take_data(line, line[6:].lstrip(), events)
        elif _is_odd_data(line):
            self._take_data(line, _value(line.lstrip()), events)

    def _take_data(self, line: bytes, value: bytes, events: list[bytes]) -> None:
        """What a line adds to the data of the unfinished event."""
        done = len(value) < _DONE_BYTES_MAX and value.strip() == _DONE
        begins = done or value.startswith(b"{")
        if begins and self._ends_object:
            self.by_lines = True
            self._end_event(events)
        self._ends_object = value.rstrip().endswith(b"}")
        if self._dropping:
            self.dropped_bytes += len(line)
            self._keep_end(b"\n" + line)
            return
        self._size += len(line)
        if self._size > self.event_bytes_max:
            self._drop()
            self._keep_end(b"\n" + line)
            return
        self._data.append(value)
        self._ends_object |= done
        if begins and self._ends_object and self.by_lines and len(self._data) == 1:
            self._end_event(events)

    def _end_event(self, events: list[bytes]) -> None:
        if self._data:
            data = b"\n".join(self._data)
            if data:
                events.append(data)
            self._data.clear()
        if self._end:
            events.append(LargeEnd(self._end[-self._end_bytes_max :]))
            self._end.clear()
        self._size = 0
        self._dropping = False
        self._ends_object = False

    def _drop(self) -> None:
        if not self._dropping:
            self._dropping = True
            self.oversized += 1
            self.dropped_bytes += self._size
            self._keep_end(b"\n".join(self._data))
            self._data.clear()

    def _keep_end(self, text: bytes) -> None:
        """More of the event that is dropped."""
        if self._end_bytes_max:
            self._end += text
            if len(self._end) > 2 * self._end_bytes_max:
                del self._end[: -self._end_bytes_max]


def _value(line: bytes) -> bytes:
    """What stands behind the name of a data line."""
    value = line[6:] if line[5:6] == b" " else line[5:]
    if value.startswith(_DATA):
        inner = value[6:] if value[5:6] == b" " else value[5:]
        if inner.startswith((b"{", _DONE)):
            return inner
    return value


def _begins_object(start: bytes) -> bool:
    """Whether the data of a line that starts like this is an object."""
    if start.startswith(_ERROR_FIELD):
        return start[6:].lstrip().startswith(b"{")
    return start[0] == _OPEN or _value(start.lstrip()).startswith(b"{")


def _is_odd_data(line: bytes) -> bool:
    """Whether this is data under a name that is not quite `data:`. Its first bytes tell."""
    named = line.lstrip()
    return (
        named[:5].lower() == _DATA
        and len(line) - len(named) <= _BLANKS_MAX
        and _value(named).startswith((b"{", _DONE))
    )


def ends_at(chunk: bytes, *, by_lines: bool = False) -> int:
    """The place behind the last event that ends inside of this piece of a stream; 0 if none does.

    The piece may be cut anywhere. An end that lies across its edge is not seen. `by_lines` as the
    parser says: the end of a line is then the end of an event.
    """
    ends = (b"\n", b"\r") if by_lines else (b"\n\n", b"\r\n\r\n", b"\r\r")
    return max((at + len(end) for end in ends if (at := chunk.rfind(end)) >= 0), default=0)
