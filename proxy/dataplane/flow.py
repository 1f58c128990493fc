"""The short way of a stream's chunks: those that are like the last one but for their text.

Whatever a relay has to ask of a chunk was asked of the last one that it looked at, and how much
more text may come until an answer changes: until the journal needs a mark, a limit a larger hold.
So nothing of it is asked again before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.core.dialects.run import Run
from proxy.core.http.chunked import CRLF, USUAL_SIZE, framed_bytes, small_chunks
from proxy.dataplane.connection import Connection
from proxy.dataplane.hold import Hold
from proxy.dataplane.progress import Progress
from proxy.dataplane.response import RelayedResponse
from proxy.dataplane.upstream.connection import UpstreamConnection

_MANY: Final = 4  # chunks of a read, above which they are looked at all at once
_ROOM_BYTES_MIN: Final = 16  # of text; with less, the next chunk is looked at all the same


class Flow:
    """Passes such chunks on, framing and all. It is made behind a chunk that was looked at, and
    dropped when one comes that it leaves."""

    __slots__ = ("_chunk_bytes_max", "_client", "_pause", "_progress", "_room_bytes", "_run")

    def __init__(
        self,
        run: Run,
        client: Connection,
        progress: Progress,
        pause: Callable[[], None],
        *,
        room_bytes: int,
        unsearched_bytes: int,
    ) -> None:
        self._run = run
        self._client = client
        self._progress = progress
        self._pause = pause  # the upstream, while the client reads slower
        self._room_bytes = room_bytes + run.around_bytes
        self._chunk_bytes_max = unsearched_bytes + run.around_bytes

    def pass_on(self, data: bytes) -> bytes:
        """Passes on what it can of a read that begins with a chunk. What it returns was not read,
        and has to be looked at."""
        at, body_bytes, size = 0, 0, len(data)
        if size > _MANY * self._run.around_bytes:
            at, body_bytes = self._take_many(data)
        while at < size:
            line = USUAL_SIZE(data, at)
            if line is None:
                break
            start = line.end()
            chunk_bytes = int(line[1], 16)
            end = start + chunk_bytes
            if (
                chunk_bytes > self._chunk_bytes_max
                or chunk_bytes > self._room_bytes
                or data[end : end + 2] != CRLF
            ):
                break
            text_bytes = self._run.take(data[start:end])
            if text_bytes is None:
                break
            self._room_bytes -= text_bytes
            body_bytes += chunk_bytes
            at = end + 2
        if not at:
            return data
        self._progress.passed(body_bytes)
        client = self._client
        client.write(data if at == size else data[:at])
        if client.paused:
            self._pause()
        return data[at:]

    def _take_many(self, data: bytes) -> tuple[int, int]:
        """Takes the small chunks in front that are alike, all at once.

        Returns the place behind the last of them, and how many bytes of the body they are.
        """
        chunks, end = small_chunks(data, 0)
        count, text_bytes = self._run.take_front(
            chunks,
            piece_bytes_max=self._chunk_bytes_max - self._run.around_bytes,
            text_bytes_max=self._room_bytes - self._run.around_bytes,
        )
        self._room_bytes -= text_bytes
        sizes = list(map(len, chunks[:count]))
        return end if count == len(chunks) else framed_bytes(sizes), sum(sizes)


def open_flow(
    connection: UpstreamConnection,
    client: Connection,
    answer: RelayedResponse,
    progress: Progress,
    hold: Hold,
) -> None:
    """Lets what the upstream sends next take the short way, if there is one."""
    meter = progress.meter
    unsearched_bytes = answer.unsearched_bytes
    run = None if meter is None else meter.run
    if meter is None or run is None or unsearched_bytes == 0 or client.paused:
        connection.flow(None)
        return
    meter.take_over()
    tokens, held_tokens = progress.marked_tokens, hold.until_tokens
    if held_tokens is not None and held_tokens < tokens:
        tokens = held_tokens
    room_bytes = meter.room_bytes(tokens)
    if room_bytes < _ROOM_BYTES_MIN:
        connection.flow(None)
        return
    flow = Flow(
        run,
        client,
        progress,
        connection.pause_reading,
        room_bytes=room_bytes,
        unsearched_bytes=unsearched_bytes,
    )
    connection.flow(flow.pass_on)
