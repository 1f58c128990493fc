"""Books entries by hand: an amount for a month, or a period's use under another team or label.

An order has a name that stays its own. It is in the audit before anything is booked, so that the
same order again books what is missing, and another one under that name is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.adjust_order import (
    AdjustOrder,
    AmountEntry,
    KnownNames,
    UseMove,
    check_names,
)
from proxy.core import dates
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.managed import Audit, TenantChange
from proxy.core.model_names import matches
from proxy.core.pricing.option import compiled, step_at
from proxy.core.pricing.terms import Terms
from proxy.core.records.by_hand import (
    NOBODY,
    EnteredAmount,
    Entering,
    Moving,
    Whose,
    entry,
    exchanged,
    nano_of,
)
from proxy.core.records.canonical import COLUMNS
from proxy.core.statements.closing import Closings
from proxy.core.usage import UsageRecord
from proxy.ledger import Ledger, Reader
from proxy.ledger.reading import Row, Stretch

ID_CHARS_MAX: Final = 100
REASON_CHARS_MAX: Final = 200
ACTION, KIND = "ledger.adjust", "adjustment"  # in the audit
_AUDIT_PAGE: Final = 1000
_NOON_MS: Final = 43_200_000
_FIRST_YEAR: Final = 1971  # the times of records begin with 1970, in any zone
_TEAM, _KEY, _MODEL, _UPSTREAM = map(
    COLUMNS.index, ("team", "key_id", "model_requested", "upstream")
)


class AdjustedLine(msgspec.Struct, frozen=True):
    """One row that is booked; amounts and counts are differences, null where nothing changes."""

    id: str
    team: str | None
    key: str
    upstream: str
    model: str | None
    labels: dict[str, str]
    currency: str | None
    cost_nano: int | None
    charge_nano: int | None
    input_tokens: int | None
    output_tokens: int | None

    @classmethod
    def of(cls, record: UsageRecord) -> AdjustedLine:
        """The line of a row."""
        return cls(
            record.id,
            record.team,
            record.key_id,
            record.upstream,
            record.model_requested,
            record.labels,
            record.currency,
            record.cost_nano,
            record.charge_nano,
            record.input_tokens,
            record.output_tokens,
        )


class ByHandDone(msgspec.Struct, frozen=True, kw_only=True):
    """What an order books, or would book.

    before · the order was given before    known · its rows that were booked then
    requests · that a move is about
    statement · the closed statement of the month; what is booked now is in a later one
    """

    dry_run: bool
    lines: list[AdjustedLine]
    before: bool
    known: int
    requests: int
    statement: int | None


class OrderedBy(msgspec.Struct, frozen=True):
    """Who gives the order, from where, and when."""

    actor: str
    origin: str
    at_ms: int


class Adjuster:
    """Books orders into one ledger. `known` are the names that an order may have."""

    def __init__(
        self,
        reader: Reader,
        ledger: Ledger,
        zone: ZoneInfo,
        terms: Terms,
        known: KnownNames,
        booked: Callable[[UsageRecord], None] | None = None,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._zone = zone
        self._terms = terms
        self._known = known
        self._booked = booked

    async def adjust(self, order: AdjustOrder, by: OrderedBy) -> ByHandDone:
        """Book an order. `booked` hears of each row.

        Raises ProxyError 400 or 409 for what cannot be done as asked, LedgerError and
        LedgerUnavailable.
        """
        start, end, entering = self._when(order, by.at_ms)
        await asyncio.to_thread(check_names, order, self._known, self._reader, self._zone)
        deed = Audit(
            at_ms=by.at_ms,
            actor=by.actor,
            origin=by.origin,
            action=ACTION,
            kind=KIND,
            name=order.id,
            after=msgspec.json.encode(msgspec.structs.replace(order, dry_run=False)).decode(),
            reason=order.reason,
        )
        seen = await asyncio.to_thread(self._reader.audit_head)
        ordered = await asyncio.to_thread(self._ordered_before, deed)
        rows, requests = await asyncio.to_thread(self._rows, order, entering, start, end)
        if not rows and not ordered:
            raise invalid_request(
                f"Nothing is to be moved in {order.month}: "
                + ("their use is there already." if requests else "no request is chosen.")
                + f" `tollkeeper usage --month {order.month} --by team,key,model` says whose is "
                "what."
            )
        fresh = await self._fresh(rows)
        if not order.dry_run and fresh:
            if not ordered:
                await self._ledger.change(TenantChange((), (deed,)))
                await asyncio.to_thread(self._check_alone, deed, order, seen)
            await self._book(fresh)
        closed = Closings(await asyncio.to_thread(self._reader.closings))
        team = order.move.team if order.move is not None else (order.amount or _NOTHING).team
        closing = closed.of(order.month, team) or closed.of(order.month, None)
        return ByHandDone(
            dry_run=order.dry_run,
            lines=list(map(AdjustedLine.of, fresh)),
            before=ordered,
            known=len(rows) - len(fresh),
            requests=requests,
            statement=None if closing is None else closing.number,
        )

    def _when(self, order: AdjustOrder, now_ms: int) -> tuple[datetime, datetime, Entering]:
        """The month, and what all rows have. Raises ProxyError 400."""
        for name, text, most in (
            ("id", order.id, ID_CHARS_MAX),
            ("reason", order.reason, REASON_CHARS_MAX),
        ):
            if not (0 < len(text) <= most and text.isprintable() and text.strip() == text):
                raise invalid_request(
                    f"`{name}` is one line of 1 to {most} characters.", param=name
                )
        if (order.amount is None) == (order.move is None):
            raise invalid_request("An entry is either an `amount` or a `move`.")
        try:
            zone = self._zone if order.zone is None else dates.zone(order.zone)
            start, end = dates.month(order.month, zone)
        except ValueError as error:
            message = f"`zone` or `month` cannot be read: {error}."
            raise invalid_request(message, param="month") from error
        if not dates.unix_ms(start) <= now_ms or start.year < _FIRST_YEAR:
            what = "has not begun" if start.year >= _FIRST_YEAR else "is before any request"
            raise invalid_request(f"{order.month} {what}: check the month.", param="month")
        # Noon of the fifteenth is in the month in every zone.
        middle = datetime(start.year, start.month, 15, tzinfo=ZoneInfo("UTC"))
        stamp_ms = dates.unix_ms(middle) + _NOON_MS
        entering = Entering(
            name=order.id,
            stamp_ms=stamp_ms,
            started_at_ms=min(stamp_ms, now_ms),
            reason=order.reason,
        )
        return start, end, entering

    def _ordered_before(self, deed: Audit) -> bool:
        """Whether the audit has this order. Raises ProxyError 409 where its id is another's."""
        after = 0
        while page := self._reader.audit(after, _AUDIT_PAGE):
            for one in page:
                if one.deed.kind == KIND and one.deed.name == deed.name:
                    if one.deed.after == deed.after:
                        return True
                    message = (
                        f"The id {deed.name!r} stands for another entry, which {one.deed.actor} "
                        f"made: {one.deed.after}. Nothing is booked; give this one its own id."
                    )
                    raise ProxyError(409, "invalid_request_error", "id_taken", message, param="id")
            after = page[-1].seq
        return False

    def _check_alone(self, deed: Audit, order: AdjustOrder, seen: int) -> None:
        """Raise ProxyError 409 where another process took the id, or moved something, meanwhile."""
        self._ordered_before(deed)
        for one in self._reader.audit(seen, _AUDIT_PAGE) if order.move is not None else ():
            if (one.deed.name, one.deed.kind) == (deed.name, KIND):
                return
            if one.deed.kind == KIND:
                message = f"{one.deed.actor} made {one.deed.name!r} meanwhile: give this again."
                raise ProxyError(409, "invalid_request_error", "changed_meanwhile", message)

    def _rows(
        self, order: AdjustOrder, entering: Entering, start: datetime, end: datetime
    ) -> tuple[list[UsageRecord], int]:
        if order.amount is not None:
            return self._entry(order.amount, entering, start, end), 0
        assert order.move is not None, "it is one of both"
        return self._moved(order.move, entering, start, end)

    def _entry(
        self, amount: AmountEntry, entering: Entering, start: datetime, end: datetime
    ) -> list[UsageRecord]:
        try:
            nano = nano_of(amount.amount)
        except ValueError as error:
            raise invalid_request(f"`amount`: {error}.", param="amount") from error
        if nano == 0:
            raise invalid_request("An amount of 0 changes nothing.", param="amount")
        team = amount.team
        if amount.key is not None and team is None:
            team = self._team_of(amount.key, start, end)
        whose = Whose(
            key_id=amount.key or NOBODY,
            team=team,
            upstream=amount.upstream or NOBODY,
            model=amount.model,
        )
        return entry(entering, whose, self._money(amount, nano, entering.started_at_ms))

    def _money(self, amount: AmountEntry, nano: int, at_ms: int) -> EnteredAmount:
        """The amount in the ledger's currency. Raises ProxyError 400 without a rate of exchange."""
        currency, own = amount.currency, self._terms.currency
        rate = None
        if currency != own:
            found = step_at(compiled(self._terms.fx.get(currency, ()), str), at_ms)
            if found is None:
                raise invalid_request(
                    f"The ledger is in {own}, and `fx` has no rate for {currency[:20]!r} then: "
                    f"add one to the config, or give the amount in {own}.",
                    param="currency",
                )
            rate = found[1]
        booked = nano if rate is None else exchanged(nano, rate)
        cost = booked if amount.of != "charge" else None
        return EnteredAmount(
            cost_nano=cost,
            charge_nano=booked if amount.of != "cost" else None,
            currency=own,
            original_nano=None if cost is None else nano,
            original_currency=currency,
            fx_rate=rate,
        )

    def _team_of(self, key: str, start: datetime, end: datetime) -> str | None:
        """The team of the key's requests of the month. Raises ProxyError 400 if it is not clear."""
        rows = self._reader.usage(
            ["key", "team"], *dates.range_ms(start, end), self._zone, sums=["requests"]
        )
        teams = {row["team"] for row in rows if row["key"] == key}
        if len(teams) != 1:
            said = "no request" if not teams else "requests of several teams"
            message = f"The key {key[:80]!r} has {said} in that month: name the team."
            raise invalid_request(message, param="team")
        [team] = teams
        return None if team is None else str(team)

    def _moved(
        self, move: UseMove, entering: Entering, start: datetime, end: datetime
    ) -> tuple[list[UsageRecord], int]:
        if move.to_team is None and not move.to_labels:
            raise invalid_request("A move needs `to_team` or `to_labels`.", param="to_team")
        if move.team is None and move.key is None:
            raise invalid_request("A move says of which `team` or `key`.", param="team")
        from_ms, to_ms = dates.range_ms(start, end)
        moving = Moving(move.to_team, move.to_labels)
        whole = Stretch(through=self._reader.head(), from_ms=from_ms, to_ms=to_ms)
        for page in self._reader.pages(self._reader.narrowed(whole)):
            for row in page.rows:
                if _chosen(move, row):
                    moving.add(row)
        if moving.unpriced:
            raise invalid_request(
                f"{moving.unpriced:,} of these requests have no price, and a later one would stay "
                "where they are: `tollkeeper price rerate` first."
            )
        rows = [row for pair in moving.pairs(entering) for row in pair]
        return rows, moving.requests

    async def _fresh(self, rows: Sequence[UsageRecord]) -> list[UsageRecord]:
        """Those that are not booked yet."""
        known: set[str] = set()
        for at in range(0, len(rows), self._ledger.batch_max):
            part = [row.id for row in rows[at : at + self._ledger.batch_max]]
            known |= (await self._ledger.stored(part)).keys()
        return [row for row in rows if row.id not in known]

    async def _book(self, rows: Sequence[UsageRecord]) -> None:
        """Both sides of a move are in one transaction: batches are of an even size."""
        for at in range(0, len(rows), self._ledger.batch_max):
            part = rows[at : at + self._ledger.batch_max]
            await self._ledger.adjust(part)
            if self._booked is not None:
                for row in part:
                    self._booked(row)


_NOTHING: Final = AmountEntry(amount="0", currency="")


def _chosen(move: UseMove, row: Row) -> bool:
    model = "" if row[_MODEL] is None else str(row[_MODEL])
    return (
        move.team in (None, row[_TEAM])
        and move.key in (None, row[_KEY])
        and move.upstream in (None, row[_UPSTREAM])
        and (not move.models or any(matches(glob, model) for glob in move.models))
    )
