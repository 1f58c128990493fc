"""Takes anchors of a book of several chains, and holds the book against them."""

from __future__ import annotations

from typing import Final

from proxy.core.records.anchors import Anchor, ChainEnd, anchors_of, flaw_at
from proxy.core.records.chain import Flaw
from proxy.ledger.anchoring import archived, chain_end, forged, taken
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.verification import VerifyStep

_HEAD: Final = """
SELECT seq, hash, booked_at_ms, key_name, seal, chain_seq FROM heads ORDER BY seq DESC LIMIT 1"""
_CHAINS: Final = """
SELECT DISTINCT ON (chain) chain, chain_seq, hash FROM heads ORDER BY chain, chain_seq DESC"""
_TABLES: Final = {"credits": "credit_links", "audit": "audit"}
# Of a chain: the hash at a place of it, its end, and up to where it was pruned.
_AT: Final = """
SELECT coalesce((SELECT hash FROM records WHERE chain = %(chain)s AND chain_seq = %(seq)s),
    (SELECT hash FROM checkpoints WHERE chain = %(chain)s AND chain_seq = %(seq)s)),
  coalesce((SELECT max(chain_seq) FROM records WHERE chain = %(chain)s), 0),
  coalesce((SELECT max(chain_seq) FROM checkpoints WHERE chain = %(chain)s), 0)"""


def take_anchor(connection: Connection, name: str) -> Anchor:
    """The anchor of the book as it is now. Raises QuestionRefused for an empty book."""
    head = connection.execute(_HEAD).fetchone()
    return taken(
        name,
        head,
        credits=_end(connection, "credits"),
        audit=_end(connection, "audit"),
        sealed_seq=None if head is None else head[5],
        chains={
            chain: ChainEnd(place, place_hash.hex())
            for chain, place, place_hash in connection.execute(_CHAINS)
        },
    )


def anchor_step(connection: Connection, text: str, key: bytes | None) -> VerifyStep:
    """Hold the book against one anchor. Raises ValueError for a text that is none."""
    [anchor] = anchors_of(text)
    flaws: list[Flaw | None] = [*forged(anchor, key)]
    notes: list[str] = []
    # An anchor of the ledger in SQLite that was copied has one chain, which is one of many here.
    chains = anchor.chains or {"copied": ChainEnd(anchor.seq, anchor.hash)}
    for chain, end in chains.items():
        found, last_seq, pruned = connection.execute(
            _AT, {"chain": chain, "seq": end.seq}
        ).fetchone() or (None, 0, 0)
        if end.seq < pruned:
            notes.append(archived(end))
        else:
            flaws.append(flaw_at(f"records of {chain}", end, max(last_seq, pruned), found))
    for part, own_end in (("credits", anchor.credits), ("audit", anchor.audit)):
        if own_end is not None:
            last = _end(connection, part)
            query = f"SELECT hash FROM {_TABLES[part]} WHERE seq = %s"
            row = connection.execute(query.encode(), (own_end.seq,)).fetchone()
            flaws.append(
                flaw_at(
                    part, own_end, -1 if last is None else last.seq, None if row is None else row[0]
                )
            )
    found_flaws = [flaw for flaw in flaws if flaw is not None]
    return VerifyStep(rows=1, found=len(found_flaws), findings=found_flaws, notes=notes)


def _end(connection: Connection, part: str) -> ChainEnd | None:
    query = f"SELECT seq, hash FROM {_TABLES[part]} ORDER BY seq DESC LIMIT 1"
    return chain_end(connection.execute(query.encode()).fetchone())
