"""Pages over the chains of several writers: each row once, in the order of the book, by indexes."""

from __future__ import annotations

import random

import pytest

from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.pages import head, narrowed, page
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.reading import Stretch
from tests.ledger.postgresql.books import books
from tests.ledger.samples import START_MS, make_record

pytestmark = pytest.mark.whole  # a server of its own


def test_any_stretch_has_each_of_its_rows_once_and_in_order() -> None:
    rng = random.Random(3)
    with books() as many:
        booked = []
        for n in range(25):
            writer = rng.choice("abc")
            records = [
                make_record(
                    100 * n + m, writer=writer, started_at_ms=START_MS + rng.randrange(10_000)
                )
                for m in range(rng.randint(1, 5))
            ]
            many.book(*records, writer=writer)
            booked += records
        places = {record.id: seq for seq, record in enumerate(booked, start=1)}
        starts = {seq: record.started_at_ms for seq, record in enumerate(booked, start=1)}
        reader = PostgresReader(many.url)
        with opened(many.url, writes=False) as connection:
            assert head(connection) == len(booked)
            for _ in range(60):
                after, through = sorted(rng.choices(range(len(booked) + 1), k=2))
                bounds = sorted(START_MS + rng.randrange(10_001) for _ in range(2))
                from_ms, to_ms = rng.choice([(None, None), tuple(bounds)])
                stretch = Stretch(after=after, through=through, from_ms=from_ms, to_ms=to_ms)
                expected = [
                    seq
                    for seq in range(after + 1, through + 1)
                    if from_ms is None or from_ms <= starts[seq] < to_ms
                ]
                rows = page(connection, stretch)
                assert [(row[1], places[str(row[0])]) for row in rows] == [
                    (seq, seq) for seq in expected
                ]
                near = narrowed(connection, stretch)
                if expected and from_ms is not None and (after, through) == (0, len(booked)):
                    assert (near.after, near.through) == (expected[0] - 1, expected[-1])
                found = [row[1] for part in reader.pages(near, 7) for row in part.rows]
                assert found == expected
