"""Months under signed roots, and proofs that others' libraries accept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from proxy.core.records.checkpoints import signature_of, signed_note
from proxy.ledger import Batch, LedgerError, connect
from proxy.ledger.signing import FILE, month_signer
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.sqlite.booking import Booker
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered
from tests.ledger.whole_book import DAY_MS, forger_of, reader_of, seal_all, verified, whole_book

# What an auditor needs: two libraries of others, the proof, and the public key.
AUDITOR = """
import base64, hashlib, json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymerkle import verify_inclusion
from pymerkle.proof import MerkleProof

proof, public_key = json.load(sys.stdin), bytes.fromhex(sys.argv[1])
text, _, line = proof["checkpoint"].partition("\\n\\n")
signature = base64.b64decode(line.split()[2])[4:]
Ed25519PublicKey.from_public_bytes(public_key).verify(signature, (text + "\\n").encode())
origin, size, root = text.split("\\n")
leaf = hashlib.sha256(b"\\x00" + proof["leaf"].encode()).digest()
verify_inclusion(
    leaf,
    base64.b64decode(root),
    MerkleProof.deserialize(proof["pymerkle"]),
    index=proof["index"] + 1,
    size=int(size),
    algorithm="sha256",
)
record = dict(zip(proof["columns"], json.loads(proof["leaf"]), strict=True))
assert not any(name.partition(".")[0] == "proxy" for name in sys.modules)
print(origin.rpartition("/")[2], record["id"], record["charge_nano"])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A book of two months, small chunks of leaves."""
    return whole_book(tmp_path)


@pytest.fixture(params=[4, 4096])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr("proxy.ledger.months.CHUNK", size)
    return size


def test_each_month_that_is_over_is_sealed_once(path: Path, chunk: int) -> None:
    assert seal_all(path, START_MS) == []
    [first] = seal_all(path, START_MS + 31 * DAY_MS)
    assert (first.month, first.first_seq) == ("2026-11", 1)
    [second] = seal_all(path)
    assert (second.month, second.first_seq, second.last_seq) == ("2026-12", first.last_seq + 1, 33)
    assert seal_all(path) == []
    found = verified(path)
    assert (found.found, found.notes) == (0, [])
    [part] = [part for part in found.parts if part.name == "months"]
    assert (part.rows, part.seals) == (33, 2)


def test_an_auditor_accepts_each_proof_without_this_program(path: Path, chunk: int) -> None:
    seal_all(path)
    signer = month_signer(path.parent / FILE, make=False)
    assert signer is not None
    for seq in (1, 9, 17, 33):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            [(id, month)] = connection.execute(
                "SELECT r.id, m.month FROM records AS r JOIN months AS m"
                " ON r.seq BETWEEN m.first_seq AND m.seq WHERE r.seq = ?",
                (seq,),
            )
        proof = reader_of(path).proof(id)
        assert proof is not None
        if seq in (1, 33):
            done = audited(msgspec.json.encode(proof), signer.public_key, path.parent)
            assert done.returncode == 0, done.stderr
            assert done.stdout.split()[:2] == [month, id]


def audited(proof: bytes, public_key: bytes, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-c", AUDITOR, public_key.hex()],
        input=proof.decode(),
        capture_output=True,
        text=True,
        cwd=directory,
        check=False,
    )


def test_an_auditor_refuses_a_changed_record_and_another_key(path: Path) -> None:
    seal_all(path)
    signer = month_signer(path.parent / FILE, make=False)
    proof = reader_of(path).proof(make_id(5))
    assert signer is not None and proof is not None
    told = json.loads(msgspec.json.encode(proof))
    cheap = told | {"leaf": told["leaf"].replace(",11,", ",10,")}
    assert cheap != told
    done = audited(json.dumps(cheap).encode(), signer.public_key, path.parent)
    assert done.returncode != 0 and "Base hash does not match" in done.stderr
    done = audited(json.dumps(told).encode(), bytes(32), path.parent)
    assert done.returncode != 0 and "InvalidSignature" in done.stderr


def test_what_is_in_no_sealed_month_has_no_proof_yet(path: Path) -> None:
    reader = reader_of(path)
    assert reader.proof("none") is None
    with pytest.raises(LedgerError, match="tollkeeper ledger seal"):
        reader.proof(make_id(31))
    seal_all(path, START_MS + 31 * DAY_MS)
    assert reader.proof(make_id(0)) is not None
    with pytest.raises(LedgerError, match="in no sealed month yet"):
        reader.proof(make_id(31))


def test_a_clock_that_was_set_back_opens_no_month_again(path: Path) -> None:
    seal_all(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for n, now_ms in enumerate((START_MS, START_MS + 80 * DAY_MS)):
        Booker(connection, KEY, lambda now_ms=now_ms: now_ms).book(
            Batch("w1", numbered(make_record(700 + n)))
        )
    connection.close()
    [third] = seal_all(path, START_MS + 200 * DAY_MS)
    assert (third.month, third.first_seq, third.last_seq) == ("2027-01", 34, 35)
    assert verified(path).found == 0


@pytest.mark.parametrize(
    ("forgery", "what"),
    [
        ("UPDATE months SET root = zeroblob(32)", "its root is not that of its records"),
        ("UPDATE months SET chunks = zeroblob(length(chunks))", "are not those sealed"),
        ("UPDATE months SET month = '2020-0' || seq", "its checkpoint says something else"),
        ("UPDATE months SET checkpoint = 'x'", "its checkpoint says something else"),
        ("UPDATE months SET checkpoint = replace(checkpoint, 'A', 'B')", "month 2026-1"),
        ("UPDATE months SET public_key = zeroblob(32)", "its checkpoint says something else"),
        ("UPDATE months SET first_seq = 2 WHERE first_seq = 1", "are not those sealed"),
        ("UPDATE months SET first_seq = first_seq + 1 WHERE first_seq > 1", "does not begin"),
        ("UPDATE records SET team = 'x' WHERE seq = 5", "seq 5 is missing or was changed"),
    ],
)
def test_a_forged_month_is_told(path: Path, forgery: str, what: str) -> None:
    seal_all(path)
    forger = forger_of(path)
    assert forger.execute(forgery).rowcount > 0
    forger.close()
    told = [flaw.what for flaw in verified(path).findings if flaw.part == "months"]
    assert any(what in line for line in told), told


def test_a_signature_that_no_key_made_is_told(path: Path) -> None:
    seal_all(path)
    forger = forger_of(path)
    [(public_key, note)] = forger.execute("SELECT public_key, checkpoint FROM months LIMIT 1")
    text, _ = signature_of(note)
    forged = signed_note(text, public_key, bytes(64))
    forger.execute("UPDATE months SET checkpoint = ? WHERE checkpoint = ?", (forged, note))
    forger.close()
    assert [flaw.what for flaw in verified(path).findings] == [
        "month 2026-11: its signature is wrong"
    ]


def test_a_month_that_was_signed_anew_is_told(path: Path) -> None:
    seal_all(path)
    (path.parent / FILE).unlink()
    month_signer(path.parent / FILE, make=True)
    told = [flaw.what for flaw in verified(path).findings]
    assert told == [
        f"month 2026-1{n}: it was signed with another key than the one beside the ledger"
        for n in (1, 2)
    ]


def test_no_changed_record_is_sealed_or_proved(path: Path) -> None:
    forger = forger_of(path)
    forger.execute("UPDATE records SET team = 'x' WHERE seq = 30")
    with pytest.raises(LedgerError, match="seq 30 is missing or was changed"):
        seal_all(path)
    assert forger.execute("SELECT month FROM months").fetchall() == [("2026-11",)]
    forger.execute("UPDATE months SET chunks = zeroblob(length(chunks))")
    forger.close()
    with pytest.raises(LedgerError, match="2026-11 is not as it was sealed"):
        reader_of(path).proof(make_id(0))


async def test_the_ledger_seals_beside_its_booking(path: Path) -> None:
    ledger = await connect("sqlite:ledger.db", path.parent)
    done, booked = await asyncio.gather(
        ledger.seal_months(UTC, path.parent / FILE),
        ledger.book(Batch("w5", numbered(make_record(800)))),
    )
    await ledger.aclose()
    assert booked.inserted == 1
    months = [month.month for month in done]
    assert months == sorted(months)
    assert connect_reader("sqlite:ledger.db", path.parent).head() == 34
