"""A record names the terms that its amount was made with: that they are there is verified."""

from __future__ import annotations

import hashlib

import pytest

from proxy.ledger import Batch, price_check
from proxy.ledger.postgresql import verify_prices as of_postgresql
from proxy.ledger.sqlite import verify_prices as of_sqlite
from proxy.ledger.verification import BookVerified, verify
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import make_record, numbered

VERSIONS = [hashlib.sha256(terms).hexdigest()[:16] for terms in (b"one", b"two")]


def told(ledgers: BookUnderTest) -> BookVerified:
    return verify(ledgers.reader(), ledgers.key_file, parts=(price_check.PART,))


def booked(ledgers: BookUnderTest, *versions: tuple[str, bytes]) -> None:
    records = [make_record(n, price_version=(*VERSIONS, None)[n % 3]) for n in range(30)]
    ledgers.batch(Batch("w0", numbered(*records), price_versions=versions))


def test_a_book_with_the_terms_of_all_its_records_is_sound(ledgers: BookUnderTest) -> None:
    booked(ledgers, (VERSIONS[0], b"one"), (VERSIONS[1], b"two"))
    found = told(ledgers)
    assert (found.findings, found.parts[0].rows) == ([], 2)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_terms_that_are_missing_are_told_once_with_the_first_record(
    ledgers: BookUnderTest, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (of_sqlite, of_postgresql):
        monkeypatch.setattr(module, "STEP_ROWS", rows)
    booked(ledgers, (VERSIONS[0], b"one"))
    [finding] = told(ledgers).findings
    assert (finding.part, finding.id) == ("prices", make_record(1).id)
    assert f"price version {VERSIONS[1]!r}: its terms are missing" in finding.what


def test_terms_that_a_start_books_again_are_there(ledgers: BookUnderTest) -> None:
    booked(ledgers, (VERSIONS[0], b"one"))
    ledgers.batch(Batch("w0", price_versions=[(VERSIONS[1], b"two")]))
    assert told(ledgers).findings == []


def test_terms_under_another_name_are_told(ledgers: BookUnderTest) -> None:
    booked(ledgers, (VERSIONS[0], b"one"), (VERSIONS[1], b"changed"))
    [finding] = told(ledgers).findings
    assert finding.what == f"price version {VERSIONS[1]!r}: its terms were changed"


async def test_a_served_model_that_is_missing_is_told_and_a_rebuild_puts_it_back(
    ledgers: BookUnderTest,
) -> None:
    ledgers.book(make_record(0), make_record(1, model_served="dearer"))
    before = ledgers.reader().served_models()
    assert told(ledgers).findings == []
    query = "DELETE FROM served_models WHERE model_served = 'dearer' RETURNING 1"
    assert ledgers.rows(query) == [(1,)]
    [finding] = told(ledgers).findings
    assert (finding.part, finding.id) == ("prices", make_record(1).id)
    assert "served 'dearer' for 'deepseek-v3.2'" in finding.what
    ledger = await ledgers.open()
    await ledger.rebuild()
    await ledger.aclose()
    assert told(ledgers).findings == []
    assert sorted(ledgers.reader().served_models()) == sorted(before)
