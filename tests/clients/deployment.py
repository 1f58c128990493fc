"""The scripted upstream and the proxy in front of it, as processes of their own, the way they are
deployed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from proxy.scripted_upstream import RequestLine, read_log
from tests.support.effort import NO_AUTHORITIES
from tests.support.waiting import GUARD_S, until_blocking

VENDORS = ("modelmax", "modelverse", "opt", "api000")
# First match wins; no catch-all, so that a model can be unrouted.
ROUTES = (
    ("deepseek-v3.2", "modelmax"),
    ("gemini-3-*", "modelmax"),
    ("qwen3-*", "opt"),
    *(
        (model, "modelverse")
        for model in (
            "gpt-4o-mini",
            "gpt-4-turbo",
            "o3-mini",
            "demo-*",
            "kimi-*",
            "mistral-*",
            "text-embedding-*",
            "meta-llama/*",
        )
    ),
    *(
        (model, "api000")
        for model in ("gpt-4o", "claude-*", "deepseek-*", "gemini-*", "grok-*", "qwen-*", "llama-*")
    ),
)
Row = dict[str, object]


@dataclass(frozen=True)
class Deployment:
    """Where it all is: `direct` and `proxied` are base URLs, `keys` the names of the keys, each
    with the secret `sk-NAME`."""

    direct: str
    proxied: str
    data_dir: Path
    upstream_log: Path | None = None

    def rows(self, key: str, count: int) -> dict[str, Row]:
        """Waits until `count` records of this key are booked; fails if there are more. By id."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.data_dir / 'ledger.db'}?mode=ro", uri=True)
        ) as connection:
            connection.row_factory = sqlite3.Row
            counted = "SELECT count(*) FROM records WHERE key_id = ?"
            until_blocking(lambda: connection.execute(counted, (key,)).fetchone()[0] >= count)
            rows = connection.execute(
                "SELECT * FROM records WHERE key_id = ? ORDER BY seq", (key,)
            ).fetchall()
        assert len(rows) == count
        return {str(row["id"]): dict(row) for row in rows}

    def arrived(self) -> list[RequestLine]:
        """What has reached the upstream so far."""
        assert self.upstream_log is not None
        return [line for line in read_log(self.upstream_log) if isinstance(line, RequestLine)]


@contextlib.contextmanager
def process(directory: Path, name: str, *words: str, ready: str) -> Iterator[str]:
    """`python WORDS` until the end of the block, its output in NAME.log; yields what `ready`
    captures there."""
    log = directory / f"{name}.log"
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith("TOLLKEEPER_")
    } | {"PYTHONUNBUFFERED": "1", **NO_AUTHORITIES}
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, *words],
            cwd=directory,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _ready(started, log, ready)
        started.send_signal(signal.SIGTERM)
        assert started.wait(GUARD_S) == 0, log.read_text()
    finally:
        if started.poll() is None:
            started.kill()
            started.wait()


def _ready(started: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    def found() -> re.Match[str] | None:
        assert started.poll() is None, log.read_text()
        return re.search(pattern, log.read_text(errors="replace"))

    return until_blocking(found)[1]


@contextlib.contextmanager
def proxy(directory: Path, **blocks: object) -> Iterator[tuple[str, Path]]:
    """`tollkeeper serve` on a free port with these blocks in its config: its base URL and data
    directory."""
    directory.mkdir()
    # Estimates that accounting.py can tell from the bytes alone; counting has tests of its own.
    settings = {
        "listen": "127.0.0.1:0",
        "metrics": {"listen": "127.0.0.1:0"},
        "drain": {"delay": "0s", "timeout": "10m"},
        "estimates": "bytes",
        **blocks,
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    with process(
        directory,
        "proxy",
        "-m",
        "proxy",
        "serve",
        "-c",
        "config.yaml",
        ready=r'"base_url": ?"([^"]+)"',
    ) as base_url:
        yield base_url, directory / "var"


@contextlib.contextmanager
def scripted(directory: Path) -> Iterator[tuple[str, Path]]:
    """The scripted upstream: its base URL and its log."""
    log = directory / "upstream.jsonl"
    with process(
        directory,
        "upstream",
        "-m",
        "proxy.scripted_upstream",
        "--port",
        "0",
        "--log",
        str(log),
        ready=r"ready on (\S+)",
    ) as base_url:
        yield base_url, log


@contextlib.contextmanager
def four_vendors(directory: Path, keys: Sequence[str]) -> Iterator[Deployment]:
    """All four vendors behind one proxy, each with a key of its own, routed by model."""
    with (
        scripted(directory) as (direct, log),
        proxy(
            directory / "four",
            upstreams={
                vendor: {"base_url": direct, "api_key": f"sk-at-{vendor}"} for vendor in VENDORS
            },
            routes=[{"model": model, "upstream": vendor} for model, vendor in ROUTES],
            keys={name: {"secret": f"sk-{name}"} for name in keys},
        ) as (proxied, data_dir),
    ):
        yield Deployment(direct, proxied, data_dir, log)


@contextlib.contextmanager
def one_vendor(directory: Path, direct: str) -> Iterator[Deployment]:
    """One upstream, the caller's own credential: nothing changes for a client but base_url."""
    upstream = {"base_url": direct, "auth": "forward"}
    with proxy(
        directory / "one",
        upstreams={"vendor": upstream},
        routes=[{"model": "*", "upstream": "vendor"}],
    ) as (proxied, data_dir):
        yield Deployment(direct, proxied, data_dir)
