"""`tollkeeper ledger status` over a real ledger and a real journal."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.core.entries import Opened
from proxy.journal import Journal
from tests.ledger.samples import make_id, make_record
from tests.support.journals import journal_options

OPTIONS = journal_options(
    sync="interval", interval_s=0.1, keep_s=86_400.0, size_max_bytes=1 << 30, segment_bytes=1 << 20
)


def opened(n: int) -> Opened:
    record = make_record(n)
    return Opened(
        id=record.id,
        started_at_ms=record.started_at_ms,
        key_id="alice",
        endpoint=record.endpoint,
        upstream="modelmax",
    )


async def journaled(root: Path, ended: int, running: int) -> int:
    """A journal with so many ended and so many open exchanges, left as a crash leaves it; the last
    close's seq."""
    journal = Journal.claim(root, OPTIONS)
    seq = 0
    for n in range(ended + running):
        journal.open(opened(n))
        if n < ended:
            seq = journal.close(make_record(n))
    await journal.aclose()
    return seq


def test_the_figures_of_book_and_journal(call, book):
    data_dir = book(
        make_record(0), make_record(1, kind="adjustment", adjusts=make_id(0), reason="late_close")
    )
    last = asyncio.run(
        journaled(data_dir / "journal", ended=3, running=2)
    )  # open, close, open, close, …: seq 2 is the first close
    got = json.loads(call("ledger", "status", "--json").stdout)
    assert {
        name: got["ledger"][name]
        for name in ("path", "records", "adjustments", "first_seq", "last_seq", "writers")
    } == {
        "path": str(data_dir / "ledger.db"),
        "records": 2,
        "adjustments": 1,
        "first_seq": 1,
        "last_seq": 2,
        "writers": {"w0": 2},
    }
    (journal,) = got["journal"]
    assert {
        name: journal[name]
        for name in (
            "writer",
            "in_use",
            "open_exchanges",
            "last_seq",
            "unbooked_closes",
            "skipped_bytes",
        )
    } == {
        "writer": "w0",
        "in_use": False,
        "open_exchanges": 2,
        "last_seq": last + 2,
        "unbooked_closes": 2,
        "skipped_bytes": 0,
    }
    text = call("ledger", "status", "-c", "config.yaml").stdout
    assert "Journal w0" in text
    assert "2 not booked yet" in text


def test_looking_changes_nothing(call, book):
    data_dir = book(make_record(0))
    asyncio.run(journaled(data_dir / "journal", ended=1, running=1))
    before = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    assert call("ledger", "status").exit_code == 0
    after = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    # SQLite makes these two beside the file to read it, as it does for any reader.
    assert {
        path: data for path, data in after.items() if not path.name.endswith(("-shm", "-wal"))
    } == before


@pytest.mark.parametrize(
    "words", [("ledger", "status"), ("usage",), ("record", "show", "x")], ids=" ".join
)
def test_without_a_ledger(call, words):
    result = call(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no ledger at" in result.stderr
