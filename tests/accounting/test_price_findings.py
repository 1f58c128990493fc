"""What to look at of the prices; `tests/cli/test_price_check.py` has the whole command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from proxy.accounting.price_findings import disagreeing, in_use, old_table, unpriced
from proxy.config.price_tables import bundled
from proxy.config.settings import Price, Settings, UpstreamSettings
from tests.ledger.ledgers import opened_sqlite
from tests.ledger.samples import START_MS, make_record

UPSTREAM = UpstreamSettings(base_url="http://h/v1", api_key="k", price_source="deepseek")
SETTINGS = Settings(upstreams={"v": UPSTREAM})
TABLE = bundled.load()


@pytest.mark.parametrize(("days", "old"), [(59, False), (60, False), (61, True)])
def test_a_table_older_than_sixty_days(days: int, old: bool) -> None:
    now = datetime.fromisoformat(TABLE.date).replace(tzinfo=UTC) + timedelta(days=days)
    found = list(old_table(SETTINGS, TABLE, int(now.timestamp()) * 1000))
    assert [finding.kind for finding in found] == (["old"] if old else [])
    assert not old or f"of {TABLE.date}, {days} days ago, and prices v" in found[0].text
    assert list(old_table(SETTINGS, None, int(now.timestamp()) * 1000)) == []


def test_models_in_use_without_a_price_and_rows_that_differ(tmp_path: Path) -> None:
    with opened_sqlite(tmp_path) as book:
        book.book(make_record(0, upstream="v", model_requested="no-such-model"))
        used = in_use(book.reader(), START_MS, ZoneInfo("UTC"))
        assert in_use(book.reader(), START_MS + 86_400_000, ZoneInfo("UTC")) == []
    assert used == [("v", "no-such-model", 1)]
    assert [one.model for one in unpriced(SETTINGS, TABLE, used, 30)] == ["no-such-model"]
    row = Price(model="deepseek-chat", upstream="v", input="9", output="99", currency="USD")
    settings = Settings(upstreams={"v": UPSTREAM}, prices=(row,))
    found = list(disagreeing(settings, TABLE, (), [], START_MS, False))
    assert [(one.kind, one.model) for one in found] == [("disagree", "deepseek-chat")]


def test_no_ledger_has_no_models_in_use(tmp_path: Path) -> None:
    with opened_sqlite(tmp_path) as book:
        reader = book.reader()
    (tmp_path / "ledger.db").unlink()
    assert in_use(reader, START_MS, ZoneInfo("UTC")) == []
