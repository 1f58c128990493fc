"""Recent records, told apart for two minutes and summed by the second before."""

from __future__ import annotations

from proxy.core.usage import UsageRecord
from proxy.ledger import Reader
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import make_record

NOW_MS = 1_800_000_000_000


def booked(ledgers: BookUnderTest, *records: UsageRecord) -> Reader:
    ledgers.book(*records)
    return ledgers.reader()


def test_older_records_are_summed_by_the_second_as_if_all_had_come_at_its_end(
    ledgers: BookUnderTest,
) -> None:
    old = [
        make_record(number, started_at_ms=NOW_MS - 600_000 + number * 100) for number in range(5)
    ]
    new = [
        make_record(10 + number, started_at_ms=NOW_MS - 5_000 + number * 100) for number in range(3)
    ]
    queries = booked(
        ledgers,
        *old,
        *new,
        make_record(20, started_at_ms=NOW_MS - 3_600_001),
        make_record(21, started_at_ms=NOW_MS - 599_950, key_id="bob"),
    )
    found = queries.recent(NOW_MS - 3_600_000, NOW_MS)
    assert [(row.started_at_ms, row.key_id, row.requests, row.input_tokens) for row in found] == [
        (NOW_MS - 599_950, "bob", 1, 100), (old[-1].started_at_ms, "alice", 5, 500), *((record.started_at_ms, "alice", 1, 100) for record in new),
    ]  # fmt: skip


def test_an_adjustment_is_no_request(ledgers: BookUnderTest) -> None:
    queries = booked(
        ledgers,
        make_record(1, started_at_ms=NOW_MS - 10),
        make_record(2, started_at_ms=NOW_MS - 5, kind="adjustment", adjusts="x", input_tokens=None),
    )
    assert [
        (row.requests, row.input_tokens) for row in queries.recent(NOW_MS - 60_000, NOW_MS)
    ] == [(1, 100), (0, None)]


def test_a_rate_whose_burst_lasts_longer_than_any_ledger_asks_for_all_of_it(
    ledgers: BookUnderTest,
) -> None:
    queries = booked(ledgers, make_record(1, started_at_ms=NOW_MS - 3_600_000))
    assert [row.input_tokens for row in queries.recent(-(10**22), NOW_MS)] == [100]


def test_use_is_summed_by_end_user_and_by_a_tag_whatever_it_is_called(
    ledgers: BookUnderTest,
) -> None:
    odd = 'header:x-"run'
    queries = booked(
        ledgers,
        make_record(1, started_at_ms=NOW_MS, end_user="u1", tags={odd: "a"}),
        make_record(2, started_at_ms=NOW_MS, end_user="u1", tags={odd: "b"}),
        make_record(3, started_at_ms=NOW_MS, end_user=None, tags={"other": "a"}),
        make_record(4, started_at_ms=NOW_MS - 1, end_user="u1", tags={odd: "a"}),
    )

    def used(tag: str | None) -> set[tuple[str | None, int, int | None]]:
        return {
            (row.value, row.requests, row.input_tokens)
            for row in queries.used_by_value(tag, NOW_MS)
        }

    assert used(None) == {("u1", 2, 200), (None, 1, 100)}
    assert used(odd) == {("a", 1, 100), ("b", 1, 100), (None, 1, 100)}
    assert [(row.end_user, row.tags) for row in queries.recent(NOW_MS, NOW_MS)][:2] == [
        ("u1", {odd: "a"}),
        ("u1", {odd: "b"}),
    ]
