"""Any range of time says what its records say, however many widths of roll-ups it is read from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC

import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger import Reader
from proxy.ledger.reading import ALL_SUMS
from tests.ledger.conftest import Kind
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_record
from tests.ledger.seasons import DAY_MS, year


@pytest.fixture(scope="module")
def booked_year(
    kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Reader, list[UsageRecord]]]:
    with kind(tmp_path_factory.mktemp("year")) as book:
        booked = year(book)
        yield book.reader(), booked


def by_hand(
    booked: Sequence[UsageRecord], from_ms: int | None, to_ms: int | None
) -> list[dict[str, object]]:
    """The lines of the range, in their order, as a person would make them."""
    lines: dict[tuple[str | None, ...], list[UsageRecord]] = {}
    for r in booked:
        if (from_ms is None or r.started_at_ms >= from_ms) and (
            to_ms is None or r.started_at_ms < to_ms
        ):
            lines.setdefault((r.key_id, r.team, r.currency), []).append(r)
    return [
        {
            "key": key,
            "team": team,
            "currency": currency,
            "requests": sum(r.kind == "usage" for r in members),
            "reported_requests": sum(r.kind == "usage" for r in members),
            "unpriced_requests": sum(r.kind == "usage" and r.cost_nano is None for r in members),
            "inconsistent_requests": 0,
            **{
                name: sum(known)
                if (known := [v for r in members if (v := getattr(r, name)) is not None])
                else None
                for name in ALL_SUMS
                if not name.endswith("requests")
            },
        }
        for (key, team, currency), members in sorted(
            lines.items(), key=lambda line: [(name is not None, name or "") for name in line[0]]
        )
    ]


def test_any_range_says_what_its_records_say(
    booked_year: tuple[Reader, list[UsageRecord]],
) -> None:
    queries, booked = booked_year
    rng = random.Random(6)
    starts = [record.started_at_ms for record in booked]
    for _ in range(150):
        from_ms, to_ms = (
            rng.choice(
                [
                    None,
                    rng.choice(starts),
                    rng.choice(starts) // DAY_MS * DAY_MS,
                    rng.choice(starts) + 1,
                ]
            )
            for _ in range(2)
        )
        found = queries.usage(["key", "team"], from_ms, to_ms, UTC)
        assert found == by_hand(booked, from_ms, to_ms)


def test_counts_beyond_63_bits_are_read_from_the_quarter_hours(ledgers: BookUnderTest) -> None:
    for n in range(3):
        at_ms = START_MS + n * DAY_MS
        batch = (
            make_record(n * 64 + i, started_at_ms=at_ms, output_tokens=2**56) for i in range(64)
        )
        ledgers.book(*batch, now_ms=START_MS + 90 * DAY_MS)
    (row,) = ledgers.reader().usage(
        ["team"], START_MS - START_MS % DAY_MS, START_MS + 3 * DAY_MS, UTC
    )
    assert row["output_tokens"] == 192 * 2**56
