"""The command line as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.effort import NO_AUTHORITIES


@contextmanager
def running(
    *words: str, cwd: Path, ready: str, files_max: int | None = None, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """`tollkeeper WORDS`, started, and the match of the pattern `ready` in what it has printed;
    killed at the end if it still runs.

    `files_max`: how many file descriptors it may have.
    """
    command = [sys.executable, "-m", "proxy", *words]
    if files_max is not None:
        command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files_max), *command]
    env = (
        {name: value for name, value in os.environ.items() if name != "TOLLKEEPER_CONFIG"}
        | {"PYTHONUNBUFFERED": "1"}
        | NO_AUTHORITIES
        | environ
    )
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    printed = ""
    try:
        while (found := re.search(ready, printed, re.DOTALL)) is None:
            line = process.stdout.readline()
            assert line, f"ended without {ready!r}:\n{printed}"
            printed += line
        yield process, found
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()
