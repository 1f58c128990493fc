"""Starts real proxies fast: imports the proxy once and forks a process for each order, so that a
thousand starts cost no thousand imports.

Orders come as JSON lines on stdin: {"config": path, "failpoints": spec, "log": path}. Answers go to
stdout, a line each: `forked PID` in the order
of the orders, then `ready PID DATA METRICS` and `exit PID CODE` (negative: the signal that killed
it). When stdin ends, all that still run are killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path

import uvloop

from proxy.config.loader import load
from proxy.server import lifecycle, logs, startup

STARTED, FAILED = 0, 1


def main() -> None:
    running: dict[int, int] = {}  # pidfd -> pid
    pending = b""
    while True:
        for fd in select.select([0, *running], [], [])[0]:
            if fd != 0:
                _reap(fd, running.pop(fd))
                continue
            read = os.read(0, 65536)
            if not read:
                for pid in running.values():
                    os.kill(pid, signal.SIGKILL)
                return
            *orders, pending = (pending + read).split(b"\n")
            for order in orders:
                pid = _fork(json.loads(order), list(running))
                _say(f"forked {pid}")
                running[os.pidfd_open(pid)] = pid


def _fork(order: dict[str, str], inherited: list[int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        for fd in (0, *inherited):
            os.close(fd)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        _serve(order)
        code = STARTED
    except startup.StartError as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)  # nothing of the launcher's own may run at the end of this process


def _serve(order: dict[str, str]) -> None:
    """What `tollkeeper serve` does."""
    loaded = load(Path(order["config"]), {})
    logs.configure(loaded.settings.log.format, sys.stderr)
    uvloop.run(
        lifecycle.serve(
            loaded,
            ready=lambda addresses: _say(
                f"ready {os.getpid()} {addresses.data} {addresses.metrics}"
            ),
            environ={"TOLLKEEPER_FAILPOINTS": order["failpoints"]},
        )
    )


def _reap(pidfd: int, pid: int) -> None:
    os.close(pidfd)
    _say(f"exit {pid} {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


def _say(line: str) -> None:
    os.write(
        1, line.encode() + b"\n"
    )  # one write of less than PIPE_BUF: the lines of two processes do not mix


if __name__ == "__main__":
    main()
