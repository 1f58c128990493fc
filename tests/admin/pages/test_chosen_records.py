"""The records that a number leads to add up to it, exactly, whatever it is a number of."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.admin.pages.book_views import By, UseAsked
from proxy.admin.pages.chosen_records import ChosenAsked, ChosenRecords, chosen
from proxy.core.errors import ProxyError
from proxy.core.http.parameters import read_parameters
from proxy.core.usage import Source, UsageRecord
from proxy.dataplane.pages.lines import use_lines
from proxy.dataplane.pages.recent import page_of
from proxy.ledger.reading import Reader
from tests.ledger.ledgers import opened_sqlite
from tests.ledger.samples import START_MS, make_record

SEED = 20261201
RECORDS = 1_500
NUMBERS_TRIED = 1_000
ZONES = ("UTC", "Asia/Kathmandu", "America/New_York")
# None: it has none. Names of models come from callers.
TEAMS = ("research", "lab", None)
KEYS = ("alice", "bob", "carol")
MODELS = ("m-1", "", "a&b=c", "<script>", "模型", "\u202e", None)
NUMBERS = ("requests", "input_tokens", "output_tokens", "cost_nano", "charge_nano")


def generated(chance: random.Random) -> Iterator[UsageRecord]:
    """Records over seven weeks, some without counts or price, in two currencies, and corrections."""
    made: list[UsageRecord] = []
    for n in range(RECORDS):
        if made and chance.random() < 0.1:
            # A correction is of the same time, team, key and model; a late price has its currency.
            of = chance.choice(made)
            yield msgspec.structs.replace(
                of,
                id=make_record(n).id,
                kind="adjustment",
                adjusts=of.id,
                reason="rerate",
                input_tokens=None,
                output_tokens=chance.choice((None, -5, 7)),
                cost_nano=chance.randrange(-(10**9), 10**9),
                charge_nano=chance.randrange(-(10**9), 10**9),
                currency=of.currency or "USD",
            )
            continue
        unpriced = chance.random() < 0.1
        record = make_record(
            n,
            started_at_ms=START_MS + chance.randrange(50 * 86_400_000),
            team=chance.choice(TEAMS),
            key_id=chance.choice(KEYS),
            model_requested=chance.choice(MODELS),
            upstream=chance.choice(("modelmax", "modelverse")),
            input_tokens=None if chance.random() < 0.1 else chance.randrange(10**6),
            output_tokens=chance.randrange(10**6),
            source=chance.choice((Source.REPORTED, Source.ESTIMATED)),
            cost_nano=None if unpriced else chance.randrange(10**12),
            charge_nano=None if unpriced else chance.randrange(10**12),
            currency=None if unpriced else chance.choice(("USD", "USD", "CNY")),
        )
        made.append(record)
        yield record


def range_of(chance: random.Random) -> dict[str, str]:
    """A month, a day, a range or all time, as an address says it."""
    day = f"2026-11-{chance.randrange(1, 31):02}"
    quarter_ms = START_MS // 900_000 * 900_000 + chance.randrange(4000) * 900_000
    return chance.choice(
        (
            {"month": chance.choice(("2026-10", "2026-11", "2026-12"))},
            {"day": day},
            {"from": day, "to": "2026-12-05"},
            {"from": str(quarter_ms), "to": str(quarter_ms + 86_400_000)},
            {"from": f"{day}T06:15"},
            {},
        )
    )


def asked_of(link: str) -> ChosenAsked:
    """What a browser that follows the link asks for."""
    return read_parameters(ChosenAsked, parse_qsl(urlsplit(link).query, keep_blank_values=True))


def listed(reader: Reader, of: ChosenRecords) -> list[UsageRecord]:
    """All records that the pages list, one page behind the other."""
    found: list[UsageRecord] = []
    before, more = None, True
    while more:
        page = page_of(reader, of.choice(reader.head()), before)
        found += page.records
        before = page.before
        more = before is not None
    return found


def summed(records: Sequence[UsageRecord], currency: str) -> Counter[str]:
    """The numbers that a line in this currency has."""
    sums: Counter[str] = Counter()
    for record in records:
        if (record.currency or "USD") == currency:
            sums["requests"] += record.kind == "usage"
            for name in NUMBERS[1:]:
                sums[name] += getattr(record, name) or 0
    return sums


def test_a_thousand_numbers_are_the_sums_of_the_records_that_they_lead_to(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with opened_sqlite(tmp_path) as book:
        book.book(*generated(chance))
        reader, tried, not_zero = book.reader(), 0, 0
        while tried < NUMBERS_TRIED:
            zone = ZoneInfo(chance.choice(ZONES))
            some = {
                name: chance.choice(values)
                for name, values in (("team", ("research", "lab")), ("key", KEYS))
                if chance.random() < 0.3
            }
            of = chosen(msgspec.convert(range_of(chance) | some, ChosenAsked), zone)
            groups = (None, *get_args(By))
            # A line of a day leads to the whole day.
            name = chance.choice(groups if "from" not in of.time else groups[:-1])
            by = () if name is None else (name,)
            rows = reader.usage(by, of.from_ms, of.to_ms, zone, **of.asked_for)
            for line in use_lines(rows, name, "USD")[:6]:
                link = of.narrowed(name, line.label).link()
                records = listed(reader, chosen(asked_of(link), zone))
                assert len({record.id for record in records}) == len(records), link
                sums = summed(records, line.currency)
                for number in NUMBERS:
                    assert sums[number] == (getattr(line, number) or 0), (link, number)
                tried += len(NUMBERS)
                not_zero += sum(bool(sums[number]) for number in NUMBERS)
        assert not_zero > tried // 2


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"month": "2026-11", "day": "2026-11-01"}, "for one of these"),
        ({"month": "2026-11", "from": "2026-11-01"}, "for one of these"),
        ({"day": "2026-11-01T12:00"}, "day is written as"),
        ({"day": "x"}, "day: 'x' is no date"),
        ({"from": "2026-11-02", "to": "2026-11-02"}, "not after its start"),
        ({"without": "day"}, "without: names of"),
        ({"without": "team,team"}, "without: names of"),
        ({"without": "team", "team": "a"}, "without: names of"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, str], told: str) -> None:
    with pytest.raises(ProxyError, match=told):
        chosen(msgspec.convert(asked, ChosenAsked), ZoneInfo("UTC"))


def test_a_range_is_taken_to_the_quarter_hour_as_the_books_sums_are() -> None:
    asked = ChosenAsked(from_="1793500000001", to="1793500900001")
    of = chosen(asked, ZoneInfo("UTC"))
    assert (of.from_ms, of.to_ms) == (1793499300000, 1793501100000)
    assert of.link() == "/ui/records?from=1793500000001&to=1793500900001"
    assert UseAsked().by == "team"
