"""Server-sent events from bytes, sans-IO: the data of each event, whatever the chunks, whatever the bytes.

The parser stands on the forwarding path, so it is total: no input makes it raise, wait or grow. It keeps one event at most and looks at each byte once,
so its cost is linear in what it is fed. An event above `event_bytes_max` is dropped and counted, and reading goes on in step behind it.
Rules (WHATWG HTML, "Server-sent events"): one leading BOM is dropped; lines end with LF, CR or CRLF; `:` starts a comment; the data lines of an event are
joined with LF; an empty line ends it. Beyond the rules, an unterminated last event is given out by `end`: browsers drop it, a bill should not.
"""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"
_DATA = b"data:"
_LF = 0x0A
_CR = 0x0D


class SSEParser:
    """`feed` chunks, take the data of the events that they complete; `end` gives what was left unterminated.

    `between`: nothing is pending, the next byte starts a line of a new event. `oversized` counts events dropped because their data lines together were longer than
    `event_bytes_max`, `dropped_bytes` what they held.
    """

    __slots__ = ("_after_cr", "_data", "_dropping", "_first_line", "_line", "_line_bytes", "_max", "_size", "_skipping", "_skips_data", "between", "dropped_bytes", "oversized")

    def __init__(self, event_bytes_max: int) -> None:
        self.oversized = 0
        self.dropped_bytes = 0
        self._max = event_bytes_max
        self.between = False
        self._first_line = True             # a BOM may still come
        self._after_cr = False              # a LF coming next belongs to the CR before it
        self._line = bytearray()            # the unfinished line
        self._line_bytes = 0                # its length, skipped bytes included
        self._skipping = False              # the rest of the unfinished line is of no use
        self._skips_data = False            # and it is a data line
        self._data: list[bytes] = []        # data lines of the unfinished event
        self._size = 0                      # bytes of its data lines, names included
        self._dropping = False              # the unfinished event is too large

    @property
    def pending_bytes(self) -> int:
        """Bytes of the unfinished event so far, those of its names and comments included."""
        return 0 if self.between else self._line_bytes + (0 if self._dropping else self._size)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that this chunk completes, in order."""
        if self.between and chunk[-2:] == b"\n\n" and _CR not in chunk:
            # What nearly every chunk is: whole events, LF only. (Looking for an int in bytes costs an eighth of looking for bytes.)
            events: list[bytes] = []
            for block in chunk[:-2].split(b"\n\n"):
                if block.startswith(b"data: ") and _LF not in block and 6 < len(block) <= self._max:
                    events.append(block[6:])
                else:
                    for line in block.split(b"\n"):
                        self._take_line(line, events)
                    self._take_line(b"", events)
            return events
        return self._feed_lines(chunk)

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
        lines = chunk.splitlines()          # on bytes: LF, CR and CRLF only
        last = chunk[-1]
        rest = b"" if last in (_LF, _CR) else lines.pop()
        self._after_cr = last == _CR
        for line in lines:
            if self._line_bytes or self._first_line:
                self._grow_line(line)
                self._finish_line(events)
            else:
                self._take_line(line, events)
        if rest:
            self._grow_line(rest)
        self.between = self._at_rest()
        return events

    def _at_rest(self) -> bool:
        return not (self._line_bytes or self._data or self._dropping or self._after_cr or self._first_line)

    def _grow_line(self, piece: bytes) -> None:
        """Keep one more piece of the unfinished line, unless it can be told already that it is of no use."""
        self._line_bytes += len(piece)
        if self._skipping:
            return
        self._line += piece
        if self._size + self._line_bytes > self._max + len(_BOM):
            start = bytes(self._line[: len(_BOM) + len(_DATA)])
            if self._first_line:
                start = start.removeprefix(_BOM)
            self._skips_data = start.startswith(_DATA)
            if self._skips_data:
                self._drop()
            if len(start) >= len(_DATA):
                self._skipping = True
                self._line.clear()

    def _finish_line(self, events: list[bytes]) -> None:
        line = bytes(self._line)
        skipping = self._skipping
        if skipping and self._skips_data:
            self.dropped_bytes += self._line_bytes
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
            if self._data:
                data = b"\n".join(self._data)
                if data:
                    events.append(data)
                self._data.clear()
            self._size = 0
            self._dropping = False
        elif line.startswith(_DATA) or line == b"data":
            if self._dropping:
                self.dropped_bytes += len(line)
                return
            self._size += len(line)
            if self._size > self._max:
                self._drop()
            else:
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])

    def _drop(self) -> None:
        if not self._dropping:
            self._dropping = True
            self.oversized += 1
            self.dropped_bytes += self._size
            self._data.clear()


def ends_at(chunk: bytes) -> int:
    """Behind the last event that ends inside of this piece of a stream, wherever it was cut; 0 if none does. An end that lies across its edge is not seen."""
    return max((at + len(end) for end in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := chunk.rfind(end)) >= 0), default=0)
