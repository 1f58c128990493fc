"""The table that ships."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from proxy.config.price_tables import TableError, bundled
from proxy.core.pricing.pricelist import is_literal

DATA_README = Path(__file__).parents[3] / "proxy" / "data" / "README.md"


def test_it_says_where_it_is_from_and_knows_the_vendors():
    table = bundled.load()
    assert (
        table.source in DATA_README.read_text()
        and table.url in DATA_README.read_text()
        and table.date in DATA_README.read_text()
    ), "proxy/data/README.md names source, version and date"
    assert table.licence.startswith("MIT")
    assert {"deepseek", "openai", "google", "anthropic", "x-ai", "mistral", "groq"} <= set(
        table.providers
    )
    assert all(
        row.model == row.model.lower() and row.currency == "USD"
        for rows in table.providers.values()
        for row in rows
    )
    assert sum(is_literal(row.model) for rows in table.providers.values() for row in rows) > 3_000


def test_stored_and_loaded_it_is_the_same_bytes(tmp_path: Path):
    table = bundled.load()
    for name in ("a", "b"):
        bundled.store(table, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert bundled.load(tmp_path / "a") == table


CASES = {
    "absent": None,
    "empty": b"",
    "no gzip": b"no gzip",
    "half": gzip.compress(b"{"),
    "list": gzip.compress(b"[]"),
    "cut": gzip.compress(b"{}" * 100)[:-9],
}


@pytest.mark.parametrize("content", CASES.values(), ids=CASES)  # named: the bytes hold the time
def test_a_damaged_one_gives_its_reason(tmp_path: Path, content: bytes | None):
    path = tmp_path / "prices.json.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TableError, match=r"cannot be read: .*; reinstall the package"):
        bundled.load(path)
