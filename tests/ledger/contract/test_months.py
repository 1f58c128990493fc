"""Months under signed roots in every kind of ledger: each once, proved, and told when changed."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from proxy.ledger import Batch, LedgerError, SealedMonth
from proxy.ledger.signing import FILE, month_signer
from proxy.ledger.verification import BookVerified, verify
from tests.ledger.ledgers import BookUnderTest, PostgresBook
from tests.ledger.samples import START_MS, make_id, make_record, numbered
from tests.ledger.sqlite.test_months import audited
from tests.ledger.whole_book import DAY_MS, forger_of

RECORDS = 30


@pytest.fixture(params=[4, 4096])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr("proxy.ledger.months.CHUNK", size)
    return size


@pytest.fixture
def forty_days(ledgers: BookUnderTest) -> BookUnderTest:
    """A book of two months: three records every fourth day."""
    for n in range(0, RECORDS, 3):
        records = [make_record(n + k, tags={"env": 'a"b\\\u2028é'}, searches=k) for k in range(3)]
        batch = Batch("w0", numbered(*records, after=n))
        ledgers.batch(batch, now_ms=START_MS + n // 3 * 4 * DAY_MS)
    return ledgers


async def sealed(
    book: BookUnderTest, monkeypatch: pytest.MonkeyPatch, days: int
) -> list[SealedMonth]:
    """What is sealed so many days after the beginning."""
    for database in ("sqlite", "postgresql"):
        monkeypatch.setattr(
            f"proxy.ledger.{database}._wall_clock_ms", lambda: START_MS + days * DAY_MS
        )
    ledger = await book.open()
    try:
        return await ledger.seal_months(UTC, book.directory / FILE)
    finally:
        await ledger.aclose()


def verified(book: BookUnderTest) -> BookVerified:
    return verify(book.reader(), book.key_file)


def forge(book: BookUnderTest, statement: str) -> None:
    """Change rows as one can who may write to the database and takes triggers out of the way."""
    if isinstance(book, PostgresBook):
        tables = ("records", "months")
        off = "; ".join(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables)
        book.books.do(f"{off}; {statement}")
    else:
        forger = forger_of(Path(book.name))
        assert forger.execute(statement).rowcount > 0
        forger.close()


async def test_each_month_that_is_over_is_sealed_once(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    assert await sealed(forty_days, monkeypatch, 5) == []
    [first] = await sealed(forty_days, monkeypatch, 31)
    assert (first.month, first.first_seq, first.last_seq) == ("2026-11", 1, 24)
    [second] = await sealed(forty_days, monkeypatch, 90)
    assert (second.month, second.first_seq, second.last_seq) == ("2026-12", 25, RECORDS)
    assert await sealed(forty_days, monkeypatch, 90) == []
    found = verified(forty_days)
    assert found.found == 0
    [part] = [part for part in found.parts if part.name == "months"]
    assert (part.rows, part.seals) == (RECORDS, 2)


async def test_a_key_that_is_gone_is_not_replaced_by_another_one(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each month that it had signed would be told as signed with another key, for ever."""
    assert not forty_days.reader().has_signatures()
    await sealed(forty_days, monkeypatch, 31)
    assert forty_days.reader().has_signatures()
    key = forty_days.directory / FILE
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(LedgerError, match=r"is missing: restore .*ed25519.pem from a backup"):
        await sealed(forty_days, monkeypatch, 90)
    assert not key.exists()
    key.write_bytes(kept)
    [second] = await sealed(forty_days, monkeypatch, 90)
    assert second.month == "2026-12" and not verified(forty_days).findings


async def test_an_auditor_accepts_the_proof_without_this_program(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    reader = forty_days.reader()
    assert reader.proof("none") is None
    with pytest.raises(LedgerError, match="tollkeeper ledger seal"):
        reader.proof(make_id(3))
    await sealed(forty_days, monkeypatch, 31)
    signer = month_signer(forty_days.directory / FILE, make=False)
    assert signer is not None
    proofs = [reader.proof(make_id(n)) for n in range(24)]
    assert [None if proof is None else proof.index for proof in proofs] == list(range(24))
    for n in (0, 17, 23):
        text = msgspec.json.encode(proofs[n])
        done = audited(text, signer.public_key, forty_days.directory)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[:2] == ["2026-11", make_id(n)]
    with pytest.raises(LedgerError, match="in no sealed month yet"):
        reader.proof(make_id(24))


async def test_no_changed_record_is_sealed_or_proved(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    await sealed(forty_days, monkeypatch, 31)
    changed = f"('{make_id(2)}', '{make_id(25)}')"
    forge(forty_days, f"UPDATE records SET team = 'x' WHERE id IN {changed}")
    with pytest.raises(LedgerError, match="seq 26 is missing or was changed"):
        await sealed(forty_days, monkeypatch, 90)
    with pytest.raises(LedgerError, match="seq 3 is missing or was changed"):
        forty_days.reader().proof(make_id(0))
    assert any("seq 3 is missing" in flaw.what for flaw in verified(forty_days).findings)


@pytest.mark.parametrize(
    ("forgery", "what"),
    [
        ("UPDATE months SET month = '2020-01'", "its checkpoint says something else"),
        ("UPDATE months SET checkpoint = 'x'", "its checkpoint says something else"),
        ("UPDATE months SET root = hash FROM records", "its root is not that of its records"),
        ("UPDATE months SET first_seq = 2", "are not those sealed"),
    ],
)
async def test_a_forged_month_is_told(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch, forgery: str, what: str
) -> None:
    await sealed(forty_days, monkeypatch, 31)
    forge(forty_days, forgery)
    told = [flaw.what for flaw in verified(forty_days).findings if flaw.part == "months"]
    assert any(what in line for line in told), told


async def test_a_clock_that_was_set_back_opens_no_month_again(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sealed(forty_days, monkeypatch, 90)
    for n, days in ((0, 0), (1, 80)):
        batch = Batch("w0", numbered(make_record(700 + n), after=RECORDS + n))
        forty_days.batch(batch, now_ms=START_MS + days * DAY_MS)
    [third] = await sealed(forty_days, monkeypatch, 200)
    assert (third.month, third.first_seq, third.last_seq) == ("2027-01", 31, 32)
    assert verified(forty_days).found == 0


async def test_a_clock_that_was_ahead_for_years_keeps_no_month_open_until_then(
    forty_days: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a battery may begin in another decade; then it learns the time."""
    for n, days in enumerate((38, 4000, 40, 41, 5000, 62, 6000)):
        batch = Batch("w0", numbered(make_record(700 + n), after=RECORDS + n))
        forty_days.batch(batch, now_ms=START_MS + days * DAY_MS)
    told = await sealed(forty_days, monkeypatch, 95)
    assert [(one.month, one.first_seq, one.last_seq) for one in told] == [
        ("2026-11", 1, 24),
        ("2026-12", 25, RECORDS + 4),
        ("2027-01", RECORDS + 5, RECORDS + 6),
    ]
    assert await sealed(forty_days, monkeypatch, 120) == []
    assert verified(forty_days).found == 0
