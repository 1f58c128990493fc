"""Pages over the chains of several writers: each row once, in the order of the book, by indexes."""

from __future__ import annotations

import contextlib
import random
import threading
from datetime import UTC

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


def test_who_reads_while_four_processes_book_never_sees_a_hole() -> None:
    with contextlib.ExitStack() as opened_books:
        first = opened_books.enter_context(books())
        first.book(make_record(999_999))
        done = threading.Event()

        def book(writer: str, at: int) -> None:
            with books(first.url) as many:
                for n in range(25):
                    batch = [make_record(at + 100 * n + m, writer=writer) for m in range(1 + n % 7)]
                    many.book(*batch, writer=writer)

        writers = [
            threading.Thread(target=book, args=(name, 10_000 * n)) for n, name in enumerate("abcd")
        ]
        looked = 0
        reader = PostgresReader(first.url)
        for writer in writers:
            writer.start()
        while not done.is_set():
            if not any(writer.is_alive() for writer in writers):
                done.set()  # one more look, at the whole
            through = reader.head()
            after = max(0, through - 60)
            pages = reader.pages(Stretch(after=after, through=through), 25)
            assert [row[1] for part in pages for row in part.rows] == [
                *range(after + 1, through + 1)
            ]
            [row] = reader.usage([], None, None, UTC, sums=("requests",), through=through)
            assert row["requests"] == through
            looked += 1
        assert looked > 1 and reader.head() == 1 + 4 * sum(1 + n % 7 for n in range(25))
