"""Sums by local day, made of wide roll-ups: the same as of the records, in any zone and range."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, LedgerError, Reader, connect_reader
from proxy.ledger.sqlite import usage as grouping
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.usage import DAYS_MAX
from tests.ledger.samples import KEY, START_MS, make_record, numbered, open_book

DAY_MS = 86_400_000
ZONES = (
    "UTC",
    "Asia/Shanghai",
    "Asia/Kolkata",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",
)
FIRST_MS = int(
    datetime(2026, 8, 30, tzinfo=UTC).timestamp() * 1000
)  # every zone's change in autumn or spring is in the 80 days from here


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, list[UsageRecord]]:
    """Records of 80 days, most at the edge of a local day; and the questions to their ledger."""
    rng = random.Random(8)
    directory = tmp_path_factory.mktemp("season")
    starts = []
    for _ in range(500):
        at_ms = FIRST_MS + rng.randrange(80 * DAY_MS)
        if rng.random() < 0.7:
            midnight = datetime.fromtimestamp(at_ms // 1000, ZoneInfo(rng.choice(ZONES))).replace(
                hour=0, minute=0, second=0
            )
            at_ms = int(midnight.timestamp()) * 1000 + rng.choice([-1, 0, 900_000, -900_001])
        starts.append(at_ms)
    booked = [
        make_record(
            n,
            started_at_ms=at_ms,
            team=rng.choice([None, "a", "b"]),
            key_id=f"k{n % 2}",
            output_tokens=rng.randrange(9),
        )
        for n, at_ms in enumerate(sorted(starts))
    ]
    connection, _ = open_book(directory / "ledger.db")
    for start in range(0, len(booked), 50):
        part = booked[start : start + 50]
        Booker(connection, KEY, lambda now_ms=part[-1].started_at_ms: now_ms).book(
            Batch("w0", numbered(*part, after=start))
        )  # type: ignore[misc]
    connection.close()
    return connect_reader("sqlite:ledger.db", directory), booked


@pytest.mark.parametrize("zone", [ZoneInfo(key) for key in ZONES], ids=ZONES)
def test_days_say_what_their_records_say(
    season: tuple[Reader, list[UsageRecord]], zone: ZoneInfo
) -> None:
    queries, booked = season
    rng = random.Random(zone.key)
    bounds = [
        None,
        None,
        FIRST_MS + 20 * DAY_MS,
        *(rng.choice(booked).started_at_ms + rng.choice([0, 1]) for _ in range(6)),
    ]
    for by, team in (
        (["day"], None),
        (["team", "day"], None),
        (["day", "key"], "a"),
        (["month"], None),
        (["month", "team", "day"], "b"),
        (["key", "month"], None),
    ):
        for from_ms, to_ms in [*pairwise(bounds), (None, None)]:
            sums: dict[tuple[str | None, ...], int] = {}
            for record in booked:
                if (
                    (from_ms is None or record.started_at_ms >= from_ms)
                    and (to_ms is None or record.started_at_ms < to_ms)
                    and team in (None, record.team)
                ):
                    day = (
                        datetime.fromtimestamp(record.started_at_ms // 1000, zone)
                        .date()
                        .isoformat()
                    )
                    group = tuple(
                        {
                            "day": day,
                            "month": day[:7],
                            "team": record.team,
                            "key": record.key_id,
                        }[name]
                        for name in by
                    )
                    assert record.output_tokens is not None
                    sums[group] = sums.get(group, 0) + record.output_tokens
            found = queries.usage(by, from_ms, to_ms, zone, team=team)
            assert [
                (tuple(row[name] for name in by), row["output_tokens"]) for row in found
            ] == sorted(
                sums.items(), key=lambda item: [(name is not None, name) for name in item[0]]
            )


@pytest.fixture
def statements(
    season: tuple[Reader, list[UsageRecord]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """What SQLite is asked from here on."""
    queries, _ = season
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
    season: tuple[Reader, list[UsageRecord]], statements: list[str]
) -> None:
    queries, _ = season
    queries.usage(["month", "team"], None, None, ZoneInfo("UTC"), team="a")
    asked = [statement for statement in statements if statement.startswith("WITH source")]
    assert 3 <= len(asked) <= 4, "one a month"
    assert all("FROM records" not in statement for statement in asked)


def test_tags_and_a_seq_read_records_and_no_more_than_a_bound(
    season: tuple[Reader, list[UsageRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, booked = season
    zone = ZoneInfo("UTC")
    monkeypatch.setattr(grouping, "RECORDS_MAX", len(booked) - 1)
    for by, through in ((["tag:feature"], None), (["team"], len(booked))):
        with pytest.raises(LedgerError, match="ask for less of it at once"):
            queries.usage(by, None, None, zone, through=through)
        assert queries.usage(by, booked[50].started_at_ms, None, zone, through=through)
    assert queries.usage(["team", "source"], None, None, zone)
    with pytest.raises(LedgerError, match=f"the book ends at seq {len(booked)}"):
        queries.usage([], None, None, zone, through=len(booked) + 1)


def test_days_are_read_from_the_widest_spans_within_them(
    season: tuple[Reader, list[UsageRecord]], statements: list[str]
) -> None:
    queries, _ = season
    queries.usage(["day"], FIRST_MS + DAY_MS, FIRST_MS + 3 * DAY_MS, UTC)
    days = [text for text in statements if "SELECT" in text and "FROM source" in text]
    assert len(days) == 2 and all(
        "rollups_daily" in text and "rollups WHERE" not in text for text in days
    )


def test_a_record_of_a_clock_that_was_far_off_is_found_without_asking_day_by_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(
        Batch(
            "w0",
            numbered(
                make_record(0, started_at_ms=1),
                make_record(1),
                make_record(2, started_at_ms=START_MS + DAYS_MAX * DAY_MS),
            ),
        )
    )
    connection.close()
    monkeypatch.setattr(grouping, "window", None)
    found = connect_reader("sqlite:ledger.db", tmp_path).usage(["day"], None, None, UTC)
    assert [row["day"] for row in found] == ["1970-01-01", "2026-11-01", "2037-10-14"]


def test_only_the_sums_that_are_asked_for(season: tuple[Reader, list[UsageRecord]]) -> None:
    queries, booked = season
    for by in ([], ["day"], ["source"]):
        rows = queries.usage(by, None, None, UTC, sums=("requests", "output_tokens"))
        assert all(row.keys() == {*by, "requests", "output_tokens", "currency"} for row in rows)
        assert sum(row["requests"] for row in rows) == len(booked)  # type: ignore[misc]
