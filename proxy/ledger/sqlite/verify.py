"""Verifies the book in a file of SQLite."""

from __future__ import annotations

from pathlib import Path

from proxy.core.records.canonical import COLUMNS
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.verifying import ChainCheck, Verified

_CHECKPOINT = (
    "SELECT seq, hash, pruned_at_ms, key_name, seal FROM checkpoints ORDER BY seq DESC LIMIT 1"
)
_HEADS = "SELECT seq, hash, booked_at_ms, key_name, seal FROM heads WHERE seq > ? ORDER BY seq"


def verify_chain(path: Path, key: bytes | None) -> Verified:
    """Check the whole book in the file, in constant memory.

    Raises LedgerError without a ledger, LedgerUnavailable when SQLite cannot read it.
    """
    with reading(path) as connection:
        connection.text_factory = _text
        check = ChainCheck(key)
        checkpoint = connection.execute(_CHECKPOINT).fetchone()
        behind = 0 if checkpoint is None else checkpoint[0]
        check.start(checkpoint, connection.execute(_HEADS, (behind,)))
        for row in connection.execute(f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY seq"):
            check.record(row)
        check.end()
    return check.found()


def _text(raw: bytes) -> str:
    # Text that is no longer UTF-8 is a problem to report, and no error.
    return raw.decode("utf-8", "replace")
