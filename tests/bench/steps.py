"""How many steps of the interpreter a request takes, by function: a figure that no other program on
the machine changes.

python -m tests.bench.steps [--top 40] [--vendor groq-json] [--stream]

A step is one instruction of Python's byte code. Work of C code counts as one step however long it
takes, so this says where Python is slow and nothing of system calls: `make bench-phases` has those.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop

from proxy.cli import main as cli
from tests.bench import load
from tests.bench.mock import VENDORS
from tests.bench.targets import ROOT, free_port, our_config, process, program, wait_for

WARM_S, COUNTED_S = 0.5, 4.0
CONNECTIONS = 4


class Steps:
    """Counts the steps and calls of each function of the event loop's thread while it is on."""

    def __init__(self) -> None:
        self.steps: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()

    def begin(self, *_: object) -> None:
        sys.settrace(self._called)

    def end(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.calls[frame.f_code] += 1
        return self._stepped

    def _stepped(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.steps[frame.f_code] += 1
        return self._stepped

    def figures(self) -> dict[str, tuple[int, int]]:
        """Steps and calls by function."""
        return {
            f"{_place(code)} {code.co_qualname}": (count, self.calls[code])
            for code, count in self.steps.items()
        }


def _place(code: CodeType) -> str:
    return code.co_filename.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]


def serve(config: str, out: str) -> None:
    """The proxy, which counts from one signal to the next; the figures are written as it stops."""
    steps = Steps()
    signal.signal(signal.SIGUSR1, steps.begin)
    signal.signal(signal.SIGUSR2, steps.end)
    try:
        cli(["serve", "-c", config], standalone_mode=False)
    finally:
        sys.settrace(None)
        Path(out).write_text(json.dumps(steps.figures()))


def measure(payload: bytes) -> tuple[int, dict[str, tuple[int, int]]]:
    """How many requests were counted, and the steps and calls of all of them by function."""
    cores = sorted(os.sched_getaffinity(0))
    mock_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "figures.json"
        config = our_config(Path(place), port, mock_port)
        with process(cores[-1], "tests.bench.mock", str(mock_port)):
            wait_for(mock_port)
            command = [sys.executable, "-m", "tests.bench.steps", "--serve", str(config), str(out)]
            with program(cores[0], command) as running:
                wait_for(port)
                uvloop.run(load.run(port, payload, CONNECTIONS, WARM_S))
                running.send_signal(signal.SIGUSR1)
                seen = uvloop.run(load.run(port, payload, CONNECTIONS, COUNTED_S))
                running.send_signal(signal.SIGUSR2)
        return len(seen.latencies_s), json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--top", type=int, default=40, help="so many functions are shown")
    parser.add_argument("--vendor", choices=VENDORS, help="whose answer is asked for")
    parser.add_argument("--stream", action="store_true", help="100 chunks, back to back")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    options: dict[str, bool | str] = {"stream": True} if arguments.stream else {}
    if arguments.vendor:
        options["vendor"] = arguments.vendor
    requests, figures = measure(load.request(0, **options))
    steps, calls = (sum(column) / requests for column in zip(*figures.values(), strict=True))
    print(f"{requests} requests, each {steps:.0f} steps in {calls:.0f} calls of Python functions")
    files: Counter[str] = Counter()
    for name, (count, _) in figures.items():
        files[name.partition(" ")[0]] += count
    print("\n| steps | file |\n|---|---|")
    for name, count in files.most_common(arguments.top):
        print(f"| {count / requests:.0f} | {name} |")
    print("\n| steps | calls | function |\n|---|---|---|")
    by_steps = sorted(figures.items(), key=lambda item: -item[1][0])
    for name, (count, called) in by_steps[: arguments.top]:
        print(f"| {count / requests:.0f} | {called / requests:.1f} | {name} |")


if __name__ == "__main__":
    main()
