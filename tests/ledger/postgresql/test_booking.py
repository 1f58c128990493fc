"""Booking into PostgreSQL: a chain for each writer, one order of all, each record once."""

from __future__ import annotations

import datetime
import random
import threading
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.records.canonical import COLUMNS, GENESIS, HASHED_V2, chained, key_name, seal
from proxy.core.usage import Source
from proxy.ledger import Batch, Booked, LedgerSetBack, LedgerUnavailable, Refusal
from proxy.ledger.postgresql.booking import ADJUSTING, BATCH_MAX
from proxy.ledger.postgresql.connection import (
    ADMINISTERING,
    COMMITTING,
    CORRECTING,
    LEDGER,
    Connection,
    lock,
)
from tests.ledger.postgresql.books import BOOKED_MS, Books, books
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered, records
from tests.support.effort import examples
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own

OWN = ", ".join(name for name in HASHED_V2 if name != "seq")


def whole_chains(book: Books) -> int:
    """Assert that each writer's chain is whole and sealed, and the book without a hole."""
    found = book.rows(f"SELECT chain, chain_seq, prev_hash, hash, {OWN} FROM records ORDER BY 1, 2")
    places: dict[str, tuple[int, bytes]] = {}
    hashes: dict[tuple[str, int], bytes] = {}
    for chain, chain_seq, prev_hash, row_hash, *values in found:
        last_seq, last_hash = places.get(chain, (0, GENESIS))
        assert (chain_seq, prev_hash) == (last_seq + 1, last_hash)
        # `seq` in the hash is the number in the writer's own chain.
        assert row_hash == chained(last_hash, [values[0], chain_seq, *values[1:]])
        places[chain] = (chain_seq, row_hash)
        hashes[chain, chain_seq] = row_hash
    end = 0
    for chain, chain_seq, seq, count, row_hash, at_ms, name, sealed in book.rows(
        "SELECT chain, chain_seq, seq, rows, hash, booked_at_ms, key_name, seal FROM heads ORDER BY seq"
    ):
        assert (seq - count, row_hash) == (end, hashes[chain, chain_seq])
        assert (name, sealed) == (key_name(KEY), seal(KEY, chain_seq, at_ms, row_hash))
        end = seq
    assert book.rows("SELECT seq FROM cursor") == [(end,)]
    assert [seq for (seq,) in book.rows("SELECT seq FROM book ORDER BY seq")] == list(
        range(1, len(found) + 1)
    )
    return len(found)


def test_each_writer_has_a_chain_and_the_book_one_order() -> None:
    with books() as book:
        book.book(make_record(0), make_record(1), writer="w0")
        book.book(make_record(2), writer="w1")
        book.book(make_record(3), make_record(4), writer="w0")
        assert whole_chains(book) == 5
        assert book.rows("SELECT seq, id, chain, chain_seq FROM book ORDER BY seq") == [
            (1, make_id(0), "w0", 1),
            (2, make_id(1), "w0", 2),
            (3, make_id(2), "w1", 1),
            (4, make_id(3), "w0", 3),
            (5, make_id(4), "w0", 4),
        ]
        book.agree()


def test_adjustments_have_a_chain_of_their_own() -> None:
    with books() as book:
        book.book(make_record(0))
        found = book.adjust(make_record(1, kind="adjustment", adjusts=make_id(0), output_tokens=-5))
        assert found == Booked(inserted=1, known=0, adjustments=0)
        assert book.rows("SELECT chain FROM heads ORDER BY seq") == [("w0",), (ADJUSTING,)]
        assert whole_chains(book) == 2
        book.agree()


@given(st.data())
@settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))
def test_whatever_comes_roll_ups_and_chains_agree(data: st.DataObject) -> None:
    several = [
        data.draw(records(n).filter(lambda record: record.kind == "usage")) for n in range(12)
    ]
    with books() as book:
        for start in range(0, len(several), 4):
            writer = data.draw(st.sampled_from(["w0", "w1"]))
            book.now_ms = BOOKED_MS + data.draw(st.integers(0, 4 * 86_400_000))
            book.book(*several[start : start + 4], writer=writer)
        assert whole_chains(book) == 12
        book.agree()


def test_a_full_batch_and_its_repetition() -> None:
    batch = Batch("w0", numbered(*(make_record(n, key_id=f"k{n % 7}") for n in range(BATCH_MAX))))
    with books() as book, books(book.url) as other:
        assert book.batch(batch) == Booked(inserted=BATCH_MAX, known=0, adjustments=0)
        # Another process that booked the same journal finds all of it known.
        assert other.batch(batch) == Booked(inserted=0, known=BATCH_MAX, adjustments=0)
        assert whole_chains(book) == BATCH_MAX
        book.agree()


def test_a_record_booked_by_one_writer_is_known_to_all() -> None:
    with books() as book:
        book.book(make_record(0, output_tokens=512, source=Source.ESTIMATED), writer="w0")
        assert book.book(make_record(0), writer="w1") == Booked(0, 0, 1)
        assert book.book(make_record(0), writer="w2") == Booked(0, 1, 0)
        assert book.rows("SELECT sum(output_tokens) FROM rollups") == [(20,)]
        assert whole_chains(book) == 2
        book.agree()


def test_two_writers_that_contradict_the_same_record_at_once_correct_it_one_after_the_other() -> (
    None
):
    with books() as book:
        book.book(make_record(0, output_tokens=1, source=Source.ESTIMATED))
        results: list[Booked] = []

        def correct(n: int) -> None:
            with books(book.url) as mine:
                results.append(mine.book(make_record(0, output_tokens=100 + n), writer=f"w{n}"))

        threads = [threading.Thread(target=correct, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [Booked(0, 0, 1)] * 4
        [(total,)] = book.rows("SELECT sum(output_tokens) FROM records")
        assert total in (100, 101, 102, 103)
        assert whole_chains(book) == 5
        book.agree()


def test_two_processes_that_adjust_at_once_share_one_chain_and_neither_gives_up() -> None:
    with books() as book:
        book.book(*(make_record(n) for n in range(40)))
        failed: list[Exception] = []

        def adjust(number: int) -> None:
            with books(book.url) as mine:
                try:
                    for n in range(10):
                        id = number * 10 + n
                        mine.adjust(
                            make_record(
                                1000 + id, kind="adjustment", adjusts=make_id(id), output_tokens=1
                            )
                        )
                except LedgerUnavailable as error:
                    failed.append(error)

        threads = [threading.Thread(target=adjust, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert whole_chains(book) == 80
        book.agree()


def test_a_late_price_moves_what_other_writers_booked() -> None:
    unpriced = make_record(0, currency=None, cost_nano=None)
    with books() as book:
        book.book(unpriced)
        book.adjust(
            make_record(1, kind="adjustment", adjusts=make_id(0), input_tokens=None,
                        output_tokens=None, cost_nano=7, charge_nano=7, currency="USD")
        )  # fmt: skip  # one record
        book.agree()
        lines = "SELECT currency, sum(requests), sum(cost_nano) FROM rollups GROUP BY 1 ORDER BY 1"
        assert book.rows(lines) == [("USD", 1, 7), (None, 0, None)]


class Failing:
    """Raises at one of the points of a booking."""

    def __init__(self) -> None:
        self.at: str | None = None

    def __call__(self, point: str) -> None:
        if point == self.at:
            raise OSError(point)


@pytest.mark.parametrize("point", ["ledger.book.before", "ledger.book.inside"])
def test_a_batch_that_failed_leaves_nothing_and_is_booked_when_it_comes_again(point: str) -> None:
    fail = Failing()
    batch = Batch(
        "w0", numbered(make_record(0)), refusals=[Refusal(0, "k", "c", 2)], salts=[("a", b"s")]
    )
    with books(fail=fail) as book:
        book.rows("SELECT 1")
        fail.at = point
        with pytest.raises(LedgerUnavailable, match=point):
            book.batch(batch)
        for table in ("records", "heads", "refusals", "end_users", "journal_positions", "rollups"):
            assert book.rows(f"SELECT * FROM {table}") == []
        fail.at = None
        assert book.batch(batch) == Booked(1, 0, 0)
        assert book.rows("SELECT key_id, code, count FROM refusals") == [("k", "c", 2)]


def test_a_batch_whose_answer_was_lost_is_booked_once_with_its_refusals() -> None:
    fail = Failing()
    batch = Batch("w0", numbered(make_record(0)), refusals=[Refusal(0, "k", "c", 2)])
    with books(fail=fail) as book:
        fail.at = "ledger.book.after"
        with pytest.raises(LedgerUnavailable):
            book.batch(batch)
        fail.at = None
        assert book.batch(batch) == Booked(1, 0, 0)  # what it came to the first time
        assert book.rows("SELECT count FROM refusals") == [(2,)]
        assert book.booker.position("w0") == 1
        # The next batch of the same writer is another one.
        assert book.batch(Batch("w0", (), 1, refusals=[Refusal(0, "k", "c", 3)])) == Booked(0, 0, 0)
        assert book.rows("SELECT count FROM refusals") == [(5,)]
        assert whole_chains(book) == 1


def test_refusals_of_several_processes_add_up_and_their_names_have_any_length() -> None:
    long = "x" * 10_000
    one = Refusal(0, "k", "limit", 1, team="t", limit_id=long)
    with books() as book, books(book.url) as other:
        for mine in (book, other, book):
            mine.batch(
                Batch(f"w{id(mine)}", (), 1, refusals=[one, one, Refusal(0, None, "limit", 1)])
            )
        found = book.rows("SELECT key_id, team, limit_id, count FROM refusals ORDER BY 4")
        assert found == [(None, None, None, 3), ("k", "t", long, 6)]


def test_a_position_goes_where_the_journal_went() -> None:
    with books() as book:
        assert book.booker.position("w0") == 0
        book.batch(Batch("w0", (), 7))
        assert book.booker.position("w0") == 7
        book.batch(Batch("w0", numbered(make_record(0), after=8), 12))
        assert book.booker.position("w0") == 12
        book.batch(Batch("rerate", price_versions=[("v", b"terms")]))
        assert book.rows("SELECT writer, seq FROM journal_positions") == [("w0", 12)]
        assert book.rows("SELECT version, terms FROM price_versions") == [("v", b"terms")]


def test_a_journals_name_is_one_processes_at_a_time() -> None:
    with books() as book:
        with books(book.url) as other:
            assert other.booker.position("w0") == 0
            with pytest.raises(LedgerUnavailable, match="another process books as 'w0'"):
                book.booker.position("w0")
            assert book.booker.position("w1") == 0
        assert book.booker.position("w0") == 0


def test_ledgers_in_two_schemas_of_a_database_do_not_wait_for_each_other() -> None:
    url = postgres().database()
    for schema in ("one", "two"):
        postgres().sql(f"CREATE SCHEMA {schema}", url.rpartition("/")[2])
    with books(f"{url}?options=-csearch_path%3Done") as one:
        assert one.booker.position("w0") == 0
        with books(f"{url}?options=-csearch_path%3Dtwo") as two:
            assert two.booker.position("w0") == 0

            def beside(connection: Connection) -> None:
                """In the middle of a batch of the first, under all of its locks."""
                for number in (COMMITTING, CORRECTING, ADMINISTERING):
                    connection.execute(f"SELECT pg_advisory_xact_lock({lock(LEDGER, number)})")
                assert two.book(make_record(1), make_record(1, output_tokens=9)).adjustments == 1

            one.line.transaction(beside)


def test_behind_a_gap_nothing_is_booked() -> None:
    """A database that has lost what it had confirmed, or what was there when this process began."""
    with books() as book, books(book.url) as other:
        other.booker.position("w0")
        other.book(make_record(0), make_record(1))
        other.line.close()
        assert book.booker.position("w0") == 2
        for confirmed in (2, 3):
            book.do("UPDATE journal_positions SET seq = 1")
            batch = Batch("w0", numbered(make_record(confirmed), after=confirmed))
            with pytest.raises(LedgerSetBack) as lost:
                book.batch(batch)
            assert lost.value.position == 1
            assert book.rows("SELECT count(*) FROM records") == [(confirmed,)]
            # From there on it is booked again, and what is there already counts once.
            again = Batch(
                "w0", numbered(*(make_record(n) for n in range(1, confirmed + 1)), after=1)
            )
            assert book.batch(again) == Booked(1, confirmed - 1, 0)


def test_text_and_numbers_that_postgresql_refuses_block_nothing() -> None:
    odd = make_record(
        0,
        model_served="a\0b\ud800",
        finish_reason="\0",
        end_user="\0",
        tags={"fe\0at": "\0\0"},
        labels={"a": "b\0"},
        input_tokens=2**70,
        cost_nano=-(2**63),
        bytes_out=2**63,
        duration_ms=2**90,
        client_retry_count=-(2**80),
        status=2**64,
        usage_raw={"a\0": 2**62},
    )
    with books() as book:
        assert book.book(odd, make_record(1)) == Booked(2, 0, 0)
        assert book.book(odd) == Booked(0, 1, 0)
        [row] = book.rows(
            "SELECT model_served, finish_reason, end_user, tags, labels, input_tokens, cost_nano,"
            " bytes_out, inconsistent FROM records WHERE id = %s",
            make_id(0),
        )
        assert row[:5] == (
            "a\ufffdb\ufffd",
            "\ufffd",
            "\ufffd",
            '{"fe\ufffdat":"\ufffd\ufffd"}',
            '{"a":"b\ufffd"}',
        )
        assert row[5:] == (None, None, 2**56, 1)
        assert book.booker.stored([make_id(0)])[make_id(0)].model_served == "a\ufffdb\ufffd"
        assert whole_chains(book) == 2
        book.agree()


def test_sums_go_beyond_what_a_column_of_sqlite_can_hold() -> None:
    with books() as book:
        for start in range(0, 1024, 256):
            book.book(
                *(make_record(start + n, cost_nano=2**56, currency="USD") for n in range(256))
            )
        assert book.rows("SELECT sum(cost_nano) FROM rollups") == [(2**66,)]
        book.agree()


def test_four_writers_at_once_make_a_book_in_which_a_reader_never_sees_a_hole() -> None:
    """A reader that reads up to the newest seq would miss for good what appears below it later."""
    with books() as book:
        book.rows("SELECT 1")
        holes: list[tuple[int, int]] = []
        looks = 0
        running = threading.Event()

        def write(number: int) -> None:
            with books(book.url) as mine:
                for n in range(25):
                    first = (number * 25 + n) * 8
                    mine.book(
                        *(
                            make_record(
                                first + k, key_id=f"k{k}", started_at_ms=START_MS + first * 1000
                            )
                            for k in range(8)
                        ),
                        writer=f"w{number}",
                    )

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            [(newest, count)] = book.rows("SELECT coalesce(max(seq), 0), count(*) FROM book")
            looks += 1
            if newest != count:
                holes.append((newest, count))
        for thread in threads:
            thread.join()
        running.set()
        assert looks > 10
        assert holes == []
        assert whole_chains(book) == 800
        book.agree()
        seqs = [seq for (seq,) in book.rows("SELECT seq FROM heads ORDER BY seq")]
        assert all(after - before == 8 for before, after in pairwise(seqs))


def test_a_row_has_a_value_for_every_column() -> None:
    with books() as book:
        book.book(make_record(0))
        assert len(book.rows(f"SELECT {', '.join(COLUMNS)} FROM book")[0]) == len(COLUMNS)


def test_names_of_the_greatest_length_fit_every_index() -> None:
    """Texts that cannot be packed, of four bytes a sign, as long as a config and a caller may make
    them."""
    sign = random.Random(1)

    def long(signs: int) -> str:
        return "".join(chr(sign.randrange(0x20000, 0x2A000)) for _ in range(signs))

    several = [
        make_record(
            n,
            key_id=long(64),
            team=long(64),
            upstream=long(64),
            model_requested=long(256),
            model_served=long(256),
            upstream_request_id=long(256),
            finish_reason=long(256),
            end_user=long(128),
        )
        for n in range(3)
    ]
    with books() as book:
        book.book(*several)
        book.now_ms = START_MS + 86_400_000
        book.book(make_record(9, started_at_ms=book.now_ms))
        book.agree()
        assert whole_chains(book) == 4


def test_a_newer_versions_column_stops_nobody() -> None:
    """Also not who has prepared statements on the tables as they were."""
    with books() as book:
        for n in range(8):
            book.book(make_record(n))
        book.do(
            "ALTER TABLE records ADD COLUMN more text; ALTER TABLE rollups ADD COLUMN more numeric"
        )
        for n in range(8, 16):
            book.book(make_record(n), make_record(n - 8, output_tokens=n))
        assert whole_chains(book) == 24
        book.agree()


def test_months_are_added_while_others_book() -> None:
    with books() as book:
        book.rows("SELECT 1")

        def write(number: int) -> None:
            with books(book.url) as mine:
                for n in range(40):
                    mine.book(make_record(number * 100 + n), writer=f"w{number}")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for month in range(1, 13):
            book.rows("SELECT add_month(%s)", datetime.date(2024, month, 1))
        for thread in threads:
            thread.join()
        assert whole_chains(book) == 120
