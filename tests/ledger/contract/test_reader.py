"""What people and bills read: the sums are those of the records, however they are grouped, in any
zone and range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger import Batch, LedgerError, Reader
from proxy.ledger.reading import ALL_SUMS
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record, numbered, records
from tests.support.effort import examples

BUCKET_MS = 15 * 60 * 1000
QUARTER_MS = START_MS // BUCKET_MS * BUCKET_MS
KINDS: dict[str, Callable[[UsageRecord, ZoneInfo], str | None]] = {
    "team": lambda r, zone: r.team,
    "key": lambda r, zone: r.key_id,
    "model": lambda r, zone: r.model_requested,
    "upstream": lambda r, zone: r.upstream,
    "end_user": lambda r, zone: r.end_user,
    "source": lambda r, zone: r.source.value,
    "outcome": lambda r, zone: r.outcome.value,
    "label:cost_center": lambda r, zone: r.labels.get("cost_center"),
    'label:we"ird.name': lambda r, zone: r.labels.get('we"ird.name'),
    "tag:feature": lambda r, zone: r.tags.get("feature"),
    "month": lambda r, zone: local(r, zone).date().isoformat()[:7],
    "day": lambda r, zone: local(r, zone).date().isoformat(),
    "hour": lambda r, zone: local(r, zone).replace(minute=0, second=0, microsecond=0).isoformat(),
}
TOKENS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "searches",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano",
    "charge_nano",
)
ZONES = (
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
)


def local(record: UsageRecord, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(record.started_at_ms // 1000, zone)


@pytest.fixture
def ledger(ledgers: BookUnderTest) -> Callable[..., Reader]:
    """Books records, and returns the questions to the ledger that has them."""

    def make(*booked: UsageRecord) -> Reader:
        ledgers.book(*booked)
        return ledgers.reader()

    return make


def by_hand(
    booked: Sequence[UsageRecord], by: Sequence[str], zone: ZoneInfo
) -> dict[tuple[str | None, ...], dict[str, int | None]]:
    """The sums by group and currency, as a person would make them."""
    groups: dict[tuple[str | None, ...], list[UsageRecord]] = {}
    for record in booked:
        groups.setdefault(
            (*(KINDS[name](record, zone) for name in by), record.currency), []
        ).append(record)
    return {
        group: {
            "requests": sum(r.kind == "usage" for r in members),
            "reported_requests": sum(
                r.kind == "usage" and r.source is Source.REPORTED for r in members
            ),
            "inconsistent_requests": sum(r.kind == "usage" and r.inconsistent for r in members),
            "unpriced_requests": sum(r.kind == "usage" and r.cost_nano is None for r in members),
            **{
                name: sum(known)
                if (known := [v for r in members if (v := getattr(r, name)) is not None])
                else None
                for name in TOKENS
            },
        }
        for group, members in groups.items()
    }


@settings(
    max_examples=examples(30),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_records_rollups_and_usage_say_the_same(
    ledgers: BookUnderTest, data: st.DataObject
) -> None:
    booked = [data.draw(records(n)) for n in range(data.draw(st.integers(1, 12)))]
    by = data.draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=3, unique=True))
    zone = ZoneInfo(data.draw(st.sampled_from(ZONES)))
    bound = st.none() | st.integers(START_MS - 1000, START_MS + 3 * 86_400_000)
    from_ms, to_ms = data.draw(bound), data.draw(bound)
    team = data.draw(st.none() | st.sampled_from([record.team for record in booked]))
    key = data.draw(st.none() | st.sampled_from([record.key_id for record in booked] + ["nobody"]))
    through = data.draw(st.none() | st.integers(0, len(booked)))
    with ledgers.cleared() as book:
        for _ in range(2):  # the second time is a replay
            book.batch(Batch("w0", numbered(*booked)))
        lines = by_hand(booked, [], zone).values()
        for name in ALL_SUMS:
            if name != "inconsistent_requests":
                known = [each for line in lines if (each := line[name]) is not None]
                [[from_rollups]] = book.rows(f"SELECT sum({name}) FROM rollups")
                assert from_rollups == (sum(known) if known else None), name
        found = book.reader().usage(by, from_ms, to_ms, zone, team=team, through=through, key=key)
    ranged = [
        r
        for r in booked[:through]
        if team in (None, r.team)
        and key in (None, r.key_id)
        and (from_ms is None or r.started_at_ms >= from_ms)
        and (to_ms is None or r.started_at_ms < to_ms)
    ]
    sums = by_hand(ranged, by, zone)
    assert {
        (*(row[name] for name in by), row["currency"]): {name: row[name] for name in ALL_SUMS}
        for row in found
    } == sums
    assert len(found) == len(sums)


def test_the_columns_are_the_promised_ones_in_their_order(ledger: Callable[..., Reader]) -> None:
    (row,) = ledger(make_record(cost_nano=5, charge_nano=6, currency="USD")).usage(
        ["team", "key", "model"], None, None, UTC
    )
    assert row == {
        "team": "research", "key": "alice", "model": "deepseek-v3.2", "requests": 1, "input_tokens": 100, "cached_tokens": None,
        "cache_write_tokens": None, "cache_write_long_tokens": None, "output_tokens": 20, "reasoning_tokens": None, "searches": None, "cost_nano": 5, "charge_nano": 6, "currency": "USD",
        "reported_requests": 1, "unpriced_requests": 0, "inconsistent_requests": 0,
    }  # fmt: skip
    columns = "requests input_tokens cached_tokens cache_write_tokens cache_write_long_tokens output_tokens reasoning_tokens searches cost_nano charge_nano currency reported_requests unpriced_requests inconsistent_requests"
    assert list(row) == ["team", "key", "model", *columns.split()]


def test_a_flagged_request_counts_on_the_line_that_its_late_price_moved_it_to(
    ledger: Callable[..., Reader],
) -> None:
    unpriced = make_record(0, inconsistent=True, cost_nano=None, currency=None)
    price = make_record(
        1,
        kind="adjustment",
        adjusts=unpriced.id,
        reason="rerate",
        input_tokens=0,
        output_tokens=0,
        cost_nano=5,
        charge_nano=6,
        currency="USD",
    )
    rows = ledger(unpriced, make_record(2), price).usage(["key"], None, None, UTC)
    assert [(row["currency"], row["requests"], row["inconsistent_requests"]) for row in rows] == [
        (None, 1, 0),
        ("USD", 1, 1),
    ]


def test_rows_are_sorted_by_group_then_currency_and_a_missing_name_is_first(
    ledger: Callable[..., Reader],
) -> None:
    names = [("b", "USD"), (None, "USD"), ("a", "USD"), ("a", None), ("a", "CNY"), ("B", "USD")]
    booked = [
        make_record(n, team=team, currency=currency) for n, (team, currency) in enumerate(names)
    ]
    found = ledger(*booked).usage(["team"], None, None, UTC)
    assert [(row["team"], row["currency"]) for row in found] == [
        (None, "USD"),
        ("B", "USD"),
        ("a", None),
        ("a", "CNY"),
        ("a", "USD"),
        ("b", "USD"),
    ]


def test_no_group_is_one_row_and_no_record_none(ledger: Callable[..., Reader]) -> None:
    assert [
        row["requests"] for row in ledger(make_record(0), make_record(1)).usage([], None, None, UTC)
    ] == [2]
    assert ledger().usage([], 0, 1, UTC) == []


@pytest.mark.parametrize("by", [["team"], ["outcome"], ["day"]])
@pytest.mark.parametrize(
    ("from_ms", "to_ms", "ids"),
    [
        (None, None, "abcdef"),
        (QUARTER_MS, None, "bcdef"),
        (QUARTER_MS, QUARTER_MS + BUCKET_MS, "bcd"),
        (QUARTER_MS + 1, QUARTER_MS + BUCKET_MS, "cd"),
        (QUARTER_MS + 1, QUARTER_MS + BUCKET_MS - 1, "c"),
        (QUARTER_MS - 1, QUARTER_MS + 1, "ab"),
        (QUARTER_MS - 1, QUARTER_MS + BUCKET_MS + 1, "abcde"),
        (None, QUARTER_MS + 6, "abc"),
        (QUARTER_MS + 5, QUARTER_MS + 5, ""),
        (QUARTER_MS + BUCKET_MS, QUARTER_MS, ""),
        (QUARTER_MS + 6, QUARTER_MS + 5, ""),
        (QUARTER_MS + 5, None, "cdef"),
    ],
)
def test_ranges_are_half_open_to_the_millisecond(
    ledger: Callable[..., Reader], by: list[str], from_ms: int | None, to_ms: int | None, ids: str
) -> None:
    starts = {"a": -1, "b": 0, "c": 5, "d": BUCKET_MS - 1, "e": BUCKET_MS, "f": 2 * BUCKET_MS}
    # Powers of two: the sum says which records are in it.
    booked = [
        make_record(n, started_at_ms=QUARTER_MS + offset, output_tokens=2**n)
        for n, offset in enumerate(starts.values())
    ]
    found = ledger(*booked).usage(by, from_ms, to_ms, UTC)
    assert sum(row["output_tokens"] for row in found) == sum(
        2 ** list(starts).index(letter) for letter in ids
    )  # type: ignore[misc]


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "start", "day", "hour"),
    [
        ("UTC", "2026-03-01T23:59:59Z", "2026-03-01", "2026-03-01T23:00:00+00:00"),
        ("Asia/Kolkata", "2026-03-01T18:29:59Z", "2026-03-01", "2026-03-01T23:00:00+05:30"),
        ("Asia/Kolkata", "2026-03-01T18:30:00Z", "2026-03-02", "2026-03-02T00:00:00+05:30"),
        ("Asia/Kathmandu", "2026-03-01T18:14:59Z", "2026-03-01", "2026-03-01T23:00:00+05:45"),
        ("Asia/Kathmandu", "2026-03-01T18:15:00Z", "2026-03-02", "2026-03-02T00:00:00+05:45"),
        ("America/New_York", "2026-11-01T05:30:00Z", "2026-11-01", "2026-11-01T01:00:00-04:00"),
        ("America/New_York", "2026-11-01T06:30:00Z", "2026-11-01", "2026-11-01T01:00:00-05:00"),
        ("America/New_York", "2026-03-08T07:00:00Z", "2026-03-08", "2026-03-08T03:00:00-04:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:10:00Z", "2026-04-05", "2026-04-05T01:00:00+10:30"),
    ],
)
def test_days_and_hours_are_those_of_the_zone(
    ledger: Callable[..., Reader], zone: str, start: str, day: str, hour: str
) -> None:
    (row,) = ledger(make_record(started_at_ms=instant(start))).usage(
        ["day", "hour"], None, None, ZoneInfo(zone)
    )
    assert (row["day"], row["hour"]) == (day, hour)


def test_the_hour_that_a_clock_change_repeats_is_two_rows_in_the_order_of_time(
    ledger: Callable[..., Reader],
) -> None:
    starts = ["2026-11-01T06:30:00Z", "2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z"]
    found = ledger(
        *(make_record(n, started_at_ms=instant(start)) for n, start in enumerate(starts))
    ).usage(["hour"], None, None, ZoneInfo("America/New_York"))
    assert [row["hour"] for row in found] == [
        "2026-11-01T01:00:00-04:00",
        "2026-11-01T01:00:00-05:00",
        "2026-11-01T02:00:00-05:00",
    ]


def test_money_beyond_63_bits_is_summed_exactly(ledger: Callable[..., Reader]) -> None:
    """9.2 billion units of a currency are a small company's bill in dong."""
    booked = [
        make_record(
            n, started_at_ms=START_MS + n * BUCKET_MS, charge_nano=2**56 - n, currency="VND"
        )
        for n in range(300)
    ]
    queries = ledger(*booked)
    for by in (["team"], ["outcome"], ["day"]):
        assert sum(row["charge_nano"] for row in queries.usage(by, None, None, UTC)) == sum(
            r.charge_nano for r in booked if r.charge_nano is not None
        )  # type: ignore[misc]


def test_negative_sums_are_exact_too(ledger: Callable[..., Reader]) -> None:
    booked = [
        make_record(n, charge_nano=amount, currency="USD", kind="adjustment")
        for n, amount in enumerate([-(2**40) - 1, -3, 2**33])
    ]
    assert [row["charge_nano"] for row in ledger(*booked).usage(["key"], None, None, UTC)] == [
        -(2**40) - 4 + 2**33
    ]


@pytest.mark.parametrize("name", ["provider", "label:", "Team", ""])
def test_an_unknown_group_is_refused_with_the_known_ones(
    ledger: Callable[..., Reader], name: str
) -> None:
    with pytest.raises(LedgerError, match=r"team, key, model.*label:NAME"):
        ledger().usage([name], None, None, UTC)


def test_one_record_with_its_place_and_its_adjustments(ledger: Callable[..., Reader]) -> None:
    queries = ledger(
        make_record(0),
        make_record(1, labels={}, usage_raw=None),
        make_record(1, output_tokens=7, outcome=Outcome.CUT),
    )
    entry = queries.record(make_id(1))
    assert entry is not None
    assert entry.record == make_record(1, labels={}, usage_raw=None)
    assert (entry.seq, entry.booked_at_ms, entry.hash_version, len(entry.hash)) == (
        2,
        START_MS + 5000,
        2,
        64,
    )
    first = queries.record(make_id(0))
    assert first is not None
    assert entry.prev_hash == first.hash
    assert [
        (a.record.adjusts, a.record.output_tokens, a.seq) for a in queries.adjustments(make_id(1))
    ] == [(make_id(1), -13, 3)]
    assert queries.record("unknown") is None
    assert queries.adjustments(make_id(0)) == []


def test_the_terms_of_a_price_version(ledgers: BookUnderTest) -> None:
    queries = ledgers.reader()
    ledgers.batch(Batch("w0", price_versions=[("v1", b"one"), ("v2", b"two")]))
    ledgers.batch(Batch("w0", price_versions=[("v2", b"another"), ("v3", b"three")]))
    assert [queries.price_terms(version) for version in ("v1", "v2", "v3", "v4")] == [
        b"one",
        b"two",
        b"three",
        None,
    ]
    assert queries.status().writers == {}, "prices alone are no progress of a journal"


def test_the_status_tells_how_far_the_book_is(
    ledger: Callable[..., Reader], ledgers: BookUnderTest
) -> None:
    status = ledger(make_record(0), make_record(1), make_record(1, output_tokens=7)).status()
    known: dict[str, Any] = {
        "records": 3,
        "adjustments": 1,
        "first_seq": 1,
        "last_seq": 3,
        "sealed_seq": 3,
        "schema_version": ledgers.schema_version,
        "writers": {"w0": 3},
    }
    assert {name: getattr(status, name) for name in known} == known
    assert (
        status.last_booked_at_ms,
        status.path,
        status.bytes > 0,
        len(status.last_hash or ""),
    ) == (START_MS + 5000, ledgers.name, True, 64)


def test_the_status_of_an_empty_book(ledger: Callable[..., Reader]) -> None:
    status = ledger().status()
    assert (
        status.records,
        status.last_seq,
        status.last_hash,
        status.sealed_seq,
        status.writers,
    ) == (0, None, None, None, {})


def test_what_was_served_for_what_is_told_each_once(ledger: Callable[..., Reader]) -> None:
    pairs = [
        ("alias", "dear"),
        ("alias", "dear"),
        ("alias", "alias"),
        ("alias", None),
        ("other", "dear"),
    ]
    queries = ledger(
        *(
            make_record(n, model_requested=asked, model_served=served)
            for n, (asked, served) in enumerate(pairs)
        )
    )
    found = {(asked, served) for _, asked, served in queries.served_models()}
    assert len(queries.served_models()) == len(found) == 3
    assert found == {("alias", "dear"), ("alias", "alias"), ("other", "dear")}
