"""The ledger as a process uses it: opened, booked into, and with its server gone and back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.limits.credit import Credit
from proxy.core.managed import Audit, Managed, TenantChange, TenantKind
from proxy.core.notices.notice import Claim, Notice
from proxy.core.usage import Source, UsageRecord
from proxy.ledger import Batch, Booked, Ledger, LedgerError, LedgerUnavailable, backend_of
from proxy.ledger.postgresql import PostgresLedger, connect
from tests.ledger.postgresql.books import books, key_file
from tests.ledger.postgresql.shim import Shim
from tests.ledger.postgresql.test_booking import whole_chains
from tests.ledger.samples import START_MS, make_id, make_record, numbered
from tests.support.postgres import PostgresServer, postgres, programs
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole  # a server of its own


@contextlib.asynccontextmanager
async def opened(url: str, directory: Path) -> AsyncIterator[PostgresLedger]:
    ledger = await connect(url, directory, key_file(directory))
    assert isinstance(ledger, PostgresLedger)
    try:
        yield ledger
    finally:
        await ledger.aclose()


async def persist(ledger: Ledger, batch: Batch) -> Booked:
    """Book as the recorder does: the same batch until it is taken."""
    async with guard():
        while True:
            try:
                return await ledger.book(batch)
            except LedgerUnavailable:
                await asyncio.sleep(0.01)


def made(n: int, size: int = 16, writer: int = 0) -> Batch:
    first = writer * 100_000 + n * size
    several = [
        make_record(first + k, key_id=f"k{k % 5}", started_at_ms=START_MS + first * 100)
        for k in range(size)
    ]
    return Batch(f"w{writer}", numbered(*several, after=n * size))


async def test_a_process_finds_again_what_it_has_put_there(tmp_path: Path) -> None:
    url = postgres().database()
    credit = Credit("c", "limit", 5, 6)
    row = Managed(kind=TenantKind.KEY, name="alice")
    deed = Audit(at_ms=1, actor="ops", origin="o", action="create", kind="key", name="alice")
    notice = Notice(event="limit_near", at_ms=1, subject="s", title="t")
    claim = Claim(receiver="r", message_id="m", notice=notice)
    async with opened(url, tmp_path) as ledger:
        assert ledger.batch_max == 256
        assert await ledger.position("w0") == 0
        await ledger.book(Batch("w0", numbered(make_record(0)), salts=[("a", b"s")]))
        await ledger.adjust([make_record(1, kind="adjustment", adjusts=make_id(0))])
        await ledger.credit(credit)
        await ledger.change(TenantChange((row,), (deed,)))
        assert await ledger.claim_notices([claim], 5) == [claim]
    async with opened(url, tmp_path) as ledger:
        assert await ledger.position("w0") == 1
        assert await ledger.salts() == {"a": b"s"}
        assert await ledger.stored([make_id(0)]) == {make_id(0): make_record(0)}
        assert await ledger.credits() == [credit]
        assert await ledger.tenants() == [row]
        assert await ledger.unsent_notices(5) == [claim]
        await ledger.notices_sent(["m"])
        assert await ledger.unsent_notices(5) == []


async def test_a_book_with_seals_misses_its_key(tmp_path: Path) -> None:
    url = postgres().database()
    async with opened(url, tmp_path) as ledger:
        await ledger.book(Batch("w0", numbered(make_record(0))))
    (tmp_path / "ledger.key").unlink()
    with pytest.raises(LedgerError, match=r"restore .*ledger\.key from a backup"):
        await connect(url, tmp_path)


async def test_a_key_is_made_for_a_new_book(tmp_path: Path) -> None:
    ledger = await connect(postgres().database(), tmp_path)
    await ledger.aclose()
    assert (tmp_path / "ledger.key").stat().st_mode & 0o777 == 0o600


async def test_a_second_process_without_the_key_is_told_to_copy_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nothing is booked yet: both would make one, and know end users by two names."""
    url = postgres().database()
    several = [tmp_path / name for name in ("one", "two")]
    for one in several:
        one.mkdir()
    began = await asyncio.gather(*(connect(url, one) for one in several), return_exceptions=True)
    [ledger] = [one for one in began if not isinstance(one, BaseException)]
    [refused] = [one for one in began if isinstance(one, BaseException)]
    await ledger.aclose()
    assert "copy it from another process" in str(refused)
    [key] = tmp_path.glob("*/ledger.key")
    [missing] = [one for one in several if not (one / "ledger.key").exists()]
    (missing / "ledger.key").write_text("00" * 32)
    await (await connect(url, missing)).aclose()
    assert "was sealed last with another key than" in caplog.text
    caplog.clear()
    shutil.copy(key, missing)
    await (await connect(url, missing)).aclose()
    assert caplog.text == ""


async def test_a_server_that_is_away_at_the_start_is_told(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        url = f"postgresql://app:geheim@127.0.0.1:{held.getsockname()[1]}/tk"
        with pytest.raises(LedgerUnavailable, match="refused") as away:
            await connect(url, tmp_path)
    assert "geheim" not in str(away.value)


@pytest.mark.parametrize(
    "url", ["postgresql://app:geh@eim@db/tk", "postgresql://app:geheim@db/tk?x=1"]
)
async def test_a_wrong_url_is_told_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"ledger\.url") as wrong:
        await connect(url, tmp_path)
    assert "geh" not in str(wrong.value) and "eim" not in str(wrong.value)


def test_another_kind_of_url_is_told_without_its_password() -> None:
    with pytest.raises(LedgerError, match=r"postgres://app:\*\*\*@db.*postgresql://USER") as wrong:
        backend_of("postgres://app:geheim@db/tk", "connect")
    assert "geheim" not in str(wrong.value)


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: str) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr("proxy.ledger.backend", missing)
    with pytest.raises(LedgerError, match=r"pip install 'tollkeeper\[postgres\]'"):
        backend_of("postgresql://db/tk", "connect")


async def test_while_a_process_runs_nothing_is_hopeless(tmp_path: Path) -> None:
    """A right that was taken away can be given back: the recorder tries on."""
    url = postgres().database()
    async with opened(url, tmp_path) as ledger:
        database = url.rpartition("/")[2]
        postgres().sql("ALTER TABLE heads RENAME TO gone", database)
        with pytest.raises(LedgerUnavailable, match="heads"):
            await ledger.book(Batch("w0", numbered(make_record(0))))
        postgres().sql("ALTER TABLE gone RENAME TO heads", database)
        assert await ledger.book(Batch("w0", numbered(make_record(0)))) == Booked(1, 0, 0)


async def test_a_server_killed_under_load_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    server = PostgresServer(programs())
    url = server.url()
    booked = [0, 0, 0]

    async def write(writer: int) -> None:
        async with opened(url, tmp_path) as ledger:
            for n in range(60):
                await persist(ledger, made(n, writer=writer))
                booked[writer] += 1
            assert await ledger.position(f"w{writer}") == 60 * 16

    try:
        async with asyncio.TaskGroup() as group:
            for writer in range(3):
                group.create_task(write(writer))
            for done in (10, 25, 40):
                await until(lambda done=done: min(booked) >= done)  # type: ignore[misc]
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
        with books(url) as book:
            assert whole_chains(book) == 3 * 60 * 16
            book.agree()
            assert book.rows("SELECT sum(requests) FROM rollups") == [(3 * 60 * 16,)]
    finally:
        server.remove()


@pytest.mark.parametrize("way", ["answer", "request"])
async def test_a_commit_whose_answer_is_lost_counts_once(tmp_path: Path, way: str) -> None:
    """The connection breaks behind the server's commit, or before it: the process cannot know."""
    url = postgres().database()
    async with Shim(postgres().port) as shim:
        through = postgres().url(url.rpartition("/")[2], port=shim.port)
        async with opened(through, tmp_path) as ledger:
            for n in range(5):
                shim.lose_commit(way)
                with pytest.raises(LedgerUnavailable):
                    await ledger.book(made(n))
                assert await persist(ledger, made_again := made(n)) == (
                    Booked(0, 16, 0) if way == "answer" else Booked(16, 0, 0)
                ), made_again.position
        with books(url) as book:
            assert whole_chains(book) == 80
            book.agree()


async def test_the_same_batch_is_recognised_when_its_answer_was_lost(tmp_path: Path) -> None:
    url = postgres().database()
    async with Shim(postgres().port) as shim:
        through = postgres().url(url.rpartition("/")[2], port=shim.port)
        async with opened(through, tmp_path) as ledger:
            batch = made(0)
            shim.lose_commit("answer")
            with pytest.raises(LedgerUnavailable):
                await ledger.book(batch)
            assert await ledger.book(batch) == Booked(16, 0, 0)


@pytest.mark.parametrize(("way", "written"), [("answer", 1), ("request", 0)])
async def test_a_change_whose_answer_is_lost_is_looked_for(
    tmp_path: Path, way: str, written: int
) -> None:
    url = postgres().database()
    deed = Audit(at_ms=1, actor="ops", origin="o", action="create", kind="key", name="alice")
    what = TenantChange((Managed(kind=TenantKind.KEY, name="alice"),), (deed,))
    async with Shim(postgres().port) as shim:
        through = postgres().url(url.rpartition("/")[2], port=shim.port)
        async with opened(through, tmp_path) as ledger:
            shim.lose_commit(way)
            if written:
                await ledger.change(what)
            else:
                with pytest.raises(LedgerUnavailable):
                    await ledger.change(what)
            assert len(await ledger.tenants()) == written
        with books(url) as book:
            assert book.rows("SELECT count(*) FROM audit") == [(written,)]


async def test_a_server_that_goes_silent_is_given_up(tmp_path: Path) -> None:
    """Its connection stays open and gives no answer, as behind a balancer."""
    url = postgres().database()
    async with Shim(postgres().port) as shim:
        through = postgres().url(url.rpartition("/")[2], port=shim.port)
        async with opened(through, tmp_path) as ledger:
            ledger._worker._answer_max_s = 0.2
            shim.silent = True
            with pytest.raises(LedgerUnavailable):
                await ledger.book(made(0))
            shim.silent = False
            ledger._worker._answer_max_s = 60.0
            await persist(ledger, made(0))
        with books(url) as book:
            assert whole_chains(book) == 16


async def test_a_weak_record_corrects_nothing_through_the_whole_way(tmp_path: Path) -> None:
    weak: UsageRecord = make_record(0, source=Source.ESTIMATED, output_tokens=999)
    async with opened(postgres().database(), tmp_path) as ledger:
        await ledger.book(Batch("w0", numbered(make_record(0))))
        assert await ledger.book(Batch("w0", numbered(weak, after=1))) == Booked(0, 1, 0)
