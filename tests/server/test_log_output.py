"""Log lines and a reader that stops reading: a real pipe with nobody at its other end."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from proxy.server import log_output
from proxy.server.log_output import BUFFER_BYTES_MAX, LogOutput
from tests.support.waiting import GUARD_S, until, until_blocking

LINE = "x" * 1000


class Pipe:
    """A pipe that is written to by a handler, and read when the test says so."""

    def __init__(self) -> None:
        self.reads, writes = os.pipe()
        os.set_blocking(self.reads, False)
        self.stream = os.fdopen(writes, "w")
        self.handler = LogOutput(self.stream)
        self.text = ""

    def say(self, message: str, times: int = 1) -> None:
        for number in range(times):
            self.handler.handle(
                logging.makeLogRecord({"name": "tollkeeper.x", "msg": f"{number} {message}"})
            )

    def read(self) -> str:
        """All that stands in the pipe."""
        try:
            while data := os.read(self.reads, 65_536):
                self.text += data.decode()
        except BlockingIOError:
            pass
        return self.text


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reads)
    pipe.handler.close()
    pipe.stream.close()


def test_a_line_stands_in_the_pipe_at_once(pipe: Pipe) -> None:
    pipe.say("hello")
    assert pipe.read() == "0 hello\n"


def test_lines_that_nobody_reads_delay_nobody_and_are_counted(pipe: Pipe) -> None:
    lines = 5 * BUFFER_BYTES_MAX // len(LINE)
    pipe.say(LINE, lines)
    late = 0
    while late < lines and "dropped" not in pipe.read():
        pipe.say("late")
        late += 1
    kept = [int(line.split()[0]) for line in pipe.text.splitlines() if line.endswith(LINE)]
    assert kept == list(range(len(kept)))
    assert BUFFER_BYTES_MAX < len(kept) * len(LINE) < 2 * BUFFER_BYTES_MAX
    pipe.say("again")
    told = [line for line in pipe.read().splitlines() if "dropped" in line]
    assert [int(line.split()[0]) for line in told] == [
        lines - len(kept) + late - pipe.text.count("late")
    ]
    assert pipe.text.endswith("0 again\n")


async def test_what_is_kept_goes_out_without_a_further_line(pipe: Pipe) -> None:
    pipe.say(LINE, 200)
    await until(lambda: pipe.read().count("\n") == 200)


def test_the_end_of_the_process_waits_for_a_reader_for_a_bounded_time(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_output, "FLUSH_S", 0.05)
    pipe.say(LINE, 200)
    pipe.handler.flush()
    assert 0 < pipe.read().count("\n") < 200
    monkeypatch.setattr(log_output, "FLUSH_S", GUARD_S)
    reader = threading.Thread(target=until_blocking, args=(lambda: pipe.read().count("\n") == 200,))
    reader.start()
    pipe.handler.flush()
    reader.join()
    assert pipe.text.count("\n") == 200


def test_a_reader_that_is_gone_delays_nobody(pipe: Pipe) -> None:
    os.close(pipe.reads)
    pipe.say(LINE, 200)
    pipe.handler.flush()
    pipe.reads = os.dup(pipe.stream.fileno())


def test_what_is_no_file_is_written_to_as_it_is() -> None:
    stream = io.StringIO()
    LogOutput(stream).handle(logging.makeLogRecord({"name": "tollkeeper.x", "msg": "hello"}))
    assert stream.getvalue() == "hello\n"
