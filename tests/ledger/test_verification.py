"""The whole book is verified: a flipped bit anywhere is found, and nothing where nothing is."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.core.records.canonical import COLUMNS, seal
from proxy.core.records.chain import FINDINGS_MAX, row_text
from proxy.ledger import Batch, LedgerError, LedgerUnavailable
from proxy.ledger.reading import BookReader
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.closings import add
from proxy.ledger.verification import MONTH_HEADS, MONTHS, PARTS, BookVerified, VerifyStep, verify
from tests.ledger.contract.test_closings import audit, closed
from tests.ledger.samples import KEY, START_MS, make_record, numbered, open_book
from tests.ledger.whole_book import DAY_MS, forger_of, reader_of, seal_all, verified, whole_book
from tests.support.effort import examples

# What no chain, seal, digest or sum holds: docs/book.md says so.
NOT_HELD = {
    "records": (),
    "heads": ("key_name",),
    "rollups": (),
    "rollups_4h": (),
    "rollups_daily": (),
    "rollups_monthly": (),
    "rollup_groups": (),
    "teams_4h": (),
    "teams_daily": (),
    "teams_monthly": (),
    "rollup_teams": (),
    "grants": (),
    "credit_links": ("key_name",),
    "audit": ("key_name",),
    "price_versions": ("stored_at_ms",),
    "months": ("until_ms", "sealed_at_ms"),
    "statements": (),
    "served_models": (),
    "fold": (),
}
# Rows whose deletion nothing tells; docs/book.md says why.
DELETED_UNSEEN = {
    "heads": "seq < (SELECT max(seq) FROM heads)",
    "months": "seq = (SELECT max(seq) FROM months)",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = whole_book(tmp_path_factory.mktemp("sound"))
    assert len(seal_all(path)) == 2
    key_file, connection = path.with_name("ledger.key"), sqlite3.connect(path, isolation_level=None)
    first = closed(key_file)
    for one in (first, closed(key_file, 2, first.closing.digest, "research")):
        add(connection, KEY, one, audit(one))
    connection.close()
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(sound.parent, tmp_path, dirs_exist_ok=True)
    yield tmp_path / sound.name


def test_a_book_left_alone_is_sound_and_each_part_was_read(sound: Path) -> None:
    moved: list[int] = []
    found = verified(sound, moved.append)
    assert (found.found, found.findings, found.notes, found.through) == (0, [], [], 33)
    rows = {part.name: part.rows for part in found.parts}
    assert list(rows) == list(PARTS)
    assert rows == rows | {
        "records": 33, "credits": 3, "audit": 5, "statements": 2, "prices": 1, "rollups": 33, "months": 33, "indexes": 0
    }  # fmt: skip
    assert rows["wide"] > 30 and sum(moved) == sum(rows.values())
    seals = {part.name: part.seals for part in found.parts}
    assert (seals["records"], seals["credits"], seals["months"]) == (9, 4, 2)


def test_an_empty_book_is_sound(tmp_path: Path) -> None:
    connection, _ = open_book(tmp_path / "ledger.db")
    connection.close()
    assert verified(tmp_path / "ledger.db").found == 0


def flipped(value: object, bit: int) -> object:
    """The value with one bit changed; for an unknown one, a known one."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value ^ (1 << bit % 62)
    raw = bytearray(value.encode() if isinstance(value, str) else value)  # type: ignore[arg-type]
    if not raw:
        return "x"
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    return bytes(raw)


@settings(
    max_examples=examples(300),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_one_flipped_bit_is_found(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("flipped")
    shutil.copytree(sound.parent, directory, dirs_exist_ok=True)
    path = directory / sound.name
    forger = forger_of(path)
    table = data.draw(st.sampled_from(sorted(NOT_HELD)))
    columns = [row[1] for row in forger.execute(f"PRAGMA table_info({table})")]
    column = data.draw(st.sampled_from([c for c in columns if c not in NOT_HELD[table]]))
    stored = forger.execute(f"SELECT * FROM {table}").fetchall()
    row = dict(zip(columns, data.draw(st.sampled_from(stored)), strict=True))
    where = " AND ".join(f"{name} IS ?" for name in columns)
    new = flipped(row[column], data.draw(st.integers(0, 4000)))
    place = "CAST(? AS TEXT)" if isinstance(row[column], str) else "?"
    try:
        changed = forger.execute(
            f"UPDATE {table} SET {column} = {place} WHERE {where}", (new, *row.values())
        ).rowcount
    except sqlite3.IntegrityError:
        changed = 0
    forger.close()
    assume(changed == 1)
    found = verified(path)
    shutil.rmtree(directory)
    assert found.found > 0, (table, column, row[column], new)


@settings(
    max_examples=examples(80),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_one_deleted_row_is_found(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("deleted")
    shutil.copytree(sound.parent, directory, dirs_exist_ok=True)
    forger = forger_of(directory / sound.name)
    table = data.draw(st.sampled_from(sorted(NOT_HELD)))
    columns = [row[1] for row in forger.execute(f"PRAGMA table_info({table})")]
    told = f"SELECT * FROM {table} WHERE NOT ({DELETED_UNSEEN.get(table, '0')})"
    row = data.draw(st.sampled_from(forger.execute(told).fetchall()))
    where = " AND ".join(f"{name} IS ?" for name in columns)
    assert forger.execute(f"DELETE FROM {table} WHERE {where}", row).rowcount == 1
    forger.close()
    found = verified(directory / sound.name)
    shutil.rmtree(directory)
    assert found.found > 0, (table, row)


@pytest.mark.parametrize(
    ("forgery", "part", "first"),
    [
        (
            "UPDATE rollups SET charge_nano = charge_nano * 2 WHERE charge_nano = 33",
            "rollups",
            "charge_nano is 66 and must be 33",
        ),
        ("UPDATE rollups SET bucket_ms = 'x' WHERE rowid = 3", "rollups", "it is missing"),
        ("UPDATE rollups_4h SET bucket_ms = 'x' || bucket_ms", "rollups_4h", "it is missing"),
        ("UPDATE records SET started_at_ms = 'x' WHERE seq = 3", "rollups", "no record behind"),
        ("UPDATE records SET started_at_ms = 1.5 WHERE seq = 3", "records", "changed since"),
        ("UPDATE fold SET folded_until_ms = 'x'", "rollups_4h", "is no start of a quarter"),
        ("DELETE FROM rollups WHERE currency = 'CNY'", "rollups", "it is missing"),
        ("UPDATE rollups_daily SET requests = 9", "rollups_daily", "requests is 9 and must be"),
        ("UPDATE teams_4h SET requests = 9", "teams_4h", "requests is 9 and must be"),
        ("DELETE FROM teams_monthly", "teams_monthly", "it is missing"),
        ("DELETE FROM rollup_teams WHERE id = 1", "teams_4h", "belong to no group"),
        (
            "UPDATE rollups_4h SET cost_nano_high = cost_nano_high + 2147483648",
            "rollups_4h",
            "cost_nano is 92233720368",
        ),
        ("DELETE FROM rollups_4h", "rollups_4h", "it is missing"),
        ("UPDATE rollups_monthly SET searches = NULL", "rollups_monthly", "searches is unknown"),
        ("DELETE FROM rollup_groups WHERE id = 1", "rollups_4h", "belong to no group"),
        (
            "UPDATE fold SET folded_until_ms = folded_until_ms + 1",
            "rollups_4h",
            "is no start of a quarter hour",
        ),
        ("UPDATE fold SET folded_until_ms = 0", "rollups_4h", "there is no record behind it"),
        ("DELETE FROM records WHERE seq = 7", "records", "record seq 8 id"),
        ("DELETE FROM grants WHERE id = 'c1'", "credits", "changed"),
        ("DELETE FROM audit WHERE seq = 2", "audit", "entries between are missing"),
        ("DELETE FROM statements WHERE seq = 1", "statements", "statement 0 are missing"),
        ("UPDATE statements SET document = x'7b7d' WHERE seq = 2", "statements", "cannot be read"),
        ("UPDATE price_versions SET terms = x'00'", "prices", "its terms were changed"),
        ("DELETE FROM served_models", "prices", "strict limits do not know it"),
        ("DELETE FROM price_versions", "prices", "its terms are missing, and records are priced"),
    ],
)
def test_a_forgery_is_told_in_its_part(path: Path, forgery: str, part: str, first: str) -> None:
    forger = forger_of(path)
    assert forger.execute(forgery).rowcount > 0
    forger.close()
    told = [finding.what for finding in verified(path).findings if finding.part == part]
    assert any(first in what for what in told), told


def test_the_first_bad_record_is_the_first_finding(path: Path) -> None:
    forger = forger_of(path)
    forger.execute("UPDATE records SET output_tokens = 1 WHERE seq IN (9, 4, 20)")
    forger.close()
    first = verified(path).findings[0]
    assert (first.part, first.seq, first.id) == ("records", 4, make_record(3).id)
    assert first.what == f"record seq 4 id {first.id!r}: changed since it was booked"


def test_a_book_whose_seals_are_all_of_another_key_is_told(path: Path) -> None:
    """Without the key, a person can hash all rows anew and say that another key sealed them."""
    forger = forger_of(path)
    forger.execute("UPDATE heads SET key_name = '0000000000000000'")
    forger.close()
    found = verified(path)
    [finding] = found.findings
    assert (finding.part, found.found) == ("records", 1)
    assert "no seal was made with the key in" in finding.what
    path.with_name("ledger.key").unlink()  # without a key no seal can be checked
    assert verified(path).found == 0


def test_a_first_month_that_was_taken_away_is_told(path: Path) -> None:
    forger = forger_of(path)
    forger.execute("DELETE FROM months WHERE seq = (SELECT min(seq) FROM months)")
    forger.close()
    [finding] = verified(path).findings
    assert "does not begin behind seq 0" in finding.what


def test_a_month_whose_chain_was_made_anew_with_the_ledgers_key_is_told(path: Path) -> None:
    """The chain and the seals are whole again, and only the signed root knows better."""
    forger = forger_of(path)
    names = ", ".join(COLUMNS)
    forger.execute("UPDATE records SET finish_reason = 'forged' WHERE seq = 30")
    (last,) = forger.execute("SELECT hash FROM records WHERE seq = 29").fetchone()
    for row in forger.execute(f"SELECT {names} FROM records WHERE seq >= 30").fetchall():
        stored = dict(zip(COLUMNS, row, strict=True)) | {"prev_hash": last}
        text = row_text(stored)
        assert text is not None
        prev, last = last, hashlib.sha256(last + text).digest()
        seq = stored["seq"]
        forger.execute(
            "UPDATE records SET prev_hash = ?, hash = ? WHERE seq = ?", (prev, last, seq)
        )
        heads = forger.execute("SELECT booked_at_ms FROM heads WHERE seq = ?", (seq,)).fetchall()
        for (at_ms,) in heads:
            sealed = (last, seal(KEY, seq, at_ms, last), seq)
            forger.execute("UPDATE heads SET hash = ?, seal = ? WHERE seq = ?", sealed)
    forger.close()
    [finding] = verified(path).findings
    assert (finding.part, finding.seq) == ("months", 33)
    assert "the records 25 to 33 are not those sealed" in finding.what


def test_a_row_that_an_index_lost_is_found(path: Path) -> None:
    forger = forger_of(path)
    forger.execute("PRAGMA writable_schema = ON")
    # An index over other rows than it says: reads by key miss some.
    forger.execute("DROP INDEX records_adjusts")
    forger.execute("CREATE INDEX records_adjusts ON records (adjusts) WHERE adjusts = 'none'")
    forger.execute(
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX records_adjusts ON records (adjusts)"
        " WHERE adjusts IS NOT NULL' WHERE name = 'records_adjusts'"
    )
    forger.close()
    told = [finding.what for finding in verified(path).findings if finding.part == "indexes"]
    assert told and told[0].startswith("records: ") and "records_adjusts" in told[0]


def test_a_damaged_page_is_told_and_no_error(path: Path) -> None:
    forger = sqlite3.connect(path)
    (page,) = forger.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'audit'").fetchone()
    (size,) = forger.execute("PRAGMA page_size").fetchone()
    forger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    forger.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 8)
    found = verified(path)
    assert {finding.part for finding in found.findings} == {"audit", "statements", "indexes"}
    assert "the file is damaged here" in found.findings[0].what


def test_a_damaged_schema_is_an_error_with_a_reason(path: Path) -> None:
    """SQLite quotes the damaged text in its message, which Python cannot read as text."""
    forger = sqlite3.connect(path)
    forger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    forger.close()
    raw = path.read_bytes()
    assert raw.count(b"CREATE TABLE audit") == 1
    path.write_bytes(raw.replace(b"CREATE TABLE audit", b"CREATE TABL\xd4 audit"))
    with pytest.raises(LedgerUnavailable, match="cannot read"):
        verified(path)


def test_text_that_sqlite_and_json_write_otherwise_is_no_finding(tmp_path: Path) -> None:
    """Control characters, NUL among them, and what JSON need not escape."""
    connection, book = open_book(tmp_path / "ledger.db")
    odd = ["".join(map(chr, range(32))), "\x7f\x80\u2028\ufeff\U0001f600", '"\\/', "a\0b", ""]
    texts = [make_record(n, finish_reason=text, tags={"t": text}) for n, text in enumerate(odd)]
    book.book(Batch("w0", numbered(*texts)))
    connection.close()
    (tmp_path / "ledger.key").write_text(KEY.hex())
    assert verified(tmp_path / "ledger.db").found == 0


def test_what_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="tollkeeper serve"):
        verified(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").write_bytes(b"no database at all, but a text " * 99)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        verified(tmp_path / "ledger.db")


def test_the_last_record_taken_out_with_its_seal_is_seen_in_the_rollups_alone(path: Path) -> None:
    forger = forger_of(path)
    forger.execute("DELETE FROM records WHERE seq = 33")
    assert "the rows it covers are missing" in verified(path).findings[0].what
    forger.execute("DELETE FROM heads WHERE seq = 33")
    forger.close()
    parts = {finding.part for finding in verified(path).findings}
    assert "rollups" in parts and "records" not in parts


@pytest.mark.parametrize("part", PARTS)
def test_a_book_that_is_written_meanwhile_is_sound(
    path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch comes between any two steps, some of them late, some with prices for earlier ones."""
    monkeypatch.setattr("proxy.ledger.sqlite.verify.STEP_ROWS", 5)
    writing = sqlite3.connect(path, isolation_level=None)
    book = Booker(writing, KEY, lambda: START_MS + 60 * DAY_MS)
    reader, place, booked, steps = reader_of(path), None, 100, 0
    while steps == 0 or place is not None:
        found = reader.verify_step(part, place, path.parent / "ledger.key")
        assert not found.findings
        steps, place = steps + 1, found.next
        if steps < 40:
            booked += 2
            at_ms = START_MS + booked % 7 * 6 * DAY_MS
            new = make_record(booked, started_at_ms=at_ms)
            late = {"adjusts": new.id, "started_at_ms": at_ms, "currency": "USD"}
            priced = make_record(booked + 1, kind="adjustment", cost_nano=5, **late)
            book.book(Batch("w0", numbered(new, after=booked)))
            book.adjust([priced])
    writing.close()
    assert verified(path).found == 0


def test_sums_beyond_63_bits_are_no_finding(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    for start in range(0, 192, 64):
        huge = [
            make_record(start + n, cost_nano=2**56, charge_nano=-(2**56), currency="VND")
            for n in range(64)
        ]
        book.book(Batch("w0", numbered(*huge, after=start)))
    connection.close()
    (tmp_path / "ledger.key").write_text(KEY.hex())
    assert verified(tmp_path / "ledger.db").found == 0


class Endless:
    """A reader whose every step finds more than the list holds, and which breaks in one part."""

    name = "endless"

    def __init__(self, breaks: str) -> None:
        self.breaks = breaks
        self.steps = threading.Semaphore(0)

    def head(self) -> int:
        return 0

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
        if part == self.breaks:
            raise LedgerUnavailable("gone")
        return VerifyStep(next="more")


# The months are asked for behind the records, which never end here.
@pytest.mark.parametrize("breaks", [PARTS[0], *PARTS[2:4]])
def test_an_error_in_one_part_ends_the_others(breaks: str) -> None:
    with pytest.raises(LedgerUnavailable, match="gone"):
        verify(Endless(breaks), None)


def test_the_list_of_findings_is_bounded_and_their_number_told(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    for start in range(0, 192, 64):
        book.book(Batch("w0", numbered(*(make_record(start + n) for n in range(64)))))
    connection.execute("DROP TRIGGER records_no_update")
    connection.execute("UPDATE records SET bytes_in = 0")
    connection.close()
    (tmp_path / "ledger.key").write_text(KEY.hex())
    found = verified(tmp_path / "ledger.db")
    assert (len(found.findings), found.found) == (FINDINGS_MAX, 192)


class Noted:
    """A reader that notes what it is asked."""

    def __init__(self, reader: BookReader) -> None:
        self._reader = reader
        self.name = reader.name
        self.asked: list[tuple[str, str | None]] = []

    def head(self) -> int:
        return self._reader.head()

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
        self.asked.append((part, place))
        return self._reader.verify_step(part, place, key_file)

    def months(self) -> list[str | None]:
        """Where the walk over the months stood, step by step."""
        return [place for part, place in self.asked if part == MONTHS]


def noted(path: Path, parts: tuple[str, ...] = PARTS) -> tuple[Noted, BookVerified]:
    reader = Noted(reader_of(path))
    return reader, verify(reader, path.with_name("ledger.key"), parts=parts)


@pytest.mark.parametrize("chunk", [4, 4096])
def test_chunks_of_sealed_months_are_seen_by_the_walk_over_the_records(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.ledger.months.CHUNK", chunk)
    path = whole_book(tmp_path)
    assert len(seal_all(path)) == 2
    reader, found = noted(path)
    assert reader.months()[0] == MONTH_HEADS and len(reader.months()) == 3
    assert found.found == 0
    rows = {part.name: (part.rows, part.seals) for part in found.parts}
    assert rows["months"] == (33, 2)
    alone, found = noted(path, (MONTHS,))
    assert alone.months()[0] is None and (found.parts[0].rows, found.parts[0].seals) == (33, 2)


@pytest.mark.parametrize(
    ("forgery", "what"),
    [
        ("UPDATE months SET chunks = zeroblob(length(chunks))", "are not those sealed"),
        ("UPDATE months SET first_seq = first_seq + 1 WHERE first_seq > 1", "are not those sealed"),
        (
            "UPDATE months SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM months)",
            "says something else",
        ),
        ("UPDATE records SET team = 'x' WHERE seq = 2", "seq 2 is missing or was changed"),
        ("DELETE FROM months WHERE seq = (SELECT min(seq) FROM months)", "does not begin behind"),
        ("UPDATE months SET checkpoint = 'x'", "its checkpoint says something else"),
    ],
)
def test_where_the_walk_over_the_records_did_not_see_all_chunks_the_months_are_walked_over(
    path: Path, forgery: str, what: str
) -> None:
    forger = forger_of(path)
    forger.execute(forgery)
    forger.close()
    reader, found = noted(path)
    assert None in reader.months()
    told = [finding for finding in found.findings if finding.part == MONTHS]
    assert any(what in finding.what for finding in told), told
    assert told == list(noted(path, (MONTHS,))[1].findings)
