"""What is new of a batch, decided without a database; the contract tests say it over each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.records.canonical import fitted
from proxy.core.usage import Source, UsageRecord
from proxy.ledger import Booked
from proxy.ledger.sorting_out import served, sorted_out
from tests.ledger.samples import make_id, make_record


class Rows:
    """A book in memory."""

    def __init__(self, *records: UsageRecord) -> None:
        self.records = {record.id: record for record in records}

    def known(self, ids: Sequence[str]) -> set[str]:
        return set(ids) & set(self.records)

    def booked(self, id: str) -> UsageRecord:
        return self.records[id]

    def corrections(self, id: str) -> list[UsageRecord]:
        return [record for record in self.records.values() if record.adjusts == id]


def test_new_records_stay_in_order_and_known_ones_are_counted() -> None:
    fresh, booked = sorted_out(
        [make_record(3), make_record(1), make_record(2), make_record(3)],
        Rows(make_record(1)),
        fitted,
    )
    assert [record.id for record in fresh] == [make_id(3), make_id(2)]
    assert booked == Booked(inserted=2, known=2, adjustments=0)


def test_a_contradiction_becomes_an_adjustment_once_and_what_is_weaker_none() -> None:
    interrupted = make_record(0, output_tokens=512, source=Source.ESTIMATED)
    book = Rows(interrupted)
    [correction], booked = sorted_out([make_record(0, output_tokens=300)], book, fitted)
    assert (correction.adjusts, correction.output_tokens) == (make_id(0), -212)
    assert booked == Booked(inserted=0, known=0, adjustments=1)
    book.records[correction.id] = correction
    assert sorted_out([make_record(0, output_tokens=300), interrupted], book, fitted) == (
        [],
        Booked(inserted=0, known=2, adjustments=0),
    )


def test_what_is_new_fits_the_database() -> None:
    def shortened(record: UsageRecord) -> UsageRecord:
        return msgspec.structs.replace(record, model_served="short")

    fresh, _ = sorted_out([make_record(0), make_record(0, output_tokens=21)], Rows(), shortened)
    assert [record.model_served for record in fresh] == ["short", "short"]


def test_each_served_model_is_told_once_and_in_order() -> None:
    found = served(
        [
            make_record(0, model_served="b"),
            make_record(1, model_served="a"),
            make_record(2, model_served="b"),
            make_record(3, model_served=None),
            make_record(4, model_requested=None),
        ]
    )
    assert found == [("modelmax", "deepseek-v3.2", "a"), ("modelmax", "deepseek-v3.2", "b")]
