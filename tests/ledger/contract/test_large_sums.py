"""Sums beyond 63 bits: a person who enters dong or rupiah reaches them, in each database."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger.recent_use import SINGLE_MS
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.verification import verify
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record

DAY_MS = 86_400_000
SUMMED = ("input_tokens", "output_tokens", "cost_nano", "charge_nano", "searches")
QUESTIONS: list[tuple[tuple[str, ...], int | None, int | None]] = [
    ((), None, None),
    (("key", "model"), None, None),
    (("team",), START_MS - 1, None),
    (("day",), None, None),
    (("month", "key"), None, None),
    (("hour",), START_MS, START_MS + 40 * DAY_MS),
    (("outcome",), None, None),
    (("key",), START_MS // BUCKET_MS * BUCKET_MS, START_MS + 3 * DAY_MS + 1),
]


def large(seed: int, signs: tuple[int, ...]) -> list[UsageRecord]:
    """Entries whose sums go to and fro around the bounds of 53, 63 and 64 bits."""
    rng = random.Random(seed)
    edges = (2**56, 2**56 - 1, 2**53, 2**53 + 1, 1)

    def amount() -> int:
        return rng.choice(signs) * rng.choice(edges)

    return [
        make_record(
            n,
            kind="adjustment",
            started_at_ms=START_MS + rng.choice((0, 1, BUCKET_MS, 3 * DAY_MS, 35 * DAY_MS)),
            key_id=rng.choice(("a", "b")),
            currency="VND",
            searches=rng.choice((None, amount())),
            **{name: amount() for name in SUMMED[:-1]},
        )
        for n in range(1280)
    ]


def by_hand(booked: list[UsageRecord], by: tuple[str, ...]) -> dict[Any, list[int]]:
    """The sums of the records by their names."""
    sums: dict[Any, list[int]] = {}
    of: dict[str, Callable[[UsageRecord], Any]] = {
        "key": lambda r: r.key_id,
        "model": lambda r: r.model_requested,
        "team": lambda r: r.team,
        "outcome": lambda r: r.outcome.value,
        "day": lambda r: _iso(r)[:10],
        "month": lambda r: _iso(r)[:7],
        "hour": lambda r: _iso(r)[:13],
    }
    for record in booked:
        line = sums.setdefault(tuple(of[name](record) for name in by), [0] * len(SUMMED))
        for place, name in enumerate(SUMMED):
            line[place] += getattr(record, name) or 0
    return sums


def sums_verified(ledgers: BookUnderTest) -> bool:
    return not verify(ledgers.reader(), ledgers.key_file, parts=("rollups", "wide")).findings


def _iso(record: UsageRecord) -> str:
    return datetime.fromtimestamp(record.started_at_ms // 1000, UTC).isoformat()


@pytest.mark.parametrize("signs", [(1,), (-1,), (1, 1, -1), (1, -1, -1)])
def test_sums_are_those_of_the_records(ledgers: BookUnderTest, signs: tuple[int, ...]) -> None:
    booked = large(len(signs), signs)
    half = len(booked) // 2
    ledgers.book(*booked[:half], now_ms=START_MS + BUCKET_MS)
    ledgers.book(*booked[half:], now_ms=START_MS + 90 * DAY_MS)
    reader = ledgers.reader()
    for by, from_ms, to_ms in QUESTIONS:
        asked = [
            r
            for r in booked
            if (from_ms is None or r.started_at_ms >= from_ms)
            and (to_ms is None or r.started_at_ms < to_ms)
        ]
        found: dict[Any, list[Any]] = {}
        for row in reader.usage(by, from_ms, to_ms, UTC):
            names = tuple(str(row[name])[:13] if name == "hour" else row[name] for name in by)
            found[names] = [row[name] or 0 for name in SUMMED]
        assert found == by_hand(asked, by), (by, from_ms, to_ms)
    biggest = max(abs(n or 0) for line in found.values() for n in line)
    assert biggest > 2**60
    assert sums_verified(ledgers)


def test_what_limits_are_counted_from_is_exact(ledgers: BookUnderTest) -> None:
    """Entries of one order are of one moment, so that a second's sum alone is beyond 63 bits."""
    booked = [
        make_record(n, kind="adjustment", charge_nano=2**56, output_tokens=2**56, currency="VND")
        for n in range(256)
    ]
    ledgers.book(*booked)
    reader = ledgers.reader()
    rows = reader.recent(START_MS - 1, START_MS + SINGLE_MS + 5000)
    assert sum(row.charge_nano or 0 for row in rows) == 2**64
    [row] = reader.used_by_value(None, START_MS - 1)
    assert (row.charge_nano, row.output_tokens, type(row.charge_nano)) == (2**64, 2**64, int)


def test_a_late_price_moves_sums_of_any_size(ledgers: BookUnderTest) -> None:
    ledgers.book(make_record(0))
    more = {"kind": "adjustment", "adjusts": make_id(0)}
    for start in range(1, 193, 64):
        ledgers.adjust([make_record(start + n, **more, output_tokens=2**56) for n in range(64)])
    ledgers.adjust(
        [make_record(900, **more, charge_nano=7, cost_nano=7, currency="VND", output_tokens=0)]
    )
    found = {row["currency"]: row for row in ledgers.reader().usage((), None, None, UTC)}
    assert found["VND"]["output_tokens"] == 20 + 192 * 2**56
    assert [line for line in found if found[line]["output_tokens"]] == ["VND"]
    assert sums_verified(ledgers)


def test_months_that_fit_by_themselves_are_beyond_63_bits_together(ledgers: BookUnderTest) -> None:
    months = [START_MS + n * 35 * DAY_MS for n in range(3)]
    booked = [
        make_record(n, kind="adjustment", started_at_ms=at_ms, currency="VND",
                    **dict.fromkeys(SUMMED, 2 ** 56))
        for n, at_ms in enumerate(at_ms for at_ms in months for _ in range(64))
    ]  # fmt: skip  # one call a record
    ledgers.book(*booked, now_ms=months[-1] + DAY_MS)
    for by in ((), ("team",), ("key", "model")):
        [row] = ledgers.reader().usage(by, None, None, UTC)
        assert [row[name] for name in SUMMED] == [192 * 2**56] * len(SUMMED), by
    assert sums_verified(ledgers)
