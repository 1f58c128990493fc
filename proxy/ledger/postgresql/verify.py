"""Verifies a ledger in PostgreSQL, a step at a time: the chain of each writer, seals, prices, sums.

Beside the chains themselves, the batches of the whole book follow one another without a gap. So a
chain that is gone as a whole is missed too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from proxy.core.records.canonical import COLUMNS, GENESIS, HASH_VERSION, canonical
from proxy.core.records.chain import (
    FINDINGS_MAX,
    ChainPlace,
    ChainWalk,
    Exactly,
    Flaw,
    Head,
    Link,
    row_text,
)
from proxy.ledger import audit_chain, closed, credit_chain
from proxy.ledger.credit_chain import CREDIT_COLUMNS, LINK_COLUMNS
from proxy.ledger.months import months_step
from proxy.ledger.postgresql.anchoring import anchor_step
from proxy.ledger.postgresql.archive import flaws as archive_flaws
from proxy.ledger.postgresql.closings import statements_step
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.months import PostgresMonths
from proxy.ledger.postgresql.verify_prices import prices_step
from proxy.ledger.postgresql.verify_sums import newest_rollups, rollups_step, wide_step
from proxy.ledger.verification import VerifyStep
from proxy.ledger.verifying import Verified, walked

STEP_ROWS: Final = 4096
NEWEST_ROWS: Final = 1024  # at least so many of the newest records are looked at, at a start

_CHAINS: Final = """
SELECT chain FROM heads UNION SELECT chain FROM checkpoints UNION SELECT chain FROM records
ORDER BY 1"""
_CHECKPOINT: Final = """
SELECT chain_seq, hash, pruned_at_ms, key_name, seal FROM checkpoints WHERE chain = %s
ORDER BY chain_seq DESC LIMIT 1"""
_LAST: Final = """
SELECT coalesce(greatest((SELECT max(chain_seq) FROM records WHERE chain = %(chain)s),
  (SELECT max(chain_seq) FROM heads WHERE chain = %(chain)s)), 0)"""
_HEADS: Final = """
SELECT chain_seq, hash, booked_at_ms, key_name, seal FROM heads
WHERE chain = %s AND chain_seq > %s AND chain_seq <= %s ORDER BY chain_seq"""
# Of each chain: the last batch that ended before the newest rows of the book, or its beginning.
_NEWEST: Final = """
SELECT chain, coalesce(before.chain_seq, pruned.chain_seq, 0),
  coalesce(before.hash, pruned.hash, %(genesis)s), ends.through
FROM (SELECT chain, max(chain_seq) AS through FROM heads
  WHERE seq > (SELECT seq FROM cursor) - %(rows)s GROUP BY chain) AS ends
LEFT JOIN LATERAL (SELECT chain_seq, hash FROM heads WHERE heads.chain = ends.chain
  AND seq <= (SELECT seq FROM cursor) - %(rows)s
  ORDER BY chain_seq DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (SELECT chain_seq, hash FROM checkpoints WHERE checkpoints.chain = ends.chain
  ORDER BY chain_seq DESC LIMIT 1) AS pruned ON true"""
# What is hashed as a row's seq is its place in its chain.
_ROW: Final = ", ".join("chain_seq AS seq" if name == "seq" else name for name in COLUMNS)
_SEQ, _VERSION, _HASHED = (COLUMNS.index(name) for name in ("seq", "hash_version", "prev_hash"))
_ROWS: Final = (
    f"SELECT {_ROW} FROM records WHERE chain = %s AND chain_seq > %s AND chain_seq <= %s "
    "ORDER BY chain_seq LIMIT %s"
)
_LINKS: Final = (
    f"SELECT {', '.join(f'l.{name}' for name in LINK_COLUMNS)}, "
    f"{', '.join(f'g.{name}' for name in CREDIT_COLUMNS)} "
    "FROM credit_links AS l LEFT JOIN grants AS g ON g.seq = l.seq ORDER BY l.seq"
)
_UNLINKED: Final = (
    "SELECT seq, id FROM grants WHERE seq NOT IN (SELECT seq FROM credit_links) ORDER BY seq"
)
# The batches follow one another, behind what was pruned, up to the end of the book.
_GAPS: Final = """
SELECT seq, expected FROM (
  SELECT seq, seq - rows AS begun,
    lag(seq, 1, (SELECT coalesce(max(seq), 0) FROM checkpoints)) OVER (ORDER BY seq) AS expected
  FROM heads
) AS batches WHERE begun <> expected ORDER BY seq LIMIT %s"""
_END: Final = """
SELECT (SELECT seq FROM cursor),
  coalesce(greatest((SELECT max(seq) FROM heads), (SELECT max(seq) FROM checkpoints)), 0)"""


class BookPlace(msgspec.Struct, frozen=True):
    """Where a walk over all chains stands: in this chain, at this place of it.

    `alone`: it is a share, and goes on to no other chain.
    """

    chain: str
    at: ChainPlace
    alone: bool = False


def verify_book(connection: Connection, key: bytes | None) -> Verified:
    """Check every chain, in a transaction that is open and in constant memory."""
    return walked(lambda place: records_step(connection, place, key))


def verify_step(
    connection: Connection,
    part: str,
    place: str | None,
    key: bytes | None,
    public_key: bytes | None = None,
) -> VerifyStep:
    """See `BookReader.verify_step`; `connection` is in a transaction of its own.

    `public_key`: of the key beside the ledger that signs months and statements; None: not known
    """
    match part:
        case "records":
            return records_step(connection, place, key)
        case "audit":
            return _audit_step(connection, key)
        case "prices":
            return prices_step(connection, place)
        case "rollups":
            return rollups_step(connection, place)
        case "wide":
            return wide_step(connection, place)
        case "credits":
            return _credits_step(connection, key)
        case "newest":
            return _newest_step(connection, key)
        case "anchor":
            return anchor_step(connection, place or "", key)
        case closed.PART:
            return statements_step(connection, place, public_key)
        case "months":
            return _months_step(connection, place, key, public_key)
        case _:
            return VerifyStep(
                notes=[f"{part}: not checked here, PostgreSQL's own pg_amcheck does it"]
            )


def records_step(connection: Connection, place: str | None, key: bytes | None) -> VerifyStep:
    """The next rows of a chain with their seals; behind the last chain, the order of batches."""
    if place is None:
        chain = _behind(connection, "")
        if chain is None:
            return _told(list(_gaps(connection)))
        walk, alone = begun_chain(connection, chain, key), False
    else:
        stands = msgspec.json.decode(place, type=BookPlace)
        chain, alone = stands.chain, stands.alone
        walk = _walk(chain=stands.chain, at=stands.at, key=key)
    at = walk.place
    rows = connection.execute(_ROWS.encode(), (chain, at.seq, at.through, STEP_ROWS)).fetchall()
    links = list(map(_link, rows))
    upto = links[-1][0] if len(links) == STEP_ROWS else at.through
    heads: list[Head] = connection.execute(_HEADS, (chain, at.seq, upto)).fetchall()
    walk.page(links, heads, _exactly(rows))
    following: BookPlace | None = BookPlace(chain, walk.place, alone)
    problems: list[Flaw] = []
    begun: ChainWalk | None = None  # the next chain, whose checkpoint is looked at now
    if upto >= at.through:
        walk.end()
        after = _behind(connection, chain)
        following = None
        if alone:
            pass
        elif after is None:
            problems = list(_gaps(connection))
        else:
            begun = begun_chain(connection, after, key)
            following = BookPlace(after, begun.place)
    findings = [*walk.findings, *problems, *(begun.findings if begun else ())]
    return VerifyStep(
        rows=walk.rows,
        seals=walk.seals + (begun.seals if begun else 0),
        foreign=walk.foreign + (begun.foreign if begun else 0),
        found=walk.found + len(problems) + (begun.found if begun else 0),
        findings=findings[:FINDINGS_MAX],
        next=None if following is None else msgspec.json.encode(following).decode(),
    )


def _newest_step(connection: Connection, key: bytes | None) -> VerifyStep:
    """The newest batches of each chain, and the roll-ups of the quarter hour of the last one."""
    walks = []
    newest = connection.execute(_NEWEST, {"genesis": GENESIS, "rows": NEWEST_ROWS}).fetchall()
    for chain, at_seq, at_hash, through in newest:
        place = ChainPlace(through, at_seq, at_hash, at_seq)
        walk = _walk(chain=chain, at=place, key=key)
        bounds = (chain, at_seq, through, 2 * STEP_ROWS)
        rows = connection.execute(_ROWS.encode(), bounds).fetchall()
        heads: list[Head] = connection.execute(_HEADS, (chain, at_seq, through)).fetchall()
        walk.page(map(_link, rows), heads, _exactly(rows))
        walk.end()
        walks.append(walk)
    sums = newest_rollups(connection)
    found = [*(flaw for walk in walks for flaw in walk.findings), *_gaps(connection)]
    return VerifyStep(
        rows=sum(walk.rows for walk in walks),
        seals=sum(walk.seals for walk in walks),
        foreign=sum(walk.foreign for walk in walks),
        found=len(found) + sums.found,
        findings=[*found, *sums.findings][:FINDINGS_MAX],
    )


def chains(connection: Connection) -> list[str]:
    """The names of all chains, in the order of a walk over them."""
    return [name for (name,) in connection.execute(_CHAINS)]


def _behind(connection: Connection, chain: str) -> str | None:
    """The chain whose name comes next."""
    return next((name for name in chains(connection) if name > chain), None)


def _walk(*, chain: str, at: ChainPlace, key: bytes | None) -> ChainWalk:
    return ChainWalk(at, key, row=f"chain {chain!r}: record")


def begun_chain(connection: Connection, chain: str, key: bytes | None) -> ChainWalk:
    """A walk at the first row of a chain, behind its checkpoint if a prefix was pruned."""
    [through] = connection.execute(_LAST, {"chain": chain}).fetchone() or (0,)
    checkpoint: Head | None = connection.execute(_CHECKPOINT, (chain,)).fetchone()
    if checkpoint is None:
        return _walk(chain=chain, at=ChainPlace(through), key=key)
    seq, row_hash = checkpoint[:2]
    walk = _walk(chain=chain, at=ChainPlace(max(through, seq), seq, row_hash, seq), key=key)
    walk.check_seal(checkpoint, "checkpoint")
    return walk


def _link(row: tuple[Any, ...]) -> Link:
    if row[_VERSION] == HASH_VERSION:
        text: bytes | None = canonical(row[:_HASHED])  # a column of text holds no bytes here
    else:
        text = row_text(dict(zip(COLUMNS, row, strict=True)))
    return row[_SEQ], text or b"", row[-2], row[-1]


def _exactly(rows: Sequence[tuple[Any, ...]]) -> Exactly:
    """The id and the bytes of any of these rows, by its seq."""
    by_seq: dict[int, tuple[Any, ...]] = {}

    def found(seq: int) -> tuple[str, bytes | None]:
        if not by_seq:  # few books have a row that this is asked of
            by_seq.update((row[_SEQ], row) for row in rows)
        stored = dict(zip(COLUMNS, by_seq[seq], strict=True))
        return stored["id"], row_text(stored)

    return found


def _gaps(connection: Connection) -> Iterator[Flaw]:
    for seq, expected in connection.execute(_GAPS, (FINDINGS_MAX,)):
        what = f"the batch that ends at seq {seq}: batches behind seq {expected} are missing"
        yield Flaw("records", what, seq)
    end, booked = connection.execute(_END).fetchone() or (0, 0)
    if end != booked:
        yield Flaw("records", f"the book ends at seq {end}, and its last batch at seq {booked}")


def _credits_step(connection: Connection, key: bytes | None) -> VerifyStep:
    rows = connection.execute(_LINKS.encode()).fetchall()
    # An amount is a number without places, and is hashed as an integer.
    at = len(LINK_COLUMNS) + CREDIT_COLUMNS.index("amount")
    links = [(*row[:at], None if row[at] is None else int(row[at]), *row[at + 1 :]) for row in rows]
    return credit_chain.verified(links, connection.execute(_UNLINKED).fetchall(), key)


def _months_step(
    connection: Connection, place: str | None, key: bytes | None, public_key: bytes | None
) -> VerifyStep:
    """The next chunk of a sealed month; with the last one what is kept of archived months."""
    step = months_step(PostgresMonths(connection), place, public_key)
    if step.next is not None:
        return step
    flaws = list(archive_flaws(connection, key))
    return msgspec.structs.replace(
        step,
        found=step.found + len(flaws),
        findings=[*step.findings, *flaws][:FINDINGS_MAX],
    )


def _audit_step(connection: Connection, key: bytes | None) -> VerifyStep:
    """The whole audit: it has one entry for each deed of a person."""
    rows = connection.execute(
        f"SELECT {', '.join(audit_chain.COLUMNS)} FROM audit ORDER BY seq".encode()
    ).fetchall()
    found = [Flaw("audit", problem) for problem in audit_chain.problems(rows, key)]
    return _told(found, rows=len(rows))


def _told(found: list[Flaw], *, rows: int = 0) -> VerifyStep:
    return VerifyStep(rows=rows, found=len(found), findings=found[:FINDINGS_MAX])
