"""Divides the chains of a book in PostgreSQL into shares that several processes verify at once.

A share is a place in one chain, and says where it ends. It begins behind a row that it takes as it
stands. The share before it ends with that row. The last share looks at the order of batches too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.records.canonical import key_name
from proxy.core.records.chain import ChainPlace
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.verify import BookPlace, begun_chain, chains
from proxy.ledger.verification import SHARED_ROWS_MIN

_HASH: Final = "SELECT hash FROM records WHERE chain = %s AND chain_seq = %s"
_OWN: Final = """
SELECT EXISTS (SELECT 1 FROM heads WHERE key_name = %s AND chain = %s AND chain_seq > %s
  AND chain_seq <= %s)"""


def shares_of_chains(connection: Connection, count: int, key: bytes | None) -> Sequence[str | None]:
    """See `Reader.verify_shares`, for the part `records`."""
    begun = [(chain, begun_chain(connection, chain, key)) for chain in chains(connection)]
    rows = sum(walk.place.through - walk.place.seq for _, walk in begun)
    # A walk over all of them tells what is wrong with a checkpoint.
    if rows < SHARED_ROWS_MIN or any(walk.found or walk.foreign for _, walk in begun):
        return [None]
    found: list[BookPlace] = []
    for chain, walk in begun:
        size = walk.place.through - walk.place.seq
        found += _of_chain(connection, chain, walk.place, max(1, round(count * size / rows)), key)
    found[-1] = msgspec.structs.replace(found[-1], alone=False)
    return [msgspec.json.encode(place).decode() for place in found]


def _of_chain(
    connection: Connection, chain: str, first: ChainPlace, count: int, key: bytes | None
) -> list[BookPlace]:
    """Shares of one chain with about the same number of records each."""
    places = [first]
    for n in range(1, count):
        cut = first.seq + (first.through - first.seq) * n // count
        row = connection.execute(_HASH, (chain, cut)).fetchone()
        if row is None:
            continue  # the share that this row is in tells that it is missing
        own = first.own or (key is not None and _has_sealed(connection, key, chain, first.seq, cut))
        places.append(ChainPlace(first.through, cut, bytes(row[0]), cut, own))
    shares = [
        msgspec.structs.replace(place, through=behind.seq, goes_on=True)
        for place, behind in itertools.pairwise(places)
    ]
    return [BookPlace(chain, place, alone=True) for place in (*shares, places[-1])]


def _has_sealed(connection: Connection, key: bytes, chain: str, after: int, upto: int) -> bool:
    """Whether this key has sealed any of these records."""
    row = connection.execute(_OWN, (key_name(key), chain, after, upto)).fetchone()
    return row is not None and bool(row[0])
