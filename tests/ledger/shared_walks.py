"""Verifies a book in shares, one step after the other, in the order in which shares are taken."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from proxy.ledger import Reader
from proxy.ledger.verification import BookVerified, VerifyStep, verify


class InTurn:
    """See `Workers`. `places`: of each part that was begun. `wholes`: what is walked as a whole."""

    def __init__(self, reader: Reader, key_file: Path, count: int) -> None:
        self._reader, self._key_file, self._count = reader, key_file, count
        self.places: dict[str, Sequence[str | None]] = {}
        self.wholes: list[str] = []

    def shares(self, part: str) -> Sequence[str | None]:
        self.places[part] = self._reader.verify_shares(part, self._count, self._key_file)
        return self.places[part]

    def steps(self, part: str, place: str | None) -> Future[Sequence[VerifyStep]]:
        self.wholes += [part] * (place is None)
        done: Future[Sequence[VerifyStep]] = Future()
        done.set_result([self._reader.verify_step(part, place, self._key_file)])
        return done

    def stop(self) -> None:
        pass


def in_shares(reader: Reader, key_file: Path, count: int) -> tuple[BookVerified, InTurn]:
    """What so many workers find, and who they were."""
    workers = InTurn(reader, key_file, count)
    return verify(reader, key_file, workers=workers), workers


def small_books_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let books of any size be divided."""
    for database in ("sqlite", "postgresql"):
        monkeypatch.setattr(f"proxy.ledger.{database}.verify_shares.SHARED_ROWS_MIN", 0)
