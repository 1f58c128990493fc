"""From the journal to the book, whatever happens between: once each, in order, nothing lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.end_users import EndUsers
from proxy.accounting.pending import REFUSAL_BUCKET_MS, REFUSAL_GROUPS_MAX
from proxy.accounting.recorder import Recorder
from proxy.config.price_terms import price_book_of
from proxy.config.settings import MetricsSettings, Price, Settings
from proxy.core.entries import Marked, Opened
from proxy.core.records.canonical import COLUMNS
from proxy.core.records.settlement import at_its_bound
from proxy.core.usage import UsageRecord
from proxy.journal import Journal, JournalOptions, JournalReader
from proxy.journal.options import SEGMENT_BYTES_MIN
from proxy.ledger import BATCH_MAX, Batch, Close, connect
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.sqlite.verify import verify_chain
from proxy.metrics.collector import Metrics
from proxy.server.failpoints import Failpoints
from tests.ledger.samples import START_MS, make_id, make_record, open_book, records, rows
from tests.support.effort import examples
from tests.support.journals import journal_options
from tests.support.waiting import GUARD_S, until

URL = "sqlite:ledger.db"
OPTIONS = journal_options()
PRICES = price_book_of(
    Settings(prices=(Price(model="deepseek-v3.2", input="0.5", output="2"),))
)  # an opening of 40 tokens: 20,000 nano-dollars
SMALL = journal_options(interval_s=0.001, segment_bytes=SEGMENT_BYTES_MIN)


class Life:
    """One life of the parts between an ended exchange and the book, on one data directory."""

    def __init__(
        self,
        directory: Path,
        journal: Journal,
        ledger: SqliteLedger,
        recorder: Recorder,
        metrics: Metrics,
        end_users: EndUsers,
    ) -> None:
        self.directory = directory
        self.journal = journal
        self.ledger = ledger
        self.recorder = recorder
        self.metrics = metrics
        self.end_users = end_users

    def end(self, *numbers: int, **changes: Any) -> None:
        """Exchanges that are opened, end and are closed, as the proxy does it."""
        for n in numbers:
            self.journal.open(opening(n))
            record = make_record(n, **changes)
            self.journal.close(record)
            self.recorder.wake(record)

    def booked(self, query: str = "SELECT id FROM records ORDER BY seq") -> list[Any]:
        """The first column of a query on the book."""
        with sqlite3.connect(self.directory / "ledger.db") as connection:
            found = [row[0] for row in rows(connection, query)]
        connection.close()
        return found


def opening(n: int) -> Opened:
    return Opened(
        id=make_id(n),
        started_at_ms=START_MS,
        key_id="alice",
        team="research",
        endpoint="/v1/chat/completions",
        upstream="modelmax",
        model_requested="deepseek-v3.2",
        input_estimate=40,
    )


def ids(*numbers: int) -> list[str]:
    return [make_id(n) for n in numbers]


@asynccontextmanager
async def living(
    directory: Path,
    *,
    failpoints: str = "",
    booking: bool = True,
    options: JournalOptions = OPTIONS,
    price_terms: tuple[str, bytes] | None = None,
    late: bool = False,
) -> AsyncIterator[Life]:
    """All parts running; with `booking` False the recorder does not run, as if the process died
    before it could. `late`: nor is anything recovered, as if the ledger were away."""
    fail = Failpoints(failpoints)
    ledger = await connect(URL, directory, fail=fail)
    assert isinstance(ledger, SqliteLedger)
    journal = Journal.claim(directory / "journal", options, fail)
    metrics = Metrics(MetricsSettings(), "1")
    end_users = EndUsers("hash", b"key", await ledger.salts())
    recorder = Recorder(
        journal,
        ledger,
        metrics,
        end_users,
        PRICES,
        fail=fail,
        now_ms=lambda: START_MS + 60_000,
    )
    if price_terms is not None:
        recorder.price_terms(*price_terms)
    if late:
        recorder.begin()
    else:
        await recorder.recover()
    tasks = [
        asyncio.create_task(journal.run()),
        *([asyncio.create_task(recorder.run())] if booking and not late else []),
    ]
    try:
        yield Life(directory, journal, ledger, recorder, metrics, end_users)
    finally:
        for task in tasks[1:]:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks[1:])
        await journal.aclose()
        await tasks[0]
        await ledger.aclose()


async def test_what_ends_is_booked_in_order(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        numbers = range(3 * BATCH_MAX + 5)
        life.end(*numbers)
        assert life.recorder.backlog == len(numbers)
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(*numbers)
        assert (life.recorder.backlog, life.recorder.lag_s, life.recorder.failures) == (0, 0.0, 0)
        assert await life.ledger.position("w0") == life.journal.position


async def test_a_lone_record_is_booked_without_a_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.recorder.POLL_S", 3600.0)  # being told is enough
    async with living(tmp_path) as life:
        for n in range(3):
            life.end(n)
            await until(lambda: life.recorder.backlog == 0)
        assert life.booked() == ids(0, 1, 2)


async def test_closes_that_nobody_told_of_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.recorder.POLL_S", 0.001)
    async with living(tmp_path) as life:
        for n in range(20):
            life.journal.open(opening(n))
            life.journal.close(make_record(n))
            await until(lambda: len(life.booked()) == n + 1)  # noqa: B023
        assert life.booked() == ids(*range(20))


async def test_the_next_life_books_what_the_last_one_did_not(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.end(0, 1)
        await life.recorder.drain(GUARD_S)
    async with living(tmp_path, booking=False) as life:
        life.end(2, 3)
        assert not await life.recorder.drain(GUARD_S), "nothing runs that could book it"
    async with living(tmp_path) as life:
        life.end(4)
        await life.recorder.drain(GUARD_S)
        assert life.recorder.backlog == 0
    assert life.booked() == ids(0, 1, 2, 3, 4)


async def test_the_journal_lets_go_of_what_is_booked_and_of_nothing_else(tmp_path: Path) -> None:
    async with living(tmp_path, booking=False, options=SMALL) as life:
        life.end(*range(SEGMENT_BYTES_MIN // 500))
        assert len(list(life.journal.directory.glob("*.seg"))) >= 2
        running = asyncio.create_task(life.recorder.run())
        assert list(life.journal.directory.glob("*.gz")) == []
        await until(lambda: list(life.journal.directory.glob("*.gz")) != [])
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.whole
@pytest.mark.parametrize(
    "place",
    [
        "recorder.batch.before",
        "recorder.batch.after",
        "ledger.book.before",
        "ledger.book.inside",
        "ledger.book.after",
    ],
)
async def test_a_batch_that_fails_is_tried_until_it_is_booked_once(
    tmp_path: Path, place: str, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with living(tmp_path, failpoints=f"{place}={action}@1") as life:
        salted = life.end_users.hash("someone")
        life.end(*range(70), end_user=salted)
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(*range(70))
        assert life.booked("SELECT sum(requests) FROM rollups") == [70]
        assert life.booked("SELECT kind FROM records GROUP BY 1") == ["usage"]
        assert len(await life.ledger.salts()) == 1
        assert life.recorder.failures == 1
    assert [
        record.levelname for record in caplog.records if record.name == "tollkeeper.recorder"
    ] == ["ERROR", "WARNING"]


async def test_a_locked_ledger_stops_nobody_and_loses_nothing(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.ledger._connection.execute("PRAGMA busy_timeout = 1")
        foreign = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        foreign.execute("BEGIN IMMEDIATE")
        life.end(0)
        life.recorder.refused("alice", "rate_limit_exceeded", START_MS)
        await until(lambda: life.recorder.failures >= 2)
        life.end(*range(1, 150))
        assert not await life.recorder.drain(0.01)
        assert life.recorder.backlog == 150
        assert life.recorder.lag_s > 0
        assert life.journal.ready
        foreign.execute("ROLLBACK")
        foreign.close()
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(*range(150))
        assert life.booked("SELECT count FROM refusals") == [1]
        assert (life.recorder.backlog, life.recorder.lag_s) == (0, 0.0)


TERMS = "SELECT version || ' ' || terms FROM price_versions ORDER BY version"


async def test_prices_are_in_the_book_before_the_process_serves(tmp_path: Path) -> None:
    """Else what they priced could not be explained after a crash and a start with other prices."""
    async with living(tmp_path, booking=False, price_terms=("v1", b"one")) as life:
        assert life.booked(TERMS) == ["v1 one"]
        assert await life.ledger.position("w0") == 0


async def test_prices_of_a_reload_are_booked_without_waiting_for_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.recorder.POLL_S", 3600.0)
    async with living(tmp_path, price_terms=("v1", b"one")) as life:
        for version in ("v2", "v3"):  # the second time it rests
            life.recorder.price_terms(version, b"it")
            await until(lambda: f"{version} it" in life.booked(TERMS))  # noqa: B023
        life.recorder.price_terms("v4", b"four")
        assert await life.recorder.drain(GUARD_S)
        assert life.booked(TERMS) == ["v1 one", "v2 it", "v3 it", "v4 four"]


@pytest.mark.parametrize(
    "place",
    ["ledger.book.before", "ledger.book.inside", "ledger.book.after", "recorder.batch.after"],
)
async def test_prices_come_with_the_first_record_that_pins_them_or_before(
    tmp_path: Path, place: str
) -> None:
    async with living(tmp_path, failpoints=f"{place}=raise@1") as life:
        life.recorder.price_terms("v1", b"one")
        life.end(0, price_version="v1")
        unexplained = "SELECT count(*) FROM records WHERE price_version NOT IN (SELECT version FROM price_versions)"
        while not life.booked():
            assert life.booked(unexplained) == [0]
            await asyncio.sleep(0.001)
        assert life.booked(unexplained) == [0]
        assert await life.recorder.drain(GUARD_S)
        assert (life.booked(), life.booked(TERMS), life.recorder.failures) == (
            ids(0),
            ["v1 one"],
            1,
        )


async def test_a_drain_waits_for_refusals_on_their_way_too(tmp_path: Path) -> None:
    async with living(tmp_path, failpoints="ledger.book.inside=raise") as life:
        life.recorder.refused("alice", "rate_limit_exceeded", START_MS)
        await until(lambda: life.recorder.failures > 0)
        assert not await life.recorder.drain(0.01)


async def test_the_backlog_of_an_earlier_life_is_seen_while_it_cannot_be_booked(
    tmp_path: Path,
) -> None:
    async with living(tmp_path, booking=False) as life:
        life.end(0, 1, 2)
    async with living(tmp_path, failpoints="ledger.book.inside=raise") as life:
        await until(lambda: life.recorder.failures > 0)
        assert life.recorder.backlog == 3
        assert life.recorder.lag_s > 0


async def test_a_journal_file_that_cannot_be_read_is_tried_again_and_nothing_before_it_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.journal.unbooked.RECORDS_MAX", 0)  # the files are read
    async with living(tmp_path, options=SMALL) as life:
        numbers = range(SEGMENT_BYTES_MIN // 500)
        life.end(*numbers[:3])
        assert await life.recorder.drain(GUARD_S)
        life.end(*numbers[3:])
        second = [
            path
            for path in sorted(life.journal.directory.glob("*.seg"))
            if path.read_bytes().strip(b"\0")
        ][1]
        aside = second.rename(second.with_suffix(".away"))
        second.symlink_to(second.name)  # a file that no one can open
        await until(lambda: life.recorder.failures > 0)
        aside.rename(second)
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(*numbers)


async def test_the_prices_of_an_alias_that_is_gone_are_booked_before_a_record_pins_them(
    tmp_path: Path,
) -> None:
    alias = msgspec.structs.replace(opening(0), model_requested="fast", model_sent="deepseek-v3.2")
    async with living(tmp_path) as life:
        life.journal.open(alias)
    async with living(tmp_path, booking=False) as life:  # dies again before it books the record
        assert life.booked("SELECT count(*) FROM records") == [0]
        [version] = life.booked("SELECT version FROM price_versions")
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
        query = "SELECT model_requested || ' ' || cost_nano || ' ' || price_version FROM records"
        assert life.booked(query) == [f"fast 20000 {version}"]


async def test_what_a_dead_process_left_open_is_charged_once(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.journal.open(opening(0))
        life.journal.mark(Marked(id=make_id(0), output_tokens=512))
        life.journal.open(opening(1))
        life.end(2)
    for n in range(2):  # dies again before it could book what it recovered
        async with living(tmp_path, booking=False) as life:
            series = life.metrics.render().decode()
            assert ("tollkeeper_recovered_total 2" in series) is (n == 0)
            assert ('outcome="interrupted"' in series) is (n == 0)
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
        found = life.booked(
            "SELECT id || ' ' || origin || ' ' || outcome || ' ' || input_tokens || ' ' || output_tokens || ' ' || ifnull(cost_nano, '-') FROM records ORDER BY id"
        )
    recovered = [
        f"{make_id(0)} recovery interrupted 40 512 1044000",
        f"{make_id(1)} recovery interrupted 40 0 20000",
    ]
    assert found == [*recovered, f"{make_id(2)} proxy completed 100 20 -"]
    assert life.booked("SELECT count(*) FROM records WHERE kind = 'adjustment'") == [0]


async def test_salts_are_there_before_their_records(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        stored = life.end_users.hash("someone")
        life.end(0, end_user=stored)
        await until(lambda: life.booked() == ids(0))
        salts = await life.ledger.salts()
    async with living(tmp_path) as life:
        assert life.end_users.hash("someone") == stored
        assert await life.ledger.salts() == salts


async def test_refusals_are_stored_by_key_reason_and_quarter_hour(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        for key_id, code, now_ms in [
            ("alice", "a", 0),
            ("alice", "a", REFUSAL_BUCKET_MS - 1),
            ("alice", "a", REFUSAL_BUCKET_MS),
            ("bob", "a", 0),
            (None, "b", 0),
        ]:
            life.recorder.refused(key_id, code, now_ms)
        assert await life.recorder.drain(GUARD_S)
        life.recorder.refused("alice", "a", 5)
        assert await life.recorder.drain(GUARD_S)
        query = "SELECT bucket_ms || ' ' || ifnull(key_id, '-') || ' ' || code || ' ' || count FROM refusals ORDER BY bucket_ms, key_id IS NULL, key_id"
        assert life.booked(query) == [
            "0 alice a 3",
            "0 bob a 1",
            "0 - b 1",
            f"{REFUSAL_BUCKET_MS} alice a 1",
        ]


async def test_made_up_keys_do_not_fill_the_memory_while_the_ledger_is_away(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        for n in range(REFUSAL_GROUPS_MAX + 500):
            life.recorder.refused(f"fwd-{n}", "a", 0)
        assert await life.recorder.drain(GUARD_S)
        assert life.booked("SELECT count(*) FROM refusals") == [REFUSAL_GROUPS_MAX + 1]
        assert life.booked("SELECT sum(count) FROM refusals") == [REFUSAL_GROUPS_MAX + 500]
        assert life.booked("SELECT count FROM refusals WHERE key_id IS NULL") == [500]


async def test_a_lost_ledger_is_rebuilt_from_the_journal(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.end(*range(100))
        await life.recorder.drain(GUARD_S)
    for path in tmp_path.glob("ledger.*"):
        path.unlink()
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(*range(100))


async def test_a_lost_journal_does_not_hide_the_next_records(tmp_path: Path) -> None:
    """A new journal that began at 1 again would be behind the position that the ledger knows, and
    passed over."""
    async with living(tmp_path) as life:
        life.end(*range(30))
        await life.recorder.drain(GUARD_S)
    shutil.rmtree(tmp_path / "journal")
    async with living(tmp_path) as life:
        life.end(30, 31)
        assert await life.recorder.drain(GUARD_S)
    assert life.booked() == ids(*range(32))


@pytest.mark.parametrize("damaged", [1, 2])
async def test_a_damaged_record_is_told_and_the_others_are_booked(
    damaged: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.journal.unbooked.RECORDS_MAX", 0)  # the files are read
    async with living(tmp_path, booking=False) as life:
        life.end(0, 1, 2)
        for segment in life.journal.directory.glob("*.seg"):
            content = segment.read_bytes()
            at = content.rfind(make_id(damaged).encode())
            if at >= 0:
                with segment.open("r+b") as file:
                    file.seek(at)
                    file.write(b"!")
        running = asyncio.create_task(life.recorder.run())
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(0, 3 - damaged)
        life.end(3)  # only behind it a damaged end is seen
        assert await life.recorder.drain(GUARD_S)
        running.cancel()
        await asyncio.wait([running])
    assert "1 records unreadable" in caplog.text or "1 entries missing" in caplog.text
    caplog.clear()
    async with living(tmp_path) as life:
        life.end(4)
        assert await life.recorder.drain(GUARD_S)
    assert "entries missing" not in caplog.text, "what is booked is not read again"


async def test_a_drain_gives_up_in_time_and_says_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with living(tmp_path, failpoints="ledger.book.before=raise") as life:
        life.end(0, 1)
        assert not await life.recorder.drain(0.05)
        assert "2 records are not booked yet" in caplog.text
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
    assert life.booked() == ids(0, 1)


DOOMED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_recorder import living

async def main():
    async with living(Path({directory!r}), failpoints={failpoints!r}) as life:
        n = 0
        while True:
            life.end(n)
            n += 1
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


@pytest.mark.whole
@pytest.mark.parametrize(
    "place",
    [
        "recorder.batch.before",
        "recorder.batch.after",
        "ledger.book.before",
        "ledger.book.inside",
        "ledger.book.after",
    ],
)
async def test_killed_at_each_step_of_booking(tmp_path: Path, place: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = DOOMED.format(
        tests=str(Path(__file__).parent), directory=str(tmp_path), failpoints=f"{place}=kill@3"
    )
    doomed = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environment)
    assert await doomed.wait() == -signal.SIGKILL
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
        closed = {record.id for _, record in reader_closes(life.journal)}
        assert sorted(life.booked()) == sorted(closed)
        assert life.booked("SELECT sum(requests) FROM rollups") == [len(closed)]
        assert life.booked("SELECT count(*) FROM records WHERE kind = 'adjustment'") == [0]


def reader_closes(journal: Journal) -> list[Any]:
    """Every close that the journal has."""
    reader = JournalReader(journal.directory)
    found = reader.closes(1_000_000, journal.position)
    reader.close()
    return found


FAULTS = st.sampled_from(
    [
        "",
        "recorder.batch.before=raise@2",
        "recorder.batch.after=raise@1",
        "ledger.book.inside=raise@2",
        "ledger.book.after=enospc@1",
        "journal.close.before=raise@3",
        "journal.sync.before=raise@2",
    ]
)
STEPS = st.lists(st.sampled_from(["end", "end many", "turn", "drain", "forget"]), max_size=12)
LIVES = st.lists(st.tuples(FAULTS, st.integers(0, 150), STEPS), min_size=1, max_size=3)


@pytest.mark.whole
@settings(max_examples=examples(60))
@given(lives=LIVES, given=st.lists(records(0), min_size=1, max_size=5))
def test_from_memory_and_from_the_files_the_book_is_the_same_to_the_byte(
    lives: list[tuple[str, int, list[str]]], given: list[UsageRecord]
) -> None:
    """Lives with faults and steps, in which memory holds few closes or many; the last one drains.

    The other book is made of what the files have.
    """
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        directory = Path(name)
        patch.setattr("proxy.ledger.sqlite._wall_clock_ms", lambda: START_MS + 5000)
        found = asyncio.run(_live(directory, lives, given, patch))
        with sqlite3.connect(directory / "ledger.db") as connection:
            booked = rows(connection, BOOK)
        connection.close()
        connection, booker = open_book(directory / "other.db")
        for start in range(0, len(found), 7):
            booker.book(Batch(writer="w0", closes=found[start : start + 7]))
        assert booked == rows(connection, BOOK)
        connection.close()
        assert verify_chain(directory / "ledger.db", None).problems == ()


BOOK = f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY seq"


async def _live(
    directory: Path,
    lives: list[tuple[str, int, list[str]]],
    given: list[UsageRecord],
    patch: pytest.MonkeyPatch,
) -> list[Close]:
    ended = 0
    for failpoints, records_max, steps in [*lives, ("", 0, ["drain"])]:
        patch.setattr("proxy.journal.unbooked.RECORDS_MAX", records_max)
        async with living(directory, failpoints=failpoints) as life:
            for step in steps:
                match step:
                    case "drain":
                        assert await life.recorder.drain(GUARD_S)
                    case "turn":
                        await asyncio.sleep(0)
                    case "forget":
                        life.journal.unbooked.skip(life.journal.position)
                    case _:
                        for _ in range(100 if step == "end many" else 3):
                            life.journal.open(opening(ended))
                            record = msgspec.structs.replace(
                                given[ended % len(given)], id=make_id(ended)
                            )
                            life.journal.close(record)
                            life.recorder.wake(record)
                            ended += 1
    reader = JournalReader(directory / "journal" / "w0")
    found = reader.closes(1_000_000, 1_000_000)
    reader.close()
    assert {record.id for _, record in found} == set(ids(*range(ended)))
    return found


async def test_an_outage_is_booked_from_the_files_and_then_memory_serves_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.journal.unbooked.RECORDS_MAX", 10)
    read: list[int] = []
    closes = JournalReader.closes

    def counted(reader: JournalReader, limit: int, upto_seq: int) -> list[Close]:
        found = closes(reader, limit, upto_seq)
        read.extend(seq for seq, _ in found)
        return found

    monkeypatch.setattr(JournalReader, "closes", counted)
    async with living(tmp_path) as life:
        life.end(*range(9))
        assert await life.recorder.drain(GUARD_S)
        assert read == [], "few wait: nothing is read back"
        life.end(*range(9, 150))
        assert await life.recorder.drain(GUARD_S)
        assert len(read) == 141
        life.end(150)
        assert await life.recorder.drain(GUARD_S)
        assert len(read) == 141
        assert life.booked() == ids(*range(151))


async def test_while_the_book_is_read_nothing_is_booked_and_what_it_lacks_is_told(
    tmp_path: Path,
) -> None:
    async with living(tmp_path, booking=False) as life:
        life.end(0, 1)
        async with life.recorder.paused() as ended:
            assert [entry.input_tokens for entry in ended] == [100, 100]
            booking = asyncio.create_task(life.recorder.run())
            life.end(2, input_tokens=7)
            await until(lambda: bool(life.recorder._in_hand))
            assert [entry.input_tokens for entry in ended] == [100, 100, 7]
            assert life.booked() == []
        assert await life.recorder.drain(GUARD_S)
        assert life.booked() == ids(0, 1, 2)
        async with life.recorder.paused() as ended:
            assert ended == []
        booking.cancel()
        await asyncio.wait([booking])


async def test_a_record_that_was_made_without_the_journal_is_corrected_by_it(
    tmp_path: Path,
) -> None:
    async with living(tmp_path) as life:
        life.journal.open(opening(1))
        forgotten = at_its_bound(opening(1), 900, "w0", 5, PRICES)
        await life.ledger.book(Batch("forgotten instances", [(0, forgotten)]))
    async with living(tmp_path) as life:
        assert await life.recorder.drain(GUARD_S)
        assert life.booked("SELECT kind || ' ' || origin || ' ' || output_tokens FROM records") == [
            "usage forgotten 900",
            "adjustment recovery -900",
        ]
