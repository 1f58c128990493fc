"""Takes anchors of the book in the file, and holds the book against them."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.core.records.anchors import Anchor, ChainEnd, anchors_of, flaw_at
from proxy.core.records.chain import Flaw
from proxy.ledger.anchoring import archived, chain_end, forged, taken
from proxy.ledger.verification import VerifyStep

_HEAD = "SELECT seq, hash, booked_at_ms, key_name, seal FROM heads ORDER BY seq DESC LIMIT 1"
_PRUNED = "SELECT coalesce(max(seq), 0) FROM checkpoints"
# The table of each chain, and the schema version since which it is there.
_CHAINS: Final = {"records": ("records", 1), "credits": ("credit_links", 12), "audit": ("audit", 9)}


def take_anchor(connection: sqlite3.Connection, version: int, name: str) -> Anchor:
    """The anchor of the book as it is now. Raises QuestionRefused for an empty book."""
    return taken(
        name,
        connection.execute(_HEAD).fetchone(),
        credits=_end(connection, version, "credits"),
        audit=_end(connection, version, "audit"),
    )


def anchor_step(
    connection: sqlite3.Connection, version: int, text: str, key: bytes | None
) -> VerifyStep:
    """Hold the book against one anchor. Raises ValueError for a text that is none."""
    [anchor] = anchors_of(text)
    flaws = forged(anchor, key)
    notes: list[str] = []
    (pruned,) = connection.execute(_PRUNED).fetchone()
    if anchor.chains:
        what = "the anchor is of a ledger with several writers: this file is not that book"
        flaws.append(Flaw("anchor", what, anchor.seq))
        return VerifyStep(rows=1, found=len(flaws), findings=flaws)
    for part, end in anchor.ends():
        table, since = _CHAINS[part]
        if version < since:
            continue
        if part == "records" and end.seq < pruned:
            notes.append(archived(end))
            continue
        row = connection.execute(f"SELECT hash FROM {table} WHERE seq = ?", (end.seq,)).fetchone()
        last_seq = connection.execute(f"SELECT coalesce(max(seq), 0) FROM {table}").fetchone()[0]
        if part == "records" and end.seq == pruned:
            row = connection.execute("SELECT hash FROM checkpoints WHERE seq = ?", (pruned,))
            row = row.fetchone()
        found = row[0] if row is not None and isinstance(row[0], bytes) else None
        if (flaw := flaw_at(part, end, max(last_seq, pruned), found)) is not None:
            flaws.append(flaw)
    return VerifyStep(rows=1, found=len(flaws), findings=flaws, notes=notes)


def _end(connection: sqlite3.Connection, version: int, part: str) -> ChainEnd | None:
    table, since = _CHAINS[part]
    if version < since:
        return None
    query = f"SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1"
    return chain_end(connection.execute(query).fetchone())
