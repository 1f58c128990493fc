"""Terms of prices in a file that somebody damaged."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger.price_check import PART
from proxy.ledger.verification import verify
from tests.ledger.samples import rows
from tests.ledger.whole_book import VERSION, forger_of, reader_of, whole_book


def test_what_is_no_version_any_more_is_told_and_no_error(tmp_path: Path) -> None:
    path = whole_book(tmp_path)
    forger = forger_of(path)
    first = rows(forger, "SELECT min(seq) FROM records WHERE price_version IS NOT NULL")[0][0]
    odd = ("CAST(x'ff00' AS TEXT)", "x'ff'", "5", "''")
    for n, value in enumerate(odd):
        forger.execute(f"UPDATE records SET price_version = {value} WHERE seq = ?", (first + n,))
    forger.execute("UPDATE price_versions SET terms = 'text'")
    forger.close()
    found = verify(reader_of(path), None, parts=(PART,))
    assert f"price version {VERSION!r}: its terms were changed" == found.findings[0].what
    assert found.found >= 4
    assert all("are missing" in finding.what for finding in found.findings[1:])
