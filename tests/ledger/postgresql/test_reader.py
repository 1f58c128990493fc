"""The reader of a ledger in PostgreSQL: all writers in one order, and questions with odd texts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from proxy.ledger import Batch, QuestionRefused
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.reading import Stretch
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import START_MS, make_id, make_record, numbered

pytestmark = pytest.mark.whole  # a server of its own


@pytest.fixture
def many() -> Iterator[Books]:
    with books() as found:
        yield found


def test_all_writers_are_one_book(many: Books) -> None:
    for n in range(6):
        records = [make_record(10 * n + m, writer=f"w{n % 3}") for m in range(n % 2 + 1)]
        many.book(*records, writer=f"w{n % 3}")
    reader = PostgresReader(many.url)
    [page] = reader.pages(Stretch(through=reader.head()))
    assert [row[1] for row in page.rows] == list(range(1, 10))
    assert [row[0] for row in page.rows] == [
        make_id(10 * n + m) for n in range(6) for m in range(n % 2 + 1)
    ]
    status = reader.status()
    assert (status.records, status.first_seq, status.last_seq, status.sealed_seq) == (9, 1, 9, 9)
    assert status.writers == {"w0": 3, "w1": 3, "w2": 3}
    assert status.last_hash == page.rows[-1][-1].hex()  # type: ignore[union-attr]
    [row] = reader.usage(["team"], None, None, UTC)
    assert (row["requests"], row["input_tokens"]) == (9, 900)
    [row] = reader.usage(["team"], None, None, UTC, through=4)
    assert row["requests"] == 4
    entry = reader.record(make_id(31))
    assert entry is not None and entry.seq == 6
    assert reader.sources(START_MS, 4) == {("modelmax", "reported"): 4}


def test_what_one_writer_corrects_of_another_counts_with_it(many: Books) -> None:
    many.book(make_record(0, output_tokens=50), writer="w0")
    many.book(make_record(0, output_tokens=20), writer="w1")
    reader = PostgresReader(many.url)
    assert [(one.seq, one.record.output_tokens) for one in reader.adjustments(make_id(0))] == [
        (2, -30)
    ]
    for by in (["key"], ["source"]):
        [row] = reader.usage(by, None, None, UTC)
        assert (row["requests"], row["output_tokens"]) == (1, 20)


@pytest.mark.parametrize("odd", ["\0", "\ud800", "x\0y", "%s", "'; DROP TABLE records; --", "模型"])
def test_odd_texts_are_asked_for_and_not_found(many: Books, odd: str) -> None:
    many.book(make_record(0))
    reader = PostgresReader(many.url)
    assert reader.record(odd) is None and reader.adjustments(odd) == []
    assert reader.usage([], None, None, UTC, team=odd) == []
    [row] = reader.usage([f"label:{odd}", f"tag:{odd}"], None, None, UTC)
    assert (row[f"label:{odd}"], row[f"tag:{odd}"], row["requests"]) == (None, None, 1)
    assert reader.credits(odd, None, 9) == []
    with pytest.raises(QuestionRefused):
        reader.credits(None, odd, 9)
    assert reader.price_terms(odd) is None
    assert [use.value for use in reader.used_by_value(odd, 0)] == [None]
    assert reader.made_objects("openai_chat", 10, 10) == []


def test_times_beyond_any_clock(many: Books) -> None:
    many.book(make_record(0))
    reader = PostgresReader(many.url)
    far = 10**25
    assert reader.usage(["day"], -far, far, UTC) == reader.usage(["day"], None, None, UTC)
    assert reader.usage(["hour"], far, None, UTC) == []
    assert reader.refusals(-far, far) == []


def test_answers_and_objects_are_those_of_the_latest_records(many: Books, tmp_path: Path) -> None:
    answers = [
        make_record(0, upstream_request_id="old"),
        make_record(1, upstream_request_id="a1", finish_reason="queued"),
        make_record(2, upstream_request_id="a2", endpoint="/v1/x/{id}"),
        make_record(3, upstream_request_id="a3", status=500),
        make_record(4, upstream_request_id="a4"),
        make_record(5, upstream_request_id="b1", dialect="batches", reason="later"),
    ]
    many.batch(Batch("w0", numbered(*answers)))
    reader = PostgresReader(many.url)
    found = reader.answers(["openai_chat"], 5)
    assert [(one.id, one.waiting, one.tokens) for one in found] == [
        ("a1", make_id(1), 120),
        ("a4", None, 120),
        ("b1", make_id(5), 120),
    ]
    assert [one[3] for one in reader.made_objects("openai_chat", 3, 9)] == ["a3", "a4"]
    assert [one[3] for one in reader.made_objects("openai_chat", 9, 2)] == ["a3", "a4"]
    assert reader.last_used_ms() == {"alice": START_MS // 900_000 * 900_000}
