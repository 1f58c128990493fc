"""The key that seals the chain is made once, and a spoilt or missing one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger import LedgerError
from proxy.ledger.sealing_key import make_key, read_key, sealing_key


def test_a_new_key_is_private_random_and_read_back(tmp_path: Path) -> None:
    one, other = make_key(tmp_path / "one"), make_key(tmp_path / "other")
    assert one != other
    assert read_key(tmp_path / "one") == one
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one", "other"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "0 bytes instead of 32"),
        ("00ff", "2 bytes instead of 32"),
        ("xyz", "not hexadecimal"),
        ("é" * 64, "not hexadecimal"),
    ],
)
def test_a_spoilt_key_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(LedgerError, match=reason):
        read_key(tmp_path / "key")


def test_a_missing_key_is_an_error_to_who_reads_it(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot read"):
        read_key(tmp_path / "key")


def test_a_key_is_made_for_a_new_book_and_missed_for_a_sealed_one(tmp_path: Path) -> None:
    made = sealing_key(tmp_path / "key", lambda: False)
    assert sealing_key(tmp_path / "key", lambda: True) == made
    (tmp_path / "key").unlink()
    with pytest.raises(LedgerError, match=r"restore .*key from a backup"):
        sealing_key(tmp_path / "key", lambda: True)
    assert not (tmp_path / "key").exists()
