"""Anchors of a book, whatever the database: how one is made of rows, and what is told of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.records.anchors import Anchor, ChainEnd
from proxy.core.records.chain import Flaw
from proxy.ledger import QuestionRefused


def taken(
    ledger: str,
    head: Sequence[Any] | None,
    *,
    credits: ChainEnd | None,
    audit: ChainEnd | None,
    sealed_seq: int | None = None,
    chains: Mapping[str, ChainEnd] | None = None,
) -> Anchor:
    """The anchor of the book as it is now. Raises QuestionRefused for an empty book.

    `head` begins with the last seal's (seq, hash, booked_at_ms, key_name, seal); None: there is
    none.
    """
    if head is None:
        raise QuestionRefused(f"{ledger} has no records yet: there is nothing to anchor")
    seq, row_hash, at_ms, key_name, seal = head[:5]
    return Anchor(
        ledger=ledger,
        seq=seq,
        hash=row_hash.hex(),
        booked_at_ms=at_ms,
        key_name=key_name,
        seal=seal.hex(),
        credits=credits,
        audit=audit,
        sealed_seq=sealed_seq,
        chains=dict(chains or {}),
    )


def chain_end(row: Sequence[Any] | None) -> ChainEnd | None:
    """The end of a chain whose last row is this (seq, hash); None if it has no row."""
    return None if row is None else ChainEnd(row[0], row[1].hex())


def forged(anchor: Anchor, key: bytes | None) -> list[Flaw]:
    """What is wrong with the anchor's own seal, as far as this key can tell."""
    if key is None or anchor.sealed_with(key) is not False:
        return []
    what = f"the anchor of seq {anchor.seq} is forged: its seal was not made with this key"
    return [Flaw("anchor", what, anchor.seq)]


def archived(end: ChainEnd) -> str:
    """The note that the records up to this end are no longer in the book."""
    return f"the anchor of seq {end.seq} is of records that were archived since"
