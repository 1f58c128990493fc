"""Which roll-ups in SQLite are asked for days and months."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger.sqlite.reader import SqliteReader
from tests.ledger.ledgers import opened_sqlite
from tests.ledger.seasons import DAY_MS, FIRST_MS, season


@pytest.fixture(scope="module")
def booked_season(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SqliteReader, list[UsageRecord]]]:
    with opened_sqlite(tmp_path_factory.mktemp("season")) as book:
        booked = season(book)
        reader = book.reader()
        assert isinstance(reader, SqliteReader)
        yield reader, booked


@pytest.fixture
def statements(
    booked_season: tuple[SqliteReader, list[UsageRecord]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """What SQLite is asked from here on."""
    queries, _ = booked_season
    asked: list[str] = []
    plain = queries._reading
    with plain() as connection:
        connection.set_trace_callback(asked.append)

        class Same:
            def __enter__(self) -> object:
                return connection

            def __exit__(self, *error: object) -> None:
                return None

        monkeypatch.setattr(queries, "_reading", Same)
        yield asked


def test_months_are_read_from_months_and_not_from_their_days(
    booked_season: tuple[SqliteReader, list[UsageRecord]], statements: list[str]
) -> None:
    queries, _ = booked_season
    queries.usage(["month", "team"], None, None, ZoneInfo("UTC"), team="a")
    [asked] = [statement for statement in statements if statement.startswith("WITH source")]
    assert asked.count("CROSS JOIN teams_monthly") <= 3, "the first and last are open"
    assert asked.count("CROSS JOIN teams_daily") <= 1 and "FROM records" not in asked
    assert "rollups_daily" not in asked, "no key is asked for"


def test_days_are_read_from_the_widest_spans_within_them(
    booked_season: tuple[SqliteReader, list[UsageRecord]], statements: list[str]
) -> None:
    queries, _ = booked_season
    queries.usage(["day"], FIRST_MS + DAY_MS, FIRST_MS + 3 * DAY_MS, UTC)
    [days] = [text for text in statements if "FROM source" in text]
    assert days.count("CROSS JOIN teams_daily") == 1, "once for both days"
    assert "_4h" not in days and "rollups WHERE" not in days
    queries.usage(["day", "key"], FIRST_MS + DAY_MS, FIRST_MS + 3 * DAY_MS, UTC)
    assert statements[-1].count("CROSS JOIN rollups_daily") == 1 or any(
        "CROSS JOIN rollups_daily" in text for text in statements
    )
