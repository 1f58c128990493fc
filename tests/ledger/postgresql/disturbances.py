"""Writers at work on one ledger while its server is disturbed in every way, at random moments."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from proxy.ledger import Batch, LedgerUnavailable, Refusal
from proxy.ledger.postgresql.rebuild import rebuild
from tests.ledger.postgresql.books import Books, books
from tests.ledger.postgresql.test_booking import whole_chains
from tests.ledger.samples import START_MS, make_record, numbered
from tests.support.postgres import PostgresServer

DAYS_MS = 3 * 86_400_000
WRITERS = 4
_ONE_OF_OURS = (
    "FROM pg_stat_activity WHERE application_name = 'tollkeeper' ORDER BY random() LIMIT 2"
)


class Writer:
    """One process: it books batches of any size, old records with other numbers among them."""

    def __init__(self, url: str, number: int, seed: int) -> None:
        self._url = url
        self._number = number
        self._chance = random.Random(seed * WRITERS + number)
        self.made = 0
        self.refused = 0
        self.error: BaseException | None = None

    def run(self, ended: threading.Event) -> None:
        try:
            with books(self._url) as book:
                self._run(book, ended)
        except BaseException as error:
            self.error = error
            raise

    def _run(self, book: Books, ended: threading.Event) -> None:
        writer, seq = f"w{self._number}", 0
        persist(lambda: book.booker.position(writer))
        while not ended.is_set():
            first = self._number * 10**9
            size = self._chance.choice([1, 3, 16, 64, 255])
            several = [
                make_record(
                    first + self.made + n,
                    key_id=f"k{n % 7}",
                    started_at_ms=START_MS + self._chance.randrange(DAYS_MS),
                    cost_nano=self._chance.choice([None, 5]),
                    currency=self._chance.choice([None, "USD"]),
                )
                for n in range(size)
            ]
            if self.made and self._chance.random() < 0.3:
                old = first + self._chance.randrange(self.made)
                several.append(make_record(old, output_tokens=self._chance.randrange(10**6)))
            refusal = Refusal(0, f"k{self._chance.randrange(3)}", "c", 1)
            batch = Batch(writer, numbered(*several, after=seq), refusals=[refusal])
            book.now_ms = START_MS + self._chance.randrange(2 * DAYS_MS)
            persist(lambda batch=batch: book.batch(batch))  # type: ignore[misc]
            seq += len(several)
            self.made += size
            self.refused += 1
        assert persist(lambda: book.booker.position(writer)) == seq


def persist(work: Callable[[], object]) -> object:
    """Try as the recorder does."""
    while True:
        try:
            return work()
        except LedgerUnavailable:
            time.sleep(0.01)


def disturbed(server: PostgresServer, seed: int, times: int) -> int:
    """Disturb the server so often, then hold the book against what was made; returns its rows."""
    ended = threading.Event()
    writers = [Writer(server.url(), number, seed) for number in range(WRITERS)]
    threads = [threading.Thread(target=one.run, args=(ended,)) for one in writers]
    for thread in threads:
        thread.start()
    chance = random.Random(seed)
    with books(server.url()) as book:
        ways = (
            lambda: server.sql(f"SELECT pg_cancel_backend(pid) {_ONE_OF_OURS}"),
            lambda: server.sql(f"SELECT pg_terminate_backend(pid) {_ONE_OF_OURS}"),
            lambda: server.sql("BEGIN; LOCK TABLE rollups; SELECT pg_sleep(0.1); COMMIT"),
            lambda: server.sql("VACUUM FULL rollups"),
            lambda: persist(lambda: rebuild(book.line)),
            lambda: (server.kill(), server.start()),
            lambda: (server.pause(), time.sleep(0.1), server.go_on()),
        )
        for _ in range(times):
            time.sleep(chance.random() * 0.2)
            chance.choice(ways)()
        ended.set()
        for thread in threads:
            thread.join()
        assert [one.error for one in writers] == [None] * WRITERS
        made = sum(one.made for one in writers)
        persist(lambda: book.rows("SELECT 1"))
        assert book.rows(
            "SELECT count(*), count(DISTINCT id) FROM records WHERE kind = 'usage'"
        ) == [(made, made)]
        refused = sum(one.refused for one in writers)
        assert book.rows("SELECT sum(count) FROM refusals") == [(refused,)]
        book.agree()
        return whole_chains(book)
