"""What every reader of a ledger promises, whatever its database."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from proxy.ledger import LedgerError, Reader, connect_reader
from proxy.ledger.reading import ALL_SUMS, GROUPED_BY, Recent, Stretch
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_record


@pytest.fixture
def booked(ledgers: BookUnderTest) -> Reader:
    """Three records, the second of another key."""
    ledgers.book(make_record(0), make_record(1, key_id="bob"), make_record(2))
    return ledgers.reader()


def test_one_reader_answers_everything(booked: Reader) -> None:
    assert booked.head() == booked.status().records == 3
    assert booked.narrowed(Stretch(through=3)) == Stretch(through=3)
    [page] = booked.pages(Stretch(through=3))
    assert [row[0] for row in page.rows] == [make_record(n).id for n in range(3)]
    assert booked.label_names(Stretch(through=3)) == ["cost_center"]
    entry = booked.record(make_record(1).id)
    assert entry is not None and (entry.seq, entry.record) == (2, make_record(1, key_id="bob"))
    assert booked.adjustments(entry.record.id) == []
    assert booked.refusals(None, None) == []
    assert booked.sources(START_MS, 10) == {("modelmax", "reported"): 3}
    assert booked.served_models() == [("modelmax", "deepseek-v3.2", "deepseek-v3.2")]
    assert booked.price_terms("v1") is None and booked.price_terms_at(START_MS) is None


def test_a_recent_row_is_what_is_made_of_its_record(booked: Reader) -> None:
    """A record in the book and one on its way there count alike."""
    expected = [Recent.of(record) for record in (make_record(0), make_record(1, key_id="bob"))]
    found = booked.recent(START_MS, START_MS + 1000)
    assert len(found) == 3 and all(row in found for row in expected)


@pytest.mark.parametrize("url", ["sqlite:ledger.db", "sqlite:elsewhere/x.db"])
def test_a_reader_may_be_there_before_its_ledger(url: str, tmp_path: Path) -> None:
    reader = connect_reader(url, tmp_path)
    for question in (reader.head, reader.status, reader.served_models):
        with pytest.raises(LedgerError, match=f"no ledger at {reader.name} yet"):
            question()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["ledger.db", "mysql://h/x", "../x:y", "reading:x", "sqlite:"])
def test_a_url_that_names_no_ledger(url: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"use sqlite:FILE, for example sqlite:ledger\.db"):
        connect_reader(url, tmp_path)


def test_every_reader_sums_the_same_by_the_same_names(booked: Reader) -> None:
    """Also in this order: a table and an export show the sums as they come."""
    for name in (*GROUPED_BY, "label:cost_center"):
        rows = booked.usage([name], None, None, UTC)
        assert rows, name
        for row in rows:
            assert [each for each in row if each not in (name, "currency")] == list(ALL_SUMS)
    with pytest.raises(LedgerError, match="cannot group by colour: use any of team, key"):
        booked.usage(["team", "colour"], None, None, UTC)
