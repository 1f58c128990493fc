"""A proxy in a process of its own, whose memory can be measured."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cli.process import running as command
from tests.support.running import config

READY = r'"message":"ready","base_url":"http://([^"/]+)/v1","metrics":"http://([^"/]+)/metrics"'


@dataclass
class Process:
    """A running proxy: its addresses, its process, its data."""

    address: str
    pid: int
    data_dir: Path
    metrics_address: str

    def memory_bytes(self, field: str) -> int:
        """`VmRSS`, what it holds now, or `VmHWM`, the most it has held since `forget_peak`."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(field)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def rows(self) -> list[dict[str, object]]:
        """What is booked now, oldest first."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.data_dir / 'ledger.db'}?mode=ro", uri=True)
        ) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM records ORDER BY seq")]


@contextlib.contextmanager
def proxy_process(
    directory: Path, upstream_url: str, *, files_max: int | None = None, **blocks: object
) -> Iterator[Process]:
    """`tollkeeper serve` with the tests' config (and these blocks), killed at the end. `files_max`:
    its file descriptors."""
    settings = config(upstream_url, log={"format": "json", "requests": "none"}, **blocks)
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    with command("serve", "-c", "config.yaml", cwd=directory, ready=READY, files_max=files_max) as (
        process,
        found,
    ):
        yield Process(found[1], process.pid, directory / "var", found[2])
