"""`tollkeeper ledger seal` and `record proof`, with a process and without one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from proxy.ledger import Batch
from proxy.ledger.sqlite.booking import Booker
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called
from tests.ledger.samples import make_id, make_record, numbered

Call = Callable[..., Result]
Book = Callable[..., Path]
OCTOBER_MS = 1_791_000_000_000  # 2026-10-03


def long_ago(data_dir: Path, count: int = 5) -> None:
    """Records that were booked in October 2026."""
    connection = sqlite3.connect(data_dir / "ledger.db", isolation_level=None)
    key = bytes.fromhex((data_dir / "ledger.key").read_text())
    closes = numbered(*(make_record(500 + n) for n in range(count)))
    Booker(connection, key, lambda: OCTOBER_MS).book(Batch("w7", closes))
    connection.close()


def test_a_month_is_sealed_and_a_record_proved(call: Call, book: Book) -> None:
    data_dir = book()
    assert call("ledger", "seal").stdout == "Every month that is over is sealed.\n"
    long_ago(data_dir)
    assert call("record", "proof", make_id(500)).exit_code == 1
    result = call("ledger", "seal")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2026-10: 5 records, seq 1 to 5\ntollkeeper/")
    assert json.loads(call("ledger", "seal", "--json").stdout) == []
    told = json.loads(call("record", "proof", make_id(502)).stdout)
    assert (told["month"], told["index"], told["size"]) == ("2026-10", 2, 5)
    assert told["checkpoint"] in result.stdout
    text = call("record", "proof", make_id(502), "--format", "tlog-proof").stdout
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 2\n") and told["checkpoint"] in text
    assert call("ledger", "verify").exit_code == 0
    assert (data_dir / "ledger.ed25519.pem").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_proved_says_why(call: Call, book: Book) -> None:
    book(make_record(1))
    result = call("record", "proof", make_id(1))
    assert result.exit_code == 1 and "in no sealed month yet" in result.stderr
    result = call("record", "proof", make_id(2))
    assert result.exit_code == 1 and "has no record" in result.stderr


async def test_the_running_process_seals_and_proves(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    long_ago(tmp_path / "var")
    async with desk(tmp_path) as admin:
        result = await called(tmp_path, "ledger", "seal")
        assert "2026-10: 5 records" in result.stdout, result.output
        assert admin.proxy.server.services.reader.proof(make_id(503)) is not None
