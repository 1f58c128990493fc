"""Sums by tariff are what pricing each record by itself comes to, in each database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.accounting.what_if import WhatIf, whole
from proxy.accounting.what_if_sums import WhatIfSum
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.linear import NANO_MAX, ZERO, Linear
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.scenario import Scenario
from proxy.core.pricing.tariff import Bounds, Names
from proxy.core.pricing.terms import DatedRate, Terms
from proxy.core.records.repricing import reprice
from proxy.core.usage import FREE, LATER, PER_REQUEST, Source, UsageRecord
from proxy.ledger import Batch, Reader
from proxy.ledger.reading import Stretch, Tariff, TariffPage
from proxy.ledger.tariffs import REST_MAX
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record, numbered
from tests.support.effort import examples

HOUR_MS = 3_600_000
TERMS = Terms(
    currency="USD",
    timezone="UTC",
    rows=(
        PriceRow(model="plain", currency="USD", input="2.5", cached="1.25", output="10"),
        PriceRow(model="plain", currency="USD", input="3.1", output="9", above_input_tokens=1_000),
        PriceRow(model="plain", currency="USD", input="5", output="20", service_tier="priority"),
        PriceRow(
            model="yuan",
            currency="CNY",
            input="0.28",
            cached="0.028",
            cache_write="0.35",
            cache_write_long="0.56",
            audio_input="7.77",
            output="0.42",
            reasoning="0.43",
            audio_output="9",
        ),
        PriceRow(model="yuan", currency="CNY", input="0.14", output="0.21", hours_utc=(990, 30)),
        PriceRow(model="dated", currency="USD", input="1", output="1"),
        PriceRow(
            model="dated", currency="USD", input="2", output="0.001", from_ms=START_MS + HOUR_MS
        ),
        PriceRow(model="embedding", currency="USD", input="0.02"),
        PriceRow(
            model="fees", currency="USD", input="1", output="2", request="0.002", search="0.01"
        ),
        PriceRow(model="pictures", upstream="azure", currency="USD", input="1", output="1",
                 image="0.003"),
        PriceRow(model="euro", currency="EUR", input="1", output="1"),
    ),
    fx={
        "CNY": (DatedRate("0.1391", START_MS + 2 * HOUR_MS), DatedRate("0.1387")),
        "EUR": (DatedRate("1.08", START_MS + HOUR_MS),),
    },
    discounts={"openai": "0.075"},
    markups={"research": "0.033", "sales": (DatedRate("0.5", START_MS + HOUR_MS),)},
)  # fmt: skip  # rows by subject
BOOK = PriceBook(TERMS)
LATER_BOOK = PriceBook(
    msgspec.structs.replace(
        TERMS,
        rows=(
            msgspec.structs.replace(TERMS.rows[0], input="2.77"),
            *(row for row in TERMS.rows[1:] if row.model != "fees"),
        ),
        markups={},
    )
)
DEARER = PriceBook(msgspec.structs.replace(TERMS, discounts={}))
MODELS = ("plain", "yuan", "dated", "embedding", "fees", "pictures", "euro", "unheard-of")
SCENARIOS = (
    Scenario(),
    Scenario(discount="0.4"),
    Scenario(discount="0"),
    Scenario(tier="priority"),
    Scenario(models=(("plain", "yuan"), ("y*", "fees"), ("fees", "nowhere"))),
    Scenario(rows=(PriceRow(model="*", currency="CNY", input="0.7", output="0.9"),)),
    Scenario(rows=(PriceRow(model="plain", currency="EUR", input="0.7", output="0.9"),)),
)


class OneByOne(WhatIf):
    """Prices each record by itself."""

    def _learn(self, record: UsageRecord, asked_for: bool) -> None:
        """Learns nothing."""


class Counting:
    """A reader that counts what tariffs took."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.summed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def by_tariff(self, stretch: Stretch, known: list[Tariff]) -> Iterator[TariffPage]:
        """Counts the requests of the sums."""
        for page in self._reader.by_tariff(stretch, known):
            self.summed += sum(each.requests for each in page.sums)
            yield page


def a_record(n: int, book: PriceBook, images: int, **changes: Any) -> UsageRecord:
    """The n-th request, priced."""
    record = make_record(n, **({"id": make_id(n)} | changes))
    priced = book.price_record(record, images)
    return msgspec.structs.replace(
        record, **{name: getattr(priced, name) for name in priced.__struct_fields__}
    )


@st.composite
def uses(draw: st.DrawFn) -> dict[str, Any]:
    """What a request used: mostly counts that fit each other, else any."""
    inputs = draw(st.sampled_from([0, 7, 999, 1_000, 1_001, 999_999]))
    outputs = draw(st.sampled_from([0, 0, 1, 77_777]))
    part, of_output = (
        st.sampled_from([None, None, 0, whole // 4, whole // 3]) for whole in (inputs, outputs)
    )
    found: dict[str, Any] = {
        "input_tokens": inputs,
        "output_tokens": outputs,
        **{
            name: draw(part)
            for name in ("cached_tokens", "cache_write_tokens", "audio_input_tokens")
        },
        **{name: draw(of_output) for name in ("reasoning_tokens", "audio_output_tokens")},
    }
    found["cache_write_long_tokens"] = draw(st.sampled_from([None, found["cache_write_tokens"]]))
    if draw(st.integers(0, 3)) == 0:
        odd = st.sampled_from([None, 0, 1, 7, 500, 10**6])
        names = draw(st.lists(st.sampled_from(sorted(found)), min_size=1, max_size=2))
        found |= {name: draw(odd) for name in names}
    return found


@st.composite
def ledgers_of(draw: st.DrawFn) -> list[UsageRecord]:
    """Requests with few names and any use, some booked oddly, some corrected."""
    model = draw(st.sampled_from(MODELS))
    names = {
        "upstream": draw(st.sampled_from(["openai", "azure"])),
        "team": draw(st.sampled_from([None, "research", "sales", ""])),
        "model_requested": model,
        "model_served": draw(st.sampled_from([model, model, None, "plain"])),
        "service_tier": draw(st.sampled_from([None, None, "priority"])),
    }
    other = {
        "upstream": "azure",
        "team": "research",
        "model_requested": draw(st.sampled_from(MODELS)),
        "model_served": draw(st.sampled_from(MODELS)),
        "service_tier": draw(st.sampled_from(["priority", "flex"])),
    }
    # As the first, but for one name.
    like = names | {name: other[name] for name in [draw(st.sampled_from(sorted(names)))]}
    few = [names, names, like, other][: draw(st.integers(1, 4))]
    book, started = draw(st.sampled_from([BOOK, LATER_BOOK])), [0, 1, HOUR_MS - 1, HOUR_MS]
    records: list[UsageRecord] = []
    for n in range(draw(st.integers(6, 20))):
        record = a_record(
            n,
            draw(st.sampled_from([book, book, BOOK])),
            draw(st.integers(0, 3)),
            **draw(st.sampled_from(few)),
            **draw(uses()),
            searches=draw(st.sampled_from([None, None, 0, 3, 2_000])),
            status=draw(st.sampled_from([200, 200, 200, 200, 299, 300, None])),
            source=draw(st.sampled_from([Source.REPORTED, Source.REPORTED, Source.NONE])),
            reason=draw(st.sampled_from([None] * 9 + [FREE, PER_REQUEST, LATER])),
            started_at_ms=START_MS + draw(st.sampled_from([*started, 3 * HOUR_MS, 12 * HOUR_MS])),
        )
        records.append(draw(booked_oddly(record)))
        if draw(st.integers(0, 3)) == 0:
            repriced = reprice(record, [], record, DEARER.price_record(record, 1))
            if repriced.adjustment is not None and records[-1] is record:
                records.append(repriced.adjustment)
    return records


@st.composite
def booked_oddly(draw: st.DrawFn, record: UsageRecord) -> UsageRecord:
    """Mostly the record; else as an earlier program, or by terms that are not kept."""
    odd = draw(st.integers(0, 23))
    if odd == 0 and record.cost_nano is not None:
        return msgspec.structs.replace(record, cost_nano=record.cost_nano + 5)
    if odd == 1:
        return msgspec.structs.replace(record, price_version=None)
    if odd == 2:
        return msgspec.structs.replace(record, price_version="0" * 16)
    if odd == 3:
        return msgspec.structs.replace(record, charge_nano=None)
    if odd == 4:
        return msgspec.structs.replace(record, cost_nano=NANO_MAX, charge_nano=2**55)
    if odd == 5:
        return msgspec.structs.replace(record, currency="XTS")
    return record


def book_all(book: BookUnderTest, records: list[UsageRecord]) -> None:
    versions = [(each.version, each.terms()) for each in (BOOK, LATER_BOOK, DEARER)]
    for at in range(0, len(records), 64):
        part = numbered(*records[at : at + 64], after=at)
        book.batch(Batch("w0", part, price_versions=versions))


def summed(job: WhatIf, through: int, step: int) -> list[WhatIfSum]:
    """The sums of a book that is read in small parts, so that tariffs come soon."""
    for after in range(0, through, step):
        job.add(Stretch(after=after, through=min(through, after + step)))
    return job.sums()


@settings(
    max_examples=examples(180),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ledgers_of(), st.sampled_from(SCENARIOS), st.sampled_from([(), ("research", "")]))
def test_a_sum_is_what_its_records_come_to_one_by_one(
    ledgers: BookUnderTest,
    records: list[UsageRecord],
    scenario: Scenario,
    teams: tuple[str, ...],
) -> None:
    """To the nano-unit: whatever the prices, the counts, and the way in which they were booked."""
    with ledgers.cleared() as book:
        book_all(book, records)
        reader = book.reader()
        through = reader.head()
        found = summed(WhatIf(reader, scenario, teams=teams), through, 3)
        expected = summed(OneByOne(reader, scenario, teams=teams), through, 100)
        assert found == expected


def test_most_requests_are_summed_and_those_with_corrections_are_not(
    ledgers: BookUnderTest,
) -> None:
    team = ["research", "sales", None, ""]
    records = [
        a_record(n, BOOK, 0, model_requested="yuan", model_served="yuan", upstream="openai",
                 team=team[n % 4], input_tokens=n, cached_tokens=n // 2, output_tokens=3)
        for n in range(800)
    ]  # fmt: skip  # one call a record
    late = reprice(records[700], [], records[700], LATER_BOOK.price_record(records[700])).adjustment
    assert late is not None
    book_all(ledgers, [*records, late])
    reader = Counting(ledgers.reader())
    job = WhatIf(reader, Scenario(discount="0.31"))
    job.add(whole(reader, None, None))
    # The first page teaches the four teams.
    assert reader.summed == 800 - REST_MAX - 1
    one_by_one = OneByOne(ledgers.reader(), Scenario(discount="0.31"))
    one_by_one.add(whole(reader, None, None))
    assert job.sums() == one_by_one.sums()
    assert sum(each.requests for each in job.sums()) == 800


@pytest.mark.parametrize("names_max", [0, 2])
def test_made_up_names_are_learned_within_a_bound(
    ledgers: BookUnderTest, names_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.what_if._TARIFFS_MAX", names_max)
    records = [
        a_record(n, BOOK, 0, model_requested=f"m-{n // 3}", model_served="plain", upstream="azure")
        for n in range(300)
    ]
    book_all(ledgers, records)
    reader = ledgers.reader()
    job = WhatIf(reader, Scenario(tier="priority"))
    found = summed(job, reader.head(), 4)
    assert found == summed(OneByOne(reader, Scenario(tier="priority")), reader.head(), 100)
    assert len(job._tariffs) <= names_max + 4


def test_a_page_ends_where_many_requests_have_no_tariff(ledgers: BookUnderTest) -> None:
    """So that one can be made of the first of them, and no page holds more rows than that."""
    records = [
        a_record(n, BOOK, 0, model_requested="plain", model_served="plain", upstream="azure",
                 team="new" if n > 300 else None)
        for n in range(1_500)
    ]  # fmt: skip  # one call a record
    book_all(ledgers, records)
    reader = ledgers.reader()
    names = Names("azure", None, "plain", "plain", None)
    known = [Tariff(BOOK.version, "USD", names, Bounds(), ZERO, ZERO, False)]
    pages = []
    with closing(reader.by_tariff(Stretch(through=reader.head()), known)) as found:
        for page in found:
            pages.append((page.upto_seq, sum(each.requests for each in page.sums), len(page.rows)))
            names = msgspec.structs.replace(names, team="new")
            if page.rows and len(known) == 1:
                price = Linear(7, ZERO.rates, 2, None, 10**9, 10**9, 0, with_fees=False)
                known.append(Tariff(BOOK.version, "USD", names, Bounds(), ZERO, price, True))
    assert [sum(of) for of in zip(*pages, strict=True)][1:] == [1_500 - REST_MAX, REST_MAX]
    assert max(rows for _, _, rows in pages) == REST_MAX and pages[-1][0] == 1_500
    assert pages[0] == (256, 256, 0)


def test_each_name_tells_tariffs_apart(ledgers: BookUnderTest) -> None:
    names: dict[str, Any] = {
        "upstream": "openai",
        "team": "research",
        "model_requested": "plain",
        "model_served": "plain",
        "service_tier": None,
    }
    others = [
        {"upstream": "azure"},
        {"team": "sales"},
        {"team": None},
        {"team": ""},
        {"model_requested": "yuan"},
        {"model_served": "yuan"},
        {"model_served": None},
        {"service_tier": "priority"},
    ]
    each = [(BOOK, names), *((BOOK, names | other) for other in others), (LATER_BOOK, names)]
    records = [
        a_record(n, each[n % 10][0], 0, **each[n % 10][1], input_tokens=100 + n) for n in range(40)
    ]
    book_all(ledgers, records)
    reader = Counting(ledgers.reader())
    found = summed(WhatIf(reader, SCENARIOS[1]), 40, 10)
    assert reader.summed == 30 and sum(one.requests for one in found) == 40
    assert found == summed(OneByOne(ledgers.reader(), SCENARIOS[1]), 40, 40)


def test_amounts_that_are_beyond_63_bits_together_are_summed_here(ledgers: BookUnderTest) -> None:
    names = {"upstream": "azure", "model_requested": "plain", "model_served": "plain"}
    usual = [a_record(n, BOOK, 0, **names) for n in range(258)]
    huge = {0: {}, 1: {"cost_nano": 2**56}, 2: {"charge_nano": 2**56}}
    records = [
        msgspec.structs.replace(record, **huge[0 if n < 2 else 1 + n % 2])
        for n, record in enumerate(usual)
    ]
    book_all(ledgers, records)
    reader = Counting(ledgers.reader())
    job = WhatIf(reader, SCENARIOS[1])
    job.add(Stretch(after=0, through=1))
    job.add(Stretch(after=1, through=258))
    assert reader.summed == 1
    assert job.sums() == summed(OneByOne(ledgers.reader(), SCENARIOS[1]), 258, 258)


def test_only_answers_have_fees(ledgers: BookUnderTest) -> None:
    names = {"upstream": "azure", "model_requested": "fees", "model_served": "fees"}
    answers: list[dict[str, Any]] = [
        {"status": 200},
        {"status": 299},
        {"status": 300},
        {"status": 199},
        {"status": None},
        {"status": 200, "source": Source.NONE},
    ]
    records = [
        a_record(n, BOOK, 0, **names, input_tokens=5, output_tokens=3, searches=1, **answer)
        for n, answer in enumerate([answers[0], *answers])
    ]
    book_all(ledgers, records)
    reader = Counting(ledgers.reader())
    found = summed(WhatIf(reader, SCENARIOS[1]), len(records), 1)
    assert reader.summed == 2
    assert found == summed(OneByOne(ledgers.reader(), SCENARIOS[1]), len(records), 40)


def test_counts_that_do_not_fit_each_other_are_cut_down_as_they_were(
    ledgers: BookUnderTest,
) -> None:
    usual = {
        "input_tokens": 100, "output_tokens": 50, "cached_tokens": 20, "cache_write_tokens": 30,
        "cache_write_long_tokens": 10, "audio_input_tokens": 40, "reasoning_tokens": 20,
        "audio_output_tokens": 10, "searches": 1,
    }  # fmt: skip  # as one reads them
    plain = dict.fromkeys(usual) | {"input_tokens": 100, "output_tokens": 50}
    odd = [
        usual | {"cached_tokens": 31},
        usual | {"cache_write_tokens": 41},
        usual | {"cache_write_long_tokens": 31},
        usual | {"audio_input_tokens": 51},
        usual | {"reasoning_tokens": 41},
        usual | {"audio_output_tokens": 31},
        plain | {"cached_tokens": 101},
        plain | {"reasoning_tokens": 51},
        plain | {"input_tokens": None},
        plain | {"output_tokens": None},
    ]
    fitting = [usual, plain, plain | {"cached_tokens": 100, "reasoning_tokens": 50}, usual]
    records = [
        a_record(
            n, BOOK, 0, upstream="azure", model_requested="yuan", model_served="yuan", **counts
        )
        for n, counts in enumerate([usual, *odd, *fitting])
    ]
    book_all(ledgers, records)
    reader = Counting(ledgers.reader())
    scenario = Scenario(discount="0.5")
    found = summed(WhatIf(reader, scenario), len(records), 1)
    assert reader.summed == len(fitting)
    assert found == summed(OneByOne(ledgers.reader(), scenario), len(records), 40)
