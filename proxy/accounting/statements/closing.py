"""Closes a month: freezes what its statement says, signs it and stores it, with the audit of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.statements.gone import gone
from proxy.accounting.statements.kept import archived_through, kept
from proxy.accounting.statements.statement import LATE_BY, MonthStatement, read_statement
from proxy.core import dates
from proxy.core.managed import Audit
from proxy.core.statements.closing import ClosedStatement, Closing, Closings
from proxy.core.statements.frozen import digest
from proxy.core.statements.tally import unpriced
from proxy.journal import JournalFigures
from proxy.ledger import Ledger, LedgerOutdated, Reader
from proxy.ledger.closed import CLOSE_ACTION
from proxy.ledger.sharing import Instance, InstanceState
from proxy.ledger.signing import own_signer

if TYPE_CHECKING:
    from proxy.ledger.ed25519 import MonthSigner

Force: TypeAlias = Literal["unpriced", "unbooked"]
_RUNS_MS: Final = 600_000  # beyond the longest request: for its end to be booked


class CloseOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Close a month.

    month · YYYY-MM    team · None: all that no statement of one team counts
    zone · of its first midnight. None: as the statement before, else the ledger's
    force · what may be open: requests without a price, and requests that are not booked yet
    """

    month: str
    team: str | None = None
    zone: str | None = None
    force: tuple[Force, ...] = ()
    reason: str | None = None


class CloseRefused(Exception):
    """The month is not closed; the message says why and what to do."""


class Who(msgspec.Struct, frozen=True):
    """Who closes it, from where, and when."""

    actor: str
    origin: str
    at_ms: int


Unbooked: TypeAlias = Callable[[int], Awaitable[list[str]]]


class Closer:
    """Closes months of one ledger.

    signing_key · the file of the key that signs; it is made if absent
    unbooked · what of the requests that began before a time is not in the ledger yet
    """

    def __init__(
        self,
        reader: Reader,
        ledger: Ledger,
        zone: ZoneInfo,
        signing_key: Path,
        unbooked: Unbooked,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._zone = zone
        self._signing_key = signing_key
        self._unbooked = unbooked

    async def close(self, order: CloseOrder, who: Who) -> ClosedStatement:
        """Close the month. Raises CloseRefused, LedgerError and LedgerUnavailable."""
        signer = await asyncio.to_thread(own_signer, self._signing_key, self._reader.has_signatures)
        closings = Closings(await asyncio.to_thread(self._reader.closings))
        zone = zone_of(closings, order.team, order.zone, self._zone)
        start, end = month_of(order.month, zone)
        from_ms, to_ms = dates.unix_ms(start), dates.unix_ms(end)
        _check_turn(closings, order, zone, from_ms, to_ms, who.at_ms)
        await asyncio.to_thread(self._check_team, order.team)
        behind = await self._unbooked(to_ms)
        if behind and "unbooked" not in order.force:
            raise CloseRefused(
                f"not all that began in {order.month} is booked: {'; '.join(behind)}. Try again "
                "when it is; or close with --force unbooked: what comes then is in the next "
                "statement"
            )
        found = await asyncio.to_thread(self._read, order, start, end, zone, closings)
        open_prices = unpriced(
            row for row in (*found.rows, *found.earlier) if row["row"] == "group"
        )
        if found.open_earlier:
            raise CloseRefused(
                f"{found.open_earlier[0]} is not closed, and has records: close it first"
            )
        if open_prices and "unpriced" not in order.force:
            raise CloseRefused(
                f"{_counted(open_prices, 'request')} of this statement have no price: write price "
                "rows, then `tollkeeper price rerate`; or close with --force unpriced: a price "
                "that comes later is in the next statement"
            )
        last = closings.all[-1] if closings.all else None
        found = msgspec.structs.replace(
            found,
            number=1 if last is None else last.number + 1,
            previous=None if last is None else last.digest,
            forced=[
                *([f"{_counted(open_prices, 'request')} had no price"] if open_prices else []),
                *(f"this was not booked: {what}" for what in behind),
            ],
            closed_at_ms=who.at_ms,
            closed_by=who.actor,
        )
        closed = await asyncio.to_thread(_signed, found, signer)  # some have 30,000 lines
        try:
            await self._ledger.close_month(closed, _audit(closed.closing, who, order.reason))
        except LedgerOutdated as error:
            raise CloseRefused("another month was closed meanwhile: look and try again") from error
        return closed

    def _check_team(self, team: str | None) -> None:
        if team is None:
            return
        rows = self._reader.usage(["team"], None, None, self._zone)
        if not any(row["team"] == team for row in rows):
            raise CloseRefused(f"the ledger has no record of a team {team!r}")

    def _read(
        self,
        order: CloseOrder,
        start: datetime,
        end: datetime,
        zone: ZoneInfo,
        closings: Closings,
    ) -> MonthStatement:
        left = gone(self._reader.archives(), zone)
        if left.until_ms is not None and left.until_ms > dates.unix_ms(start):
            raise CloseRefused(
                f"the ledger begins behind seq {left.through}, and records of {order.month} were "
                "among those before: they are archived, and without them there is no statement. "
                f"`tollkeeper usage --month {order.month}` has the sums. Later months can be closed"
            )
        anchor = self._reader.anchor()
        found = read_statement(
            self._reader,
            start,
            end,
            zone,
            team=order.team,
            through=anchor.seq,
            closings=closings.all,
        )
        first = archived_through(self._reader, found)
        if first not in (None, left.through):
            raise CloseRefused(
                f"the ledger begins behind seq {first}, and records of {order.month} may be among "
                "those before, of which no archive is known: `tollkeeper ledger verify` says more"
            )
        if not closings.over(order.team) and (
            before := self._months_before(order.team, start, left.until_ms)
        ):
            found = msgspec.structs.replace(found, open_earlier=before)
        return msgspec.structs.replace(found, anchor=anchor)

    def _months_before(self, team: str | None, start: datetime, since_ms: int | None) -> list[str]:
        """The months before this one that have records of the team, and began since then."""
        assert isinstance(start.tzinfo, ZoneInfo), "a zone with a name"
        # With all sums: a month may have entries by hand alone, which are no requests.
        until_ms = dates.unix_ms(start)
        rows = self._reader.usage(LATE_BY, since_ms, until_ms, start.tzinfo, team=team)
        return sorted({str(row["month"]) for row in rows})


def zone_of(closings: Closings, team: str | None, named: str | None, own: ZoneInfo) -> ZoneInfo:
    """The zone of a statement: the one named, that of the statement before, or the ledger's own.

    Raises CloseRefused for a name that is no zone, or another one than the statement before has.
    """
    before = closings.last_over(team)
    if named is None:
        return own if before is None else ZoneInfo(before.zone)
    try:
        zone = dates.zone(named)
    except ValueError as error:
        raise CloseRefused(str(error)) from error
    if before is not None and zone.key != before.zone:
        raise CloseRefused(
            f"statement {before.number} of {before.month} is in {before.zone}, and the next one "
            "goes on from its end: leave the zone out"
        )
    return zone


def month_of(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """[start, end) of a month. Raises CloseRefused."""
    try:
        return dates.month(text, zone)
    except ValueError as error:
        raise CloseRefused(str(error)) from error


def behind(
    journals: Iterable[JournalFigures],
    instances: Iterable[Instance],
    before_ms: int,
    now_ms: int,
    longest_ms: int,
) -> list[str]:
    """What of the requests that began before a time may be missing in the ledger.

    journals · of this data directory    instances · all that share the ledger
    longest_ms · how long a request may take
    """
    figures = list(journals)
    found = [
        f"the journal of {one.writer} has {_counted(one.unbooked_closes, 'record')} and "
        f"{_counted(one.open_exchanges, 'running request')}"
        for one in figures
        if one.oldest_started_at_ms is not None and one.oldest_started_at_ms < before_ms
    ]
    here = {one.writer for one in figures}
    for instance in instances:
        if instance.name in here:
            continue
        if instance.state is InstanceState.LAPSED:
            found.append(
                f"the instance {instance.name} says nothing, and nobody knows what its journal "
                "holds"
            )
        elif instance.state is InstanceState.LIVE and not _is_clear(
            instance, before_ms, now_ms - longest_ms
        ):
            found.append(f"the instance {instance.name} has not booked all that began then")
    return found


def _is_clear(instance: Instance, before_ms: int, ended_ms: int) -> bool:
    """Whether all that began in it before is booked.

    One of an earlier version does not say: then what began so long ago has ended.
    """
    if instance.clear_ms is None:
        return before_ms + _RUNS_MS <= ended_ms
    return instance.clear_ms >= before_ms


def _check_turn(
    closings: Closings, order: CloseOrder, zone: ZoneInfo, from_ms: int, to_ms: int, now_ms: int
) -> None:
    """Raise CloseRefused where the month is not over, or closed already, or a later one is."""
    if now_ms < to_ms:
        end = dates.local(to_ms, zone)
        raise CloseRefused(f"{order.month} is over at {end:%Y-%m-%d %H:%M} {zone.key}")
    before = closings.last_over(order.team)
    if before is None or before.to_ms <= from_ms:
        return
    whose = "all teams" if before.team is None else f"team {before.team}"
    if before.month == order.month:
        raise CloseRefused(
            f"{order.month} is closed for {whose}: it is statement {before.number}. What is booked "
            "later is in the statement of the next month"
        )
    raise CloseRefused(
        f"{before.month} is closed for {whose}, which comes later: what is booked for "
        f"{order.month} is in the next statement"
    )


def _signed(found: MonthStatement, signer: MonthSigner) -> ClosedStatement:
    document = kept(found)
    return ClosedStatement(
        closing=_closing(found, digest(document)),
        document=document,
        public_key=signer.public_key,
        signature=signer.sign(document),
    )


def _closing(statement: MonthStatement, hashed: str) -> Closing:
    assert statement.number is not None and statement.closed_at_ms is not None, "it is closed"
    return Closing(
        number=statement.number,
        month=statement.month,
        zone=statement.timezone,
        team=statement.team,
        from_ms=statement.from_ms,
        to_ms=statement.to_ms,
        through=statement.through,
        closed_at_ms=statement.closed_at_ms,
        closed_by=str(statement.closed_by),
        digest=hashed,
    )


def _audit(closing: Closing, who: Who, reason: str | None) -> Audit:
    return Audit(
        at_ms=who.at_ms,
        actor=who.actor,
        origin=who.origin,
        action=CLOSE_ACTION,
        kind="statement",
        name=closing.month if closing.team is None else f"{closing.month} {closing.team}",
        after=msgspec.json.encode(closing).decode(),
        reason=reason,
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
