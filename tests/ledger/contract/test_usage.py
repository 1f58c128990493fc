"""Sums by local day, made of wide roll-ups: the same as of the records, in any zone and range."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger import LedgerError, Reader
from proxy.ledger.grouping import DAYS_MAX
from tests.ledger.conftest import Kind
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_record
from tests.ledger.seasons import DAY_MS, FIRST_MS, ZONES, season


@pytest.fixture(scope="module")
def booked_season(
    kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Reader, list[UsageRecord]]]:
    with kind(tmp_path_factory.mktemp("season")) as book:
        booked = season(book)
        yield book.reader(), booked


@pytest.mark.parametrize("zone", [ZoneInfo(key) for key in ZONES], ids=ZONES)
def test_days_say_what_their_records_say(
    booked_season: tuple[Reader, list[UsageRecord]], zone: ZoneInfo
) -> None:
    queries, booked = booked_season
    rng = random.Random(zone.key)
    bounds = [
        None,
        None,
        FIRST_MS + 20 * DAY_MS,
        *(rng.choice(booked).started_at_ms + rng.choice([0, 1]) for _ in range(6)),
    ]
    for by, team, key in (
        (["day"], None, None),
        (["team", "day"], None, None),
        (["day", "key"], "a", None),
        (["month"], None, None),
        (["month", "team", "day"], "b", None),
        (["key", "month"], None, None),
        (["day"], None, "k1"),
        (["month", "team"], None, "k0"),
        (["team"], "a", "k0"),
    ):
        for from_ms, to_ms in [*pairwise(bounds), (None, None)]:
            sums: dict[tuple[str | None, ...], int] = {}
            for record in booked:
                if (
                    (from_ms is None or record.started_at_ms >= from_ms)
                    and (to_ms is None or record.started_at_ms < to_ms)
                    and team in (None, record.team)
                    and key in (None, record.key_id)
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
            found = queries.usage(by, from_ms, to_ms, zone, team=team, key=key)
            assert [
                (tuple(row[name] for name in by), row["output_tokens"]) for row in found
            ] == sorted(
                sums.items(), key=lambda item: [(name is not None, name) for name in item[0]]
            )


def test_tags_and_a_seq_read_records_and_no_more_than_a_bound(
    booked_season: tuple[Reader, list[UsageRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, booked = booked_season
    zone = ZoneInfo("UTC")
    monkeypatch.setattr("proxy.ledger.grouping.RECORDS_MAX", len(booked) - 1)
    for by, through in ((["tag:feature"], None), (["team"], len(booked))):
        with pytest.raises(LedgerError, match="ask for less of it at once"):
            queries.usage(by, None, None, zone, through=through)
        assert queries.usage(by, booked[50].started_at_ms, None, zone, through=through)
    assert queries.usage(["team", "source"], None, None, zone)
    with pytest.raises(LedgerError, match=f"the book ends at seq {len(booked)}"):
        queries.usage([], None, None, zone, through=len(booked) + 1)


def test_only_the_sums_that_are_asked_for(booked_season: tuple[Reader, list[UsageRecord]]) -> None:
    queries, booked = booked_season
    for by in ([], ["day"], ["source"]):
        rows = queries.usage(by, None, None, UTC, sums=("requests", "output_tokens"))
        assert all(row.keys() == {*by, "requests", "output_tokens", "currency"} for row in rows)
        assert sum(row["requests"] for row in rows) == len(booked)  # type: ignore[misc]


def test_a_record_of_a_clock_that_was_far_off_is_found_without_asking_day_by_day(
    ledgers: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers.book(
        make_record(0, started_at_ms=1),
        make_record(1),
        make_record(2, started_at_ms=START_MS + DAYS_MAX * DAY_MS),
    )
    monkeypatch.setattr("proxy.ledger.grouping.window", None)
    found = ledgers.reader().usage(["day"], None, None, UTC)
    assert [row["day"] for row in found] == ["1970-01-01", "2026-11-01", "2037-10-14"]
