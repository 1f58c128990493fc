"""Lines to stderr, which delay no request where their reader stops."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import select
import time
from typing import Final, TextIO

BUFFER_BYTES_MAX: Final = 2**20  # a few thousand lines
FLUSH_S: Final = 1.0  # of a process that ends, for a reader that is slow
_WRITE_BYTES: Final = 4096  # a pipe that `poll` calls writable takes as many without waiting
_AGAIN_S: Final = 0.1  # between two looks whether the reader goes on
_GOES_ON: Final = select.POLLOUT | select.POLLERR | select.POLLHUP


class LogOutput(logging.Handler):
    """Writes each line at once while its reader takes them.

    Else it keeps what fits, drops the rest, and a line says how many once the reader goes on. Only
    the end of the process waits for the reader, for `FLUSH_S` at most. A stream that is no file
    of the system (a test's `StringIO`) is written to as it is.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._kept = bytearray()
        self._dropped = 0
        self._looking = False
        self._poll = select.poll()
        self._fd: int | None = None
        try:
            self._fd = stream.fileno()
        except (OSError, io.UnsupportedOperation):
            return
        self._poll.register(self._fd, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, or keep or drop it."""
        try:
            line = self.format(record) + "\n"
            if self._fd is None:
                self._stream.write(line)
                return
            self._drain()
            if self._dropped or len(self._kept) > BUFFER_BYTES_MAX:
                self._dropped += 1
            else:
                self._kept += line.encode("utf-8", "backslashreplace")
                self._drain()
            self._look_again()
        except Exception:  # a line that cannot be made or written must not end a request
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # the base class's name
        """Drops a line that cannot be written, and serving goes on.

        The base class would write message and arguments to stderr, unredacted.
        """

    def flush(self) -> None:
        """Wait for the reader, for `FLUSH_S` at most. The end of the process calls it."""
        end_s = time.monotonic() + FLUSH_S
        self.acquire()
        try:
            self._drain()
            while self._kept and (left_s := end_s - time.monotonic()) > 0:
                self._poll.poll(left_s * 1000)
                self._drain()
        finally:
            self.release()

    def _drain(self) -> None:
        """Write what the reader takes now."""
        while self._kept and self._fd is not None and self._goes_on():
            try:
                written = os.write(self._fd, self._kept[:_WRITE_BYTES])
            except BlockingIOError:
                return
            except OSError:  # nobody will ever read it
                self._kept.clear()
                self._dropped = 0
                return
            del self._kept[:written]
            self._tell_dropped()

    def _goes_on(self) -> bool:
        return any(events & _GOES_ON for _, events in self._poll.poll(0))

    def _tell_dropped(self) -> None:
        """One line for all that were dropped, once half of the room is free."""
        if not self._dropped or len(self._kept) > BUFFER_BYTES_MAX // 2:
            return
        told = logging.makeLogRecord(
            {
                "name": "tollkeeper.logs",
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "%d log lines were dropped: nobody read stderr",
                "args": (self._dropped,),
            }
        )
        self._dropped = 0
        self._kept += (self.format(told) + "\n").encode("utf-8", "backslashreplace")

    def _look_again(self) -> None:
        """What is kept goes out when the reader goes on, also if no further line comes."""
        if not self._kept or self._looking:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # another thread's line: the next one of the loop looks again
        self._looking = True
        loop.call_later(_AGAIN_S, self._looked)

    def _looked(self) -> None:
        self.acquire()
        try:
            self._looking = False
            self._drain()
            self._look_again()
        finally:
            self.release()
