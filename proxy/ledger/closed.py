"""Closed months as rows of a table, whatever the database, and what may be wrong with one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from proxy.core.records.chain import FINDINGS_MAX, Flaw
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.core.statements.frozen import digest
from proxy.ledger.signing import can_sign, is_signed
from proxy.ledger.verification import VerifyStep

# What a list tells, in the order of `Closing`, and what one statement has beside that.
LISTED: Final = (
    "seq",
    "month",
    "zone",
    "team",
    "from_ms",
    "to_ms",
    "through",
    "closed_at_ms",
    "closed_by",
    "digest",
)
COLUMNS: Final = (*LISTED, "document", "public_key", "signature")
CLOSE_ACTION: Final = "statement.close"  # in the audit, whose `after` is the Closing
# What `held_against_the_audit` compares.
DIGESTS: Final = "SELECT seq, digest FROM statements ORDER BY seq"
AUDITED: Final = f"SELECT after FROM audit WHERE action = '{CLOSE_ACTION}' ORDER BY seq"
PART: Final = "statements"  # of the book, where it is verified


class _OwnHead(msgspec.Struct, frozen=True):
    """What a document says of itself."""

    number: str
    month: str
    timezone: str
    team: str | None
    from_ms: str
    to_ms: str
    through: str
    closed_at_ms: str
    closed_by: str
    previous: str | None


def row_of(closed: ClosedStatement) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    *listed, hashed = msgspec.structs.astuple(closed.closing)
    return (*listed, bytes.fromhex(hashed), closed.document, closed.public_key, closed.signature)


def closing_of(row: Sequence[Any]) -> Closing:
    """The values of LISTED as a closing."""
    names = Closing.__struct_fields__
    return Closing(**dict(zip(names, (*row[:-1], bytes(row[-1]).hex()), strict=True)))


def closed_of(row: Sequence[Any]) -> ClosedStatement:
    """The values of COLUMNS as a closed statement."""
    document, public_key, signature = map(bytes, row[-3:])
    return ClosedStatement(
        closing=closing_of(row[:-3]),
        document=document,
        public_key=public_key,
        signature=signature,
    )


def verified(
    row: Sequence[Any], before: tuple[int, bytes] | None, public_key: bytes | None
) -> VerifyStep:
    """Verify one row of the table.

    before · the number and digest of the statement before    public_key · beside the ledger
    """
    closed = closed_of(row)
    number = closed.closing.number
    found = [
        Flaw(PART, f"statement {number} of {closed.closing.month}: {what}", number)
        for what in wrong(closed, before, public_key)
    ]
    notes = [] if can_sign() else [f"{PART}: signatures need pip install 'tollkeeper[sign]'"]
    return VerifyStep(
        rows=1, seals=1, found=len(found), findings=found, next=str(number), notes=notes
    )


def held_against_the_audit(
    stored: Iterable[tuple[int, bytes]], audited: Iterable[tuple[str | None]]
) -> VerifyStep:
    """Hold all statements against the audit of their closing.

    The last ones may have been taken away, which leaves the row of numbers whole.

    stored, audited · the rows of DIGESTS and of AUDITED
    """
    left = {number: bytes(hashed).hex() for number, hashed in stored}
    found: list[Flaw] = []
    for (after,) in audited:
        try:
            told = msgspec.json.decode(after or "", type=Closing)
        except msgspec.MsgspecError:
            continue  # the audit is verified by itself
        hashed = left.pop(told.number, None)
        if hashed == told.digest:
            continue
        what = "is missing" if hashed is None else "is another than was closed"
        said = f"the audit says that {told.closed_by} closed it"
        found.append(
            Flaw(PART, f"statement {told.number} of {told.month} {what}: {said}", told.number)
        )
    found += [
        Flaw(PART, f"statement {number}: the audit does not say who closed it", number)
        for number in left
    ]
    return VerifyStep(found=len(found), findings=found[:FINDINGS_MAX])


def wrong(
    closed: ClosedStatement, before: tuple[int, bytes] | None, public_key: bytes | None
) -> Iterator[str]:
    """What is wrong with a closed statement, without a look at its records."""
    closing = closed.closing
    number, hashed = (0, None) if before is None else (before[0], before[1].hex())
    if closing.number != number + 1:
        yield f"the ones between it and statement {number} are missing"
    if digest(closed.document) != closing.digest:
        yield "it was changed since it was closed"
    try:
        told = msgspec.json.decode(closed.document, type=_OwnHead)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        yield "it cannot be read"
        return
    said = (
        *(str(closing.number), closing.month, closing.zone, closing.team, str(closing.from_ms)),
        *(str(closing.to_ms), str(closing.through), str(closing.closed_at_ms), closing.closed_by),
    )
    if msgspec.structs.astuple(told)[:-1] != said:
        yield "its row says something else than it does"
    if told.previous != hashed:
        yield f"it does not follow statement {number}"
    if public_key is not None and public_key != closed.public_key:
        yield "it was signed with another key than the one beside the ledger"
    elif can_sign() and not is_signed(closed.document, closed.signature, closed.public_key):
        yield "its signature is wrong"
