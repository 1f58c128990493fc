"""Sums of the book, remembered for a few seconds, so that no caller can keep the ledger busy."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.ledger import Reader
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import UsageRow

BELIEVED_S: Final = 5.0  # how long sums from the ledger are given out again
ROWS_MAX: Final = 20_000  # an answer of more is not kept: a row takes 640 bytes


class SumsAsked(msgspec.Struct, frozen=True):
    """By what, over which time, and of which team and key; None: open, and of all."""

    by: tuple[str, ...]
    zone: ZoneInfo
    from_ms: int
    to_ms: int | None
    team: str | None
    key: str | None
    sums: tuple[str, ...] | None


class Sums:
    """Each question goes to the ledger once at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[SumsAsked, tuple[float, asyncio.Task[list[UsageRow]]]] = {}

    async def of(
        self,
        by: tuple[str, ...],
        zone: ZoneInfo,
        from_ms: int,
        to_ms: int | None = None,
        team: str | None = None,
        key: str | None = None,
        sums: tuple[str, ...] | None = None,
    ) -> list[UsageRow]:
        """See `Reader.usage`. The rows are shared: none is to be changed."""
        asked = SumsAsked(by, zone, from_ms, to_ms, team, key, sums)
        known = self._known.get(asked)
        if (
            known is None
            or monotonic() - known[0] > BELIEVED_S
            or (known[1].done() and known[1].exception() is not None)
        ):
            known = (monotonic(), asyncio.create_task(answer_of(self._read, asked)))
            self._known = {
                question: sums
                for question, sums in self._known.items()
                if monotonic() - sums[0] <= BELIEVED_S
            }
            self._known[asked] = known
        rows = await asyncio.shield(known[1])
        if len(rows) > ROWS_MAX and self._known.get(asked) is known:
            del self._known[asked]
        return rows

    def _read(self, asked: SumsAsked) -> list[UsageRow]:
        return self._reader.usage(
            asked.by,
            asked.from_ms,
            asked.to_ms,
            asked.zone,
            sums=asked.sums,
            team=asked.team,
            key=asked.key,
        )
