"""The rows behind a number: their sum is the number, to the nano-unit, in pages of any size."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from proxy.core.records.canonical import COLUMNS, Value
from proxy.core.usage import UsageRecord
from proxy.ledger import QuestionRefused, Reader
from proxy.ledger.listing import RowChoice
from proxy.ledger.reading import UsageRow
from tests.ledger.conftest import Kind
from tests.ledger.contract.test_late_prices import SUMMED, ZONE, Life, live
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record
from tests.ledger.seasons import year
from tests.support.effort import examples

PLACE = {name: place for place, name in enumerate(COLUMNS)}
BY = ("team", "key", "model", "upstream")


@pytest.fixture(scope="module")
def booked_year(
    kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Reader, list[UsageRecord]]]:
    with kind(tmp_path_factory.mktemp("year")) as book:
        booked = year(book)
        yield book.reader(), booked


def all_rows(reader: Reader, choice: RowChoice, most: int) -> list[tuple[Value, ...]]:
    """The rows of all pages, none of them longer than it was to be."""
    found: list[tuple[Value, ...]] = []
    before: int | None = None
    while True:
        page = reader.listed(choice, before, most)
        assert len(page.rows) == len(page.currencies) <= most
        assert page.before is None or len(page.rows) == most
        assert choice.currency in (UNSET, *page.currencies)
        found += page.rows
        before = page.before
        if before is None:
            return found


def agree(row: UsageRow, rows: Sequence[tuple[Value, ...]]) -> None:
    """Assert that the rows sum up to the number."""
    for name in SUMMED:
        known = [each[PLACE[name]] for each in rows if each[PLACE[name]] is not None]
        assert (row[name] or 0) == sum(known), name  # type: ignore[arg-type]
    assert row["requests"] == sum(each[PLACE["kind"]] == "usage" for each in rows)


def behind(row: UsageRow, by: Sequence[str], zone: ZoneInfo, through: int) -> RowChoice:
    """The rows of a line of a usage by these names."""
    names = {name: row[name] for name in by if name != "day"}
    times: dict[str, int] = {}
    if "day" in by:
        start = datetime.fromisoformat(str(row["day"])).replace(tzinfo=zone)
        ends = (start, (start + timedelta(days=1)).replace(tzinfo=zone))
        times = dict(
            zip(("from_ms", "to_ms"), (int(at.timestamp() * 1000) for at in ends), strict=True)
        )
    return RowChoice(through=through, currency=row["currency"], **names, **times)  # type: ignore[arg-type]


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_rows_with_late_prices_stand_behind_the_line_that_they_count_on(
    ledgers: BookUnderTest, data: st.DataObject
) -> None:
    by = data.draw(st.lists(st.sampled_from([*BY, "day"]), max_size=3, unique=True))
    with ledgers.cleared() as book:
        live(data, Life(book))
        reader = book.reader()
        rows = reader.usage(by, None, None, ZONE)
        head = reader.head()
        for row in rows:
            agree(row, all_rows(reader, behind(row, by, ZONE, head), data.draw(st.integers(1, 9))))
        listed = all_rows(reader, RowChoice(through=head), 7)
        assert len(listed) == len(set(listed)) == head


@pytest.mark.parametrize(
    ("groups_max", "keys_max"), [(2_000, 64), (2_000, 0), (3, 64)], ids=["few", "keys", "many"]
)
def test_the_rows_behind_a_thousand_numbers_sum_up_to_them(
    booked_year: tuple[Reader, list[UsageRecord]],
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    groups_max: int,
    keys_max: int,
) -> None:
    reader, _ = booked_year
    for database in ("sqlite", "postgresql"):
        module = f"proxy.ledger.{database}.listing"
        monkeypatch.setattr(f"{module}.GROUPS_MAX", groups_max)
        monkeypatch.setattr(f"{module}.KEYS_MAX", keys_max)
    rng = random.Random(18)
    zones = [ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")]
    numbers = []
    for zone in zones:
        for by in (["team", "day"], ["key"], ["day", "key", "team"], []):
            numbers += [(row, by, zone) for row in reader.usage(by, None, None, zone)]
    for row, by, zone in rng.sample(numbers, 350):
        choice = behind(row, by, zone, reader.head())
        agree(row, all_rows(reader, choice, rng.choice([1, 5, 50, 5_000])))


def test_pages_join_without_a_gap_or_a_double_the_last_first(
    booked_year: tuple[Reader, list[UsageRecord]],
) -> None:
    reader, booked = booked_year
    for n in range(40):
        rng = random.Random(n)
        starts = [record.started_at_ms for record in booked]
        from_ms, to_ms = (rng.choice([None, rng.choice(starts)]) for _ in range(2))
        team = rng.choice([UNSET, None, "", "a"])
        key = rng.choice([UNSET, "k1", "nobody"])
        through = rng.choice([len(booked), rng.randrange(len(booked))])
        choice = RowChoice(through=through, team=team, key=key, from_ms=from_ms, to_ms=to_ms)
        found = all_rows(reader, choice, rng.choice([7, 100, 3_000]))
        expected = [
            (record.started_at_ms, seq)
            for seq, record in enumerate(booked, start=1)
            if seq <= through
            and team in (UNSET, record.team)
            and key in (UNSET, record.key_id)
            and (from_ms is None or record.started_at_ms >= from_ms)
            and (to_ms is None or record.started_at_ms < to_ms)
        ]
        assert [(row[PLACE["started_at_ms"]], row[PLACE["seq"]]) for row in found] == sorted(
            expected, reverse=True
        )


def test_what_is_booked_meanwhile_is_not_in_it(ledgers: BookUnderTest) -> None:
    ledgers.book(*(make_record(n, started_at_ms=START_MS + n) for n in range(6)))
    reader = ledgers.reader()
    choice = RowChoice(through=6)
    first = reader.listed(choice, None, 4)
    ledgers.book(*(make_record(n, started_at_ms=START_MS + n % 3) for n in range(6, 12)))
    rest = reader.listed(choice, first.before, 4)
    ids = [row[PLACE["id"]] for row in [*first.rows, *rest.rows]]
    assert ids == [make_id(n) for n in reversed(range(6))]
    with pytest.raises(QuestionRefused, match="no row of seq 99: begin with the first page"):
        reader.listed(choice, 99)


def test_a_price_counts_from_when_it_is_booked(ledgers: BookUnderTest) -> None:
    unpriced = make_record(0, cost_nano=None, currency=None)
    price = make_record(1, kind="adjustment", adjusts=make_id(0), input_tokens=0, output_tokens=0,
                        cost_nano=5, charge_nano=6, currency="USD")  # fmt: skip
    ledgers.book(unpriced, price)
    reader = ledgers.reader()
    assert list(reader.listed(RowChoice(through=2)).currencies) == ["USD", "USD"]
    assert list(reader.listed(RowChoice(through=1)).currencies) == [None]
    assert len(reader.listed(RowChoice(through=2, currency="USD")).rows) == 2
    assert len(reader.listed(RowChoice(through=1, currency="USD")).rows) == 0


def test_times_beyond_any_clock_are_no_error(ledgers: BookUnderTest) -> None:
    ledgers.book(make_record(0))
    reader, far = ledgers.reader(), 10**25
    assert len(reader.listed(RowChoice(through=1, from_ms=-far, to_ms=far)).rows) == 1
    assert len(reader.listed(RowChoice(through=1, from_ms=far)).rows) == 0
    assert len(reader.listed(RowChoice(through=1, to_ms=-far)).rows) == 0


def test_the_last_use_of_some_keys_is_that_among_all(
    booked_year: tuple[Reader, list[UsageRecord]],
) -> None:
    reader, _ = booked_year
    used = reader.last_used_ms()
    assert len(used) > 1
    for keys in ([], ["no-such-key"], *([key] for key in used), list(used)):
        found = reader.last_used_ms(keys)
        assert found == {key: used[key] for key in keys if key in used}
