"""`tollkeeper ledger archive`, with a process and without one, and records that are archived."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from proxy.cli import admin_client
from proxy.config.loader import load
from proxy.core.usage import UsageRecord
from proxy.ledger import connect
from tests.accounting.archiving.years import PRICED, old_ledger, old_shared_ledger
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.ledger.postgresql.books import books
from tests.ledger.samples import make_id, make_record
from tests.notify.receiver import hook
from tests.support.postgres import postgres

Call = Callable[..., Result]
ARCHIVE = ("ledger", "archive", "--before", "2026-03", "--to", "archive")
FORCE = ("--force", "unclosed")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.whole)])
def old(home: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A config whose ledger has months of long ago, in a file or shared by several processes."""
    (home / "archive").mkdir()
    if request.param == "sqlite":
        old_ledger(home / "var")
        yield home
        return
    with books() as book:
        old_shared_ledger(home / "var", book)
        config = (home / "config.yaml").read_text()
        (home / "config.yaml").write_text(f"{config}ledger: {{url: '{book.url}'}}\n")
        yield home


def used(call: Call) -> list[str]:
    return [
        call("usage", "--json", *words).stdout
        for words in ((), ("--by", "month,team"), ("--month", "2026-02"), ("--by", "day,key"))
    ]


def test_months_leave_the_book_and_what_was_used_stays(call: Call, old: Path) -> None:
    before = used(call)
    result = call(*ARCHIVE, "--dry-run")
    assert result.exit_code == 0 and result.stdout.count("no closed statement") == 2
    assert not list((old / "archive").iterdir())
    result = call(*ARCHIVE, "--yes")
    assert result.exit_code == 1 and "2026-01 stays: no closed statement" in result.stderr
    assert call(*ARCHIVE, *FORCE, piped="n\n").exit_code == 1
    result = call(*ARCHIVE, *FORCE, "--yes")
    assert result.exit_code == 0, result.output
    assert "2026-01: 5 records are in archive/ledger-2026-01.parquet" in result.stdout
    assert used(call) == before
    assert call("ledger", "verify").exit_code == 0
    assert json.loads(call("ledger", "status", "--json").stdout)["ledger"]["first_seq"] == 11
    assert call("ledger", "rebuild", "--yes").exit_code == 0 and used(call) == before
    assert "ledger.archive" in call("audit", "list").stdout
    result = call(*ARCHIVE, *FORCE, "--yes")
    assert "No sealed month before that is in the ledger" in result.stdout


def test_an_archived_record_is_shown_and_proved_from_its_file(call: Call, old: Path) -> None:
    id = make_id(7)
    before = json.loads(call("record", "show", id, "--json").stdout)
    proof = call("record", "proof", id).stdout
    call(*ARCHIVE, *FORCE, "--yes")
    result = call("record", "show", id)
    assert result.exit_code == 1 and "ledger-2026-02.parquet: name" in result.stderr, result.output
    result = call("record", "show", id, "--json", "--archive", "archive")
    assert result.exit_code == 0, result.output
    before.pop("explanation")
    assert json.loads(result.stdout) == before
    assert f"Record {id}" in call("record", "show", id, "--archive", "archive").stdout
    assert call("record", "proof", id, "--archive", "archive").stdout == proof
    assert call("record", "proof", id).exit_code == 1
    assert call("record", "show", "nobody", "--archive", "archive").exit_code == 1
    (old / "archive" / "ledger-2026-02.parquet").write_text("another")
    result = call("record", "show", id, "--archive", "archive")
    assert result.exit_code == 1 and "is not the file that the ledger named" in result.stderr


def test_an_archived_record_is_shown_with_what_was_booked_for_it_later(
    call: Call, old: Path
) -> None:
    """Its price may have come in a month that is still in the ledger."""
    id = make_id(7)
    late = make_record(90, kind="adjustment", adjusts=id, reason="late price", **PRICED)
    asyncio.run(adjust(old, late))
    before = json.loads(call("record", "show", id, "--json").stdout)
    assert [one["reason"] for one in before["adjustments"]] == ["late price"]
    call(*ARCHIVE, *FORCE, "--yes")
    found = json.loads(call("record", "show", id, "--json", "--archive", "archive").stdout)
    for one in (before, *before["adjustments"]):
        one.pop("explanation")
    assert found == before


async def adjust(home: Path, record: UsageRecord) -> None:
    ledger = await connect(load(home / "config.yaml", {}).settings.ledger.url, home / "var")
    await ledger.adjust([record])
    await ledger.aclose()


def test_what_needs_archived_records_says_where_they_are(call: Call, old: Path) -> None:
    call(*ARCHIVE, *FORCE, "--yes")
    for words in (
        ("ledger", "export"),
        ("ledger", "export", "--month", "2026-02", "--format", "csv"),
        ("usage", "--by", "end_user"),
        ("statement", "show", "2026-02"),
        ("price", "rerate", "--month", "2026-02", "--dry-run"),
    ):
        result = call(*words)
        assert result.exit_code == 1 and "ledger-2026-02.parquet" in result.output, (words, result)
    assert call("ledger", "export", "--after", "10").exit_code == 0
    assert call("usage", "--by", "end_user", "--month", "2026-03").exit_code == 0
    result = call("ledger", "push", "--url", "http://127.0.0.1:9/x", "--dry-run")
    assert result.exit_code == 1 and "are archived" in result.output
    result = call("ledger", "push", "--url", "http://127.0.0.1:9/", "--after", "10", "--dry-run")
    assert result.exit_code == 0


def test_a_closed_month_is_shown_after_its_records_are_archived(call: Call, old: Path) -> None:
    """And a closed statement is what lets a month be archived without force."""
    for month in ("2026-01", "2026-02", "2026-03"):
        result = call("statement", "close", month)
        assert result.exit_code == 0, result.output
    before = call("statement", "show", "2026-02")
    assert before.exit_code == 0, before.output
    result = call(*ARCHIVE, "--yes")
    assert result.exit_code == 0, result.output
    after = call("statement", "show", "2026-02")
    assert (after.exit_code, after.stdout) == (0, before.stdout), after.output
    assert "was not held against it" in after.stderr
    result = call("statement", "verify", "2026-02")
    assert result.exit_code == 0, result.output
    assert call("statement", "show", "2026-03").exit_code == 0
    result = call("statement", "close", "2026-11")
    assert "archived" not in result.output


@pytest.mark.parametrize("first", [False, True])
def test_months_that_were_archived_unclosed_keep_no_later_one_open(
    call: Call, old: Path, first: bool
) -> None:
    """Each of them was to be closed first, and could not be. With `first` one was closed before."""
    if first:
        assert call("statement", "close", "2026-01").exit_code == 0
    assert call(*ARCHIVE, *FORCE, "--yes").exit_code == 0
    result = call("statement", "close", "2026-02")
    assert result.exit_code == 1, result.output
    assert "records of 2026-02 were among those before" in result.output
    assert "usage --month 2026-02` has the sums. Later months can be closed" in result.output
    shown = call("statement", "show", "2026-03", "--json")
    assert shown.exit_code == 0, shown.output
    result = call("statement", "close", "2026-03", "--json")
    assert result.exit_code == 0, result.output
    closed = json.loads(result.stdout)
    assert closed["number"] == (2 if first else 1)
    kept = json.loads(call("statement", "show", "2026-03", "--json").stdout)
    assert kept["rows"] == json.loads(shown.stdout)["rows"]
    assert sum(int(row["requests"]) for row in kept["rows"] if row["row"] == "group") == 5
    assert kept["earlier"] == []
    assert call("statement", "verify", "2026-03").exit_code == 0
    assert call("ledger", "verify").exit_code == 0


async def test_a_receiver_that_has_all_of_an_archived_month_gets_what_comes_behind_it(
    call: Call, old: Path
) -> None:
    async with hook() as there:
        words = ("ledger", "push", "--url", there.url, "--json")

        async def push() -> Result:
            return await asyncio.to_thread(call, *words)

        assert json.loads((await push()).stdout)["last_seq"] == 16
        cursor = next((old / "var").glob("push-*.json"))
        for seq, expected in ((10, 6), (16, 0)):
            cursor.write_text(json.dumps({"seq": seq, "id": make_id(seq - 1)}))
            if seq == 10:
                assert (await asyncio.to_thread(call, *ARCHIVE, *FORCE, "--yes")).exit_code == 0
            assert json.loads((await push()).stdout)["events"] == expected
        cursor.write_text(json.dumps({"seq": 9, "id": make_id(8)}))
        result = await push()
        assert result.exit_code == 1 and "ledger-2026-02.parquet" in result.stderr


async def test_a_process_starts_with_limits_that_count_values_beside_a_total(
    tmp_path: Path,
) -> None:
    """Only limits of each value need records, and only those of their window."""
    limits = ["5_000_000 requests/total", "5 requests/day per end_user"]
    async with desk(tmp_path):
        pass
    for path in (tmp_path / "var").glob("ledger.*"):
        path.unlink()
    old_ledger(tmp_path / "var")
    (tmp_path / "archive").mkdir()
    words = (*ARCHIVE[:-1], str(tmp_path / "archive"), *FORCE, "--yes")
    assert (await called(tmp_path, *words)).exit_code == 0
    async with desk(tmp_path, limits=limits) as admin:
        assert await admin.call("sk-test") == (200, "")
        result = await called(tmp_path, "limit", "list", "--json")
        used = {row["id"]: row["used"] for row in json.loads(result.stdout)}
        assert used["proxy/requests/total"] == 17, used


async def test_a_running_process_takes_them_out(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    for path in (tmp_path / "var").glob("ledger.*"):
        path.unlink()
    old_ledger(tmp_path / "var")
    (tmp_path / "archive").mkdir()
    async with desk(tmp_path) as admin:
        words = (*ARCHIVE[:-1], str(tmp_path / "archive"), *FORCE, "--yes", "--json")
        result = await called(tmp_path, *words)
        assert result.exit_code == 0, result.output
        assert [one["month"] for one in json.loads(result.stdout)] == ["2026-01", "2026-02"]
        assert admin.proxy.query("SELECT min(seq) AS n FROM records") == [{"n": 11}]
        await admin.call("sk-test")
        await admin.proxy.records(7)
    async with desk(tmp_path):
        result = await called(tmp_path, "ledger", "verify")
        assert result.exit_code == 0, result.output


@pytest.mark.whole  # a server of its own
def test_who_only_books_names_a_role_that_may_delete(call: Call, home: Path) -> None:
    """And where the command was ended before all was deleted, the same again goes on."""
    (home / "archive").mkdir()
    with books() as book:
        old_shared_ledger(home / "var", book)
        database = book.url.rpartition("/")[2]
        postgres().sql("DROP ROLE IF EXISTS teller")
        postgres().sql("CREATE ROLE teller LOGIN")
        assert call("ledger", "migrate", "--url", book.url, "--allow", "teller").exit_code == 0
        config, as_teller = (home / "config.yaml").read_text(), postgres().url(database, "teller")
        (home / "config.yaml").write_text(f"{config}ledger: {{url: '{as_teller}'}}\n")
        result = call(*ARCHIVE, *FORCE, "--yes")
        assert result.exit_code == 1, result.output
        assert "2026-01 stays: the role teller only books" in result.stderr
        assert not list((home / "archive").iterdir())
        before = used(call)
        result = call(*ARCHIVE, *FORCE, "--yes", "--url", book.url)
        assert result.exit_code == 0 and "2026-02: 5 records" in result.stdout, result.output
        assert used(call) == before and call("ledger", "verify").exit_code == 0
        book.do(
            "INSERT INTO records SELECT * FROM (SELECT (jsonb_populate_record(r, "
            '\'{"id": "0", "chain_seq": 1, "head_seq": 3}\')).* FROM records AS r LIMIT 1) AS left_over'
        )
        assert call("ledger", "verify").exit_code == 0
        assert call(*ARCHIVE, *FORCE, "--yes", "--url", book.url).exit_code == 0
        assert book.rows("SELECT count(*) FROM records") == [(6,)]
        postgres().sql("DROP OWNED BY teller", database)


def test_wrong_words_are_refused(call: Call, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in ("2026", "2026-13", "2026-1", "next"):
        result = call("ledger", "archive", "--before", before, "--to", "archive")
        assert result.exit_code == 2, before
    assert call(*ARCHIVE, "--json").exit_code == 2
    assert call(*ARCHIVE[:-1], "nowhere").exit_code == 2
    assert call(*ARCHIVE, "--url", "sqlite:ledger.db").exit_code == 2
    (old / "config.yaml").write_text(
        (old / "config.yaml").read_text() + "ledger: {url: 'postgresql://u@127.0.0.1:9/x'}\n"
    )
    assert call(*ARCHIVE, "--dry-run").exit_code == 1
    monkeypatch.setenv(admin_client.URL, "http://127.0.0.1:9")
    assert "run it there" in call(*ARCHIVE, "--dry-run").stderr
