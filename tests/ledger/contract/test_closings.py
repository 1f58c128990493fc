"""Closed months in every kind of ledger: each once, in order, with its audit, and never changed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.core.managed import Audit, TenantChange
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.core.statements.frozen import digest, frozen
from proxy.ledger import LedgerOutdated, connect_reader
from proxy.ledger.closed import PART
from proxy.ledger.signing import FILE, month_signer
from proxy.ledger.verification import verify
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_record


def audit(of: ClosedStatement, name: str = "2026-11") -> Audit:
    return Audit(
        at_ms=START_MS,
        actor="ops",
        origin="socket",
        action="statement.close",
        kind="statement",
        name=name,
        after=msgspec.json.encode(of.closing).decode(),
    )


def closed(
    key_file: Path, number: int = 1, previous: str | None = None, team: str | None = None
) -> ClosedStatement:
    signer = month_signer(key_file.with_name(FILE), make=True)
    assert signer is not None
    said = {
        "month": f"2026-{number:02d}", "timezone": "UTC", "team": team, "from_ms": 1, "to_ms": 2,
        "through": 1, "closed_at_ms": START_MS, "closed_by": "ops", "previous": previous,
    }  # fmt: skip
    document = frozen({**said, "number": number})
    closing = Closing(
        number=number,
        month=f"2026-{number:02d}",
        zone="UTC",
        team=team,
        from_ms=1,
        to_ms=2,
        through=1,
        closed_at_ms=START_MS,
        closed_by="ops",
        digest=digest(document),
    )
    return ClosedStatement(
        closing=closing,
        document=document,
        public_key=signer.public_key,
        signature=signer.sign(document),
    )


def flaws(ledgers: BookUnderTest, *, key_file: Path | None = None) -> list[str]:
    found = verify(ledgers.reader(), key_file or ledgers.key_file, parts=[PART])
    return [flaw.what for flaw in found.findings]


async def test_what_is_stored_is_read_again_with_its_audit(ledgers: BookUnderTest) -> None:
    ledgers.book(make_record())
    assert not ledgers.reader().has_signatures()
    first = closed(ledgers.key_file)
    second = closed(ledgers.key_file, 2, first.closing.digest, "模型 'x'")
    ledger = await ledgers.open(ledgers.key_file)
    try:
        await ledger.close_month(first, audit(first))
        await ledger.close_month(second, audit(second, "2026-12 x"))
    finally:
        await ledger.aclose()
    reader = ledgers.reader()
    assert reader.closings() == [first.closing, second.closing]
    assert [reader.closed_statement(number) for number in (1, 2, 3)] == [first, second, None]
    deeds = [entry.deed for entry in reader.audit(0, 9)]
    assert [deed.name for deed in deeds] == ["2026-11", "2026-12 x"]
    assert flaws(ledgers) == []


async def test_a_number_or_a_month_that_is_taken_stores_nothing(ledgers: BookUnderTest) -> None:
    first = closed(ledgers.key_file)
    ledger = await ledgers.open(ledgers.key_file)
    try:
        await ledger.close_month(first, audit(first))
        same_month = msgspec.structs.replace(
            first, closing=msgspec.structs.replace(first.closing, number=2)
        )
        for wrong in (first, same_month, closed(ledgers.key_file, 3)):
            with pytest.raises(LedgerOutdated):
                await ledger.close_month(wrong, audit(wrong))
        second = closed(ledgers.key_file, 2, first.closing.digest)
        await ledger.close_month(second, audit(second))
    finally:
        await ledger.aclose()
    assert [one.number for one in ledgers.reader().closings()] == [1, 2]
    assert len(ledgers.reader().audit(0, 9)) == 2


async def test_a_statement_that_is_wrong_is_told(ledgers: BookUnderTest, tmp_path: Path) -> None:
    good = closed(ledgers.key_file)
    other = tmp_path / "other" / "ledger.key"
    other.parent.mkdir()
    forged = {
        "changed": msgspec.structs.replace(good, document=good.document.replace(b"ops", b"opt")),
        "signature": msgspec.structs.replace(good, signature=bytes(64)),
        "says something else": msgspec.structs.replace(
            good, closing=msgspec.structs.replace(good.closing, through=7)
        ),
        "does not follow": closed(ledgers.key_file, 1, "ab" * 32),
        "another key": closed(other),
    }
    for what, statement in forged.items():
        with ledgers.cleared() as book:
            (book.directory / FILE).write_bytes(ledgers.key_file.with_name(FILE).read_bytes())
            ledger = await book.open(book.key_file)
            try:
                await ledger.close_month(statement, audit(statement))
            finally:
                await ledger.aclose()
            assert any(what in flaw for flaw in flaws(book)), what


async def test_statements_are_held_against_the_audit_of_their_closing(
    ledgers: BookUnderTest,
) -> None:
    """A last statement that was taken away, closed anew or put in leaves a row of numbers whole."""
    first = closed(ledgers.key_file)
    second = closed(ledgers.key_file, 2, first.closing.digest)
    other = closed(ledgers.key_file, 2, first.closing.digest, "sales")
    third = closed(ledgers.key_file, 3, other.closing.digest)
    ledger = await ledgers.open(ledgers.key_file)
    try:
        await ledger.close_month(first, audit(first))
        assert flaws(ledgers) == []
        await ledger.change(TenantChange((), (audit(second),)))
        gone = "statement 2 of 2026-02 is missing: the audit says that ops closed it"
        assert flaws(ledgers) == [gone]
        await ledger.close_month(other, msgspec.structs.replace(audit(other), after=None))
        assert flaws(ledgers) == [gone.replace("missing", "another than was closed")]
        await ledger.close_month(third, msgspec.structs.replace(audit(third), after=None))
        assert flaws(ledgers)[1:] == ["statement 3: the audit does not say who closed it"]
    finally:
        await ledger.aclose()


def test_a_ledger_without_closed_months_has_none(ledgers: BookUnderTest) -> None:
    reader = connect_reader(ledgers.url, ledgers.directory)
    assert (reader.closings(), reader.closed_statement(1), flaws(ledgers)) == ([], None, [])
