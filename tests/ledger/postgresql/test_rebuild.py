"""Roll-ups that were changed say again what the records say."""

from __future__ import annotations

import threading

import pytest

from proxy.ledger.postgresql.rebuild import rebuild
from proxy.ledger.spans import BUCKET_MS
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import START_MS, make_id, make_record

pytestmark = pytest.mark.whole  # a server of its own


def filled(book: Books) -> None:
    for n in range(6):
        book.now_ms = START_MS + n * BUCKET_MS
        book.book(
            make_record(
                n, started_at_ms=book.now_ms, cost_nano=None if n % 2 else 5, currency=None
            ),
            make_record(100 + n, started_at_ms=START_MS, team=None),
            writer=f"w{n % 2}",
        )
    book.adjust(
        make_record(50, kind="adjustment", adjusts=make_id(1), started_at_ms=START_MS + BUCKET_MS,
                    cost_nano=7, charge_nano=7, currency="USD", input_tokens=None)
    )  # fmt: skip  # one record


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE rollups SET requests = requests + 1",
        "DELETE FROM rollups",
        "UPDATE rollups_daily SET cost_nano = 1",
        "DELETE FROM rollup_groups",
        "UPDATE teams_4h SET requests = 9",
        "DELETE FROM rollup_teams",
        "UPDATE fold SET folded_until_ms = folded_until_ms + 1",
        "UPDATE fold SET folded_until_ms = 0",
        "UPDATE fold SET folded_until_ms = 9000000000000000",
    ],
)
def test_what_was_changed_in_roll_ups_is_mended(damage: str) -> None:
    with books() as book:
        filled(book)
        book.agree()
        book.do(damage)
        assert rebuild(book.line) == 13
        book.agree()
        book.now_ms += 8 * BUCKET_MS
        book.book(make_record(200, started_at_ms=book.now_ms))
        book.agree()


def test_others_book_beside_it_and_neither_gives_up() -> None:
    with books() as book:
        filled(book)

        def write() -> None:
            with books(book.url) as mine:
                for n in range(20):
                    mine.now_ms = START_MS + n * BUCKET_MS
                    mine.book(make_record(1000 + n, started_at_ms=mine.now_ms), writer="w9")

        thread = threading.Thread(target=write)
        thread.start()
        while thread.is_alive():
            rebuild(book.line)
        thread.join()
        book.agree()
        assert rebuild(book.line) == 33
