"""Months of a book that stands in memory: where each ends, and what is said of a forged one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC
from functools import partial

import msgspec
import pytest

from proxy.core.records.merkle import leaf_hash, root_of
from proxy.ledger import LedgerError
from proxy.ledger.ed25519 import MonthSigner, new_pem
from proxy.ledger.months import MonthRow, chunk_behind, due_months, months_step, prove
from proxy.ledger.verification import MONTH_HEADS

DAY_MS = 86_400_000
FIRST_MS = 1_793_491_200_000  # 2026-11-01T00:00Z


class Shelf:
    """One batch of one record a day."""

    def __init__(self, days: int) -> None:
        self.days = days
        self.months: list[MonthRow] = []

    def begin(self) -> int:
        return 0

    def archived(self) -> int:
        return 0

    def month_before(self, seq: int | None) -> MonthRow | None:
        found = [month for month in self.months if seq is None or month.seq < seq]
        return found[-1] if found else None

    def month_behind(self, seq: int) -> MonthRow | None:
        return next((month for month in self.months if month.seq > seq), None)

    def booked_behind(self, seq: int, now_ms: int) -> int | None:
        return FIRST_MS + seq * DAY_MS if seq < self.days else None

    def last_before(self, seq: int, ms: int, now_ms: int) -> int:
        return min(self.days, (ms - FIRST_MS) // DAY_MS)

    def placed(self, id: str) -> tuple[int, int] | None:
        return (int(id), 2) if int(id) <= self.days else None

    def leaves(self, after: int, through: int) -> list[bytes]:
        return [b"leaf %d" % seq for seq in range(after + 1, through + 1)]

    def sound_leaves(self, after: int, through: int) -> list[bytes]:
        return self.leaves(after, through)


@pytest.fixture
def shelf() -> Shelf:
    """A book of 70 days, whose months are sealed."""
    made = Shelf(70)

    @contextlib.contextmanager
    def reading() -> Iterator[Shelf]:
        yield made

    signer = MonthSigner(new_pem())
    for row in due_months(reading, UTC, FIRST_MS + 100 * DAY_MS, signer):
        made.months.append(row)
    return made


def test_a_month_holds_what_was_booked_in_it(shelf: Shelf) -> None:
    assert [(month.month, month.first_seq, month.seq) for month in shelf.months] == [
        ("2026-11", 1, 30),
        ("2026-12", 31, 61),
        ("2027-01", 62, 70),
    ]
    leaves = [leaf_hash(b"leaf %d" % seq) for seq in range(31, 62)]
    assert shelf.months[1].root == root_of(leaves)
    proof = prove(shelf, "35")
    assert proof is not None and (proof.index, proof.size) == (4, 31)
    assert proof.root == shelf.months[1].root.hex()
    assert prove(shelf, "71") is None
    shelf.days = 71
    with pytest.raises(LedgerError, match="in no sealed month yet"):
        prove(shelf, "71")


def test_a_month_that_leaves_a_gap_is_told(shelf: Shelf) -> None:
    shelf.months[2] = msgspec.structs.replace(shelf.months[2], first_seq=63)
    place, told = None, []
    while True:
        step = months_step(shelf, place, None)
        told += [flaw.what for flaw in step.findings]
        if step.next is None:
            break
        place = step.next
    assert "month 2027-01: the records 63 to 70 are not those sealed" in told
    assert any("does not begin behind seq 61" in line for line in told)


def test_a_chunk_is_known_by_the_records_that_were_sealed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chunk_behind(shelf, 30)
    assert found is not None and (found.upto, found.size) == (61, 31)
    assert found.is_of(shelf.leaves(30, 61), 61)
    assert not found.is_of(shelf.leaves(30, 60), 61)
    assert not found.is_of(shelf.leaves(30, 61), 60)
    assert not found.is_of(shelf.leaves(31, 62), 61)
    inside = chunk_behind(shelf, 40)
    assert inside is not None and (inside.upto, inside.root) == (61, None)
    assert not inside.is_of(shelf.leaves(40, 61), 61)
    monkeypatch.setattr("proxy.ledger.months.CHUNK", 8)
    assert [chunk and chunk.upto for chunk in map(partial(chunk_behind, shelf), (0, 7, 29))] == [
        8,
        8,
        30,
    ]
    assert chunk_behind(shelf, 70) is None
    shelf.months[2] = msgspec.structs.replace(shelf.months[2], first_seq=64)
    assert chunk_behind(shelf, 61) is None


def test_months_without_their_chunks_tell_how_many_these_are(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, place = [], MONTH_HEADS
    while (step := months_step(shelf, place, None)).next is not None:
        steps.append((step.rows, step.seals, step.chunks, step.found))
        place = step.next
    assert steps == [(30, 1, 1, 0), (31, 1, 1, 0), (9, 1, 1, 0)]
    monkeypatch.setattr("proxy.ledger.months.CHUNK", 8)
    assert months_step(shelf, MONTH_HEADS, None).chunks == 4
