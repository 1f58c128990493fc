"""A record is found in the file of its month, and only in the file that the ledger named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.accounting.archiving import found, job
from proxy.accounting.archiving.job import due_months, order_of, write_month
from proxy.core.managed import Audit
from proxy.ledger import LedgerError, connect, sqlite
from proxy.ledger.archives import Archive
from proxy.ledger.sqlite import connect_reader
from tests.accounting.archiving.years import ms_of, old_ledger
from tests.ledger.samples import make_id
from tests.ledger.sqlite.test_months import AUDITOR

URL = "sqlite:ledger.db"
DEED = Audit(at_ms=1, actor="a", origin="o", action="ledger.archive", kind="ledger", name="x")


async def archived(directory: Path, monkeypatch: pytest.MonkeyPatch, each: int) -> list[Archive]:
    """January and February are in files of the directory."""
    old_ledger(directory, each=each)
    monkeypatch.setattr(sqlite, "_wall_clock_ms", lambda: ms_of(11, 30))
    reader = connect_reader(URL, directory)
    ledger = await connect(URL, directory)
    try:
        for due in due_months(URL, directory, "2026-03", ms_of(11, 30), ("unclosed",)):
            note = write_month(reader, due, directory, lambda _: None)
            await ledger.archive(order_of(note, ("unclosed",)), DEED)
    finally:
        await ledger.aclose()
    return reader.archives()


async def test_a_proof_from_the_file_satisfies_an_auditor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, "CHUNK", 4)
    archives = await archived(tmp_path, monkeypatch, 11)
    for n in (11, 14, 15, 21):
        proof = found.proof_in(tmp_path, archives, make_id(n))
        assert proof is not None and (proof.month, proof.index, proof.size) == (
            "2026-02",
            n - 11,
            11,
        )
        done = subprocess.run(
            [sys.executable, "-c", AUDITOR, proof.public_key],
            input=json.dumps({**json.loads(_json(proof))}),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["2026-02", make_id(n), "1100"]
    assert found.proof_in(tmp_path, archives, make_id(22)) is None, "it is in the book"


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


async def test_where_a_record_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = await archived(tmp_path, monkeypatch, 3)
    [entry] = found.record_in(tmp_path, archives, make_id(1))
    assert (entry.seq, entry.record.id) == (2, make_id(1))
    assert found.record_in(tmp_path, archives, make_id(7)) == []
    assert found.where([], make_id(1)) is None
    said = found.where(archives, make_id(1))
    assert said is not None and "ledger-2026-01.parquet, ledger-2026-02.parquet" in said
    (tmp_path / "ledger-2026-01.parquet").unlink()
    with pytest.raises(LedgerError, match="is not there"):
        found.record_in(tmp_path, archives, make_id(1))

    def missing(name: str) -> object:
        raise ModuleNotFoundError(name="pyarrow")

    monkeypatch.setattr(job.importlib, "import_module", missing)
    with pytest.raises(LedgerError, match=r"tollkeeper\[parquet\]"):
        found.record_in(tmp_path, archives[1:], make_id(1))
