"""The chain of credits, whatever the database: each credit has its link, hashed and sealed.

The chain begins with link 0. It says up to which seq credits were there before it, and were chained
late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from proxy.core.limits.credit import Credit
from proxy.core.records.canonical import GENESIS, Value, canonical, chained, key_name, seal
from proxy.core.records.chain import FINDINGS_MAX, ChainPlace, ChainWalk, Flaw, Head, Link
from proxy.ledger.verification import VerifyStep

# The columns of a link: the first three are its own and stand in its hash, before the credit's.
LINK_COLUMNS: tuple[str, ...] = (
    "seq",
    "linked_at_ms",
    "late_through",
    "prev_hash",
    "hash",
    "key_name",
    "seal",
)
CREDIT_COLUMNS = Credit.__struct_fields__
_OWN = 3
_NO_CREDIT: tuple[Value, ...] = (None,) * len(CREDIT_COLUMNS)


def link(
    seq: int, now_ms: int, prev_hash: bytes, values: Sequence[Value], key: bytes
) -> tuple[Value, ...]:
    """The row that links the credit with this seq and these values to the chain."""
    return _row((seq, now_ms, None), prev_hash, values, key)


def first_links(
    known: Sequence[tuple[int, Sequence[Value]]], now_ms: int, key: bytes
) -> Iterator[tuple[Value, ...]]:
    """The rows that begin the chain, with the credits (seq, values) that are there already."""
    row = _row((0, now_ms, known[-1][0] if known else 0), GENESIS, _NO_CREDIT, key)
    yield row
    for seq, values in known:
        prev_hash = row[4]
        assert isinstance(prev_hash, bytes), "the hash of a row just made"
        row = link(seq, now_ms, prev_hash, values, key)
        yield row


def verified(
    rows: Sequence[Sequence[Any]], unlinked: Sequence[tuple[int, str]], key: bytes | None
) -> VerifyStep:
    """Verify all credits: a person gives each of them, so that they are few.

    `rows` are the links in order, each with the columns of its credit behind its own; null where
    that is missing. `unlinked` are the (seq, id) of credits without a link. The rows of the step
    are the credits that are there: a link is none, and link 0 has none.
    """
    links: list[Link] = []
    heads: list[Head] = []
    exactly: dict[int, tuple[str, bytes]] = {}
    notes = []
    for row in rows:
        seq, at_ms, late, prev_hash, row_hash, made_with, sealed = row[: len(LINK_COLUMNS)]
        text = _text(row[:_OWN], row[len(LINK_COLUMNS) :])
        links.append((seq, text, prev_hash, row_hash))
        exactly[seq] = (row[len(LINK_COLUMNS)] or "none", text)
        heads.append((seq, row_hash, at_ms, made_with, sealed))
        if seq == 0 and late:
            notes.append(_told(late, at_ms))
    through = max((link[0] for link in links), default=-1)
    walk = ChainWalk(
        ChainPlace(through, -1, GENESIS, -1), key, part="credits", row="link of credit"
    )
    walk.page(links, heads, exactly.__getitem__)
    walk.end()
    found = walk.findings + [
        Flaw("credits", f"credit seq {seq} id {id!r}: it was put in beside the chain", seq, id)
        for seq, id in unlinked
    ]
    return VerifyStep(
        rows=sum(row[len(LINK_COLUMNS)] is not None for row in rows) + len(unlinked),
        seals=walk.seals,
        foreign=walk.foreign,
        found=len(found),
        findings=found[:FINDINGS_MAX],
        notes=notes,
    )


def _row(
    own: tuple[int, int, int | None], prev_hash: bytes, values: Sequence[Value], key: bytes
) -> tuple[Value, ...]:
    row_hash = chained(prev_hash, (*own, *values))
    sealed = seal(key, own[0], own[1], row_hash)
    return (*own, prev_hash, row_hash, key_name(key), sealed)


def _text(own: Sequence[Value], values: Sequence[Value]) -> bytes:
    """The canonical bytes of a link. Bytes in a column are a forgery, and fit no hash."""
    row = (*own, *values)
    return b"" if any(isinstance(value, bytes) for value in row) else canonical(row)


def _told(late_through: int, at_ms: int) -> str:
    day = datetime.fromtimestamp(at_ms // 1000, UTC).date().isoformat()
    return (
        f"credits up to seq {late_through} were chained on {day} and not when they were given: "
        "what was changed in them before that day cannot be told"
    )
