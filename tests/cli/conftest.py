"""A directory with a config and a ledger, and a way to call the command line in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy import ledger
from proxy.cli import main
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from tests.ledger.samples import numbered

CONFIG = """
timezone: Asia/Shanghai
data_dir: ./var
upstreams:
  scripted: {base_url: "http://127.0.0.1:9/v1", api_key: sk-upstream-canary}
routes:
  - {model: "*", upstream: scripted}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a config.yaml in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOLLKEEPER_CONFIG", raising=False)
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(home: Path) -> Callable[..., Result]:
    """Calls `tollkeeper WORDS`, with what is piped into it."""

    def call(*words: str, piped: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, list(words), input=piped, prog_name="tollkeeper")

    return call


@pytest.fixture
def book(home: Path) -> Callable[..., Path]:
    """Books records into a ledger in DIR/var as the recorder does, and returns the data
    directory."""

    def book(*records: UsageRecord, directory: Path = home) -> Path:
        data_dir = directory / "var"
        data_dir.mkdir(exist_ok=True)
        asyncio.run(_book(data_dir, records))
        return data_dir

    return book


async def _book(data_dir: Path, records: tuple[UsageRecord, ...]) -> None:
    opened = await ledger.connect("sqlite:ledger.db", data_dir, data_dir / "ledger.key")
    try:
        await opened.book(Batch("w0", numbered(*records)))
    finally:
        await opened.aclose()
