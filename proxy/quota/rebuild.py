"""Rebuilds the running counts of limits from the book.

Its sources are roll-ups, recent records and credits. It runs at the start, and for the limits that
a reload adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from proxy.core.calendar import Per, window
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.core.limits.dimensions import END_USER, MISSING, tag_of
from proxy.core.limits.limit import Limit
from proxy.core.limits.rules import Rules
from proxy.ledger import Reader
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import Recent, UsageRow, ValueUse
from proxy.ledger.sharing import Sharing, Writer
from proxy.quota import Book, Ended, Past, Quota

_CALENDAR = (Per.DAY, Per.WEEK, Per.MONTH, Per.TOTAL)
_BY = ("key", "team", "upstream", "model")
_COUNTED = ("requests", "input_tokens", "output_tokens", "charge_nano")
_HOUR_MS = 3_600_000


class HasCredits(Protocol):
    """The part of a ledger that knows the credits."""

    async def credits(self) -> Sequence[Credit]:
        """Every credit. Raises LedgerError or LedgerUnavailable."""
        ...


async def restore(
    quota: Quota,
    rules: Rules,
    ledger: HasCredits,
    reader: Reader,
    unbooked: Sequence[Recent] = (),
    *,
    currency: str,
    zone: ZoneInfo,
    now_ms: int,
) -> bool:
    """Build the counts that the store does not have yet. Whether they stand there now.

    `unbooked` are the records that are journaled and not in the book. A caller that does not know
    them books the journal first. Raises LedgerError or LedgerUnavailable where the book cannot be
    read.
    """
    past = await answer_of(_past, reader, rules, currency, zone, now_ms)
    past += _entries(unbooked, rules, currency, lambda limit: True)
    since_ms = now_ms - rules.lookback_ms()
    return await quota.restore(past, await ledger.credits(), since_ms=since_ms, now_ms=now_ms)


async def shared_book(
    sharing: Sharing,
    rules: Rules,
    ledger: HasCredits,
    *,
    currency: str,
    zone: ZoneInfo,
    now_ms: int,
) -> Book:
    """All past use as one state of the book has it, with how far each journal is in it.

    Raises LedgerError or LedgerUnavailable where the book cannot be read.
    """

    def read() -> tuple[list[Past], Sequence[Writer]]:
        with sharing.one_state() as state:
            return _past(state.reader, rules, currency, zone, now_ms), state.writers

    past, writers = await answer_of(read)
    return Book(
        past=past,
        credits=await ledger.credits(),
        since_ms=now_ms - rules.lookback_ms(),
        now_ms=now_ms,
        positions={writer.name: writer.position for writer in writers},
        live=[writer.name for writer in writers if writer.may_have_more],
    )


def ended(closes: Iterable[tuple[str, Recent]], rules: Rules, currency: str) -> list[Ended]:
    """What closes of a journal say, each under its id, for the limits in which it counts."""
    found: list[Ended] = []
    for id, row in closes:
        found += [Ended(id, past) for past in _entries([row], rules, currency, lambda limit: True)]
    return found


def _past(reader: Reader, rules: Rules, currency: str, zone: ZoneInfo, now_ms: int) -> list[Past]:
    """What is booked. Blocks: a large book has as many sums as keys times models."""
    past: list[Past] = []
    for per in _CALENDAR:
        if rules.uses(per):
            start_ms = window(per, now_ms, zone).start_ms
            from_ms = None if per is Per.TOTAL else start_ms
            of_period = rules.of_period(per)
            # A key's models are many lines, and mostly no limit asks for them.
            by = _BY if of_period.tell_calls_apart() else _BY[:2]
            rows = reader.usage(list(by), from_ms, None, zone, sums=_COUNTED)
            past += _sums(rows, of_period, start_ms, currency)
            for dimension in sorted(rules.dimensions(per)):
                tag = None if dimension == END_USER else tag_of(dimension)
                valued = reader.used_by_value(tag, start_ms)
                past += _of_values(valued, rules, per, dimension, start_ms, currency)
    since_ms = now_ms - rules.lookback_ms()
    if since_ms < now_ms:
        past += _of_rates(reader, rules, since_ms, now_ms, currency)
    return past


def _of_rates(
    reader: Reader, rules: Rules, since_ms: int, now_ms: int, currency: str
) -> Iterator[Past]:
    """What counts in rates: by the hour as far as records are archived, and then each record.

    An hour counts at its end, so that a rate never has more left than single records would leave
    it. Roll-ups know no end users and no tags: of hours, rates for each value are told nothing.
    """
    last_ms = max((month.last_start_ms for month in reader.archives()), default=-1)
    if last_ms >= since_ms:
        until_ms = (last_ms // _HOUR_MS + 1) * _HOUR_MS
        from_ms = since_ms // _HOUR_MS * _HOUR_MS
        rows = reader.usage([*_BY, "hour"], from_ms, until_ms, UTC, sums=_COUNTED)
        hours = [(_end_ms(row), row) for row in rows]
        for end_ms, row in sorted(hours, key=lambda one: one[0]):
            yield from _sums([row], rules, end_ms, currency, _is_plain_rate)
        since_ms = until_ms
    latest = reader.recent(since_ms, now_ms)
    yield from _entries(latest, rules, currency, lambda limit: limit.smooth)


def _end_ms(row: UsageRow) -> int:
    """The last moment of the row's hour."""
    return int(datetime.fromisoformat(str(row["hour"])).timestamp()) * 1000 + _HOUR_MS - 1


def _is_plain_rate(limit: Limit) -> bool:
    return limit.smooth and limit.dimension is None


def count_ended(
    quota: Quota, rules: Rules, before: Rules, ended: Iterable[Recent], currency: str, now_ms: int
) -> None:
    """Count what ended while new limits were restored: those of `rules` that `before` lacks.

    Rates are not told: they were restored from single records, and flow on.
    """
    known = before.identities()
    for entry in _entries(ended, rules, currency, lambda limit: limit.rule_id not in known):
        quota.adjust(entry.limits, entry.started_at_ms, entry.used, now_ms)


def forget_others(quota: Quota, rules: Rules) -> None:
    """Count limits no more that this process does not have; they would fall behind the ledger."""
    quota.forget(rules.without(quota.limits()))


def _sums(
    rows: Iterable[UsageRow],
    rules: Rules,
    start_ms: int,
    currency: str,
    wanted: Callable[[Limit], bool] = lambda limit: True,
) -> Iterator[Past]:
    """What each line used in the window that began at `start_ms`, for those limits of `rules`."""
    for row in rows:
        key, team, model = row["key"], row["team"], row.get("model")
        upstream = row.get("upstream", "")
        assert isinstance(key, str) and isinstance(upstream, str), "every record has both"
        found = rules.limits_for(
            key,
            team if isinstance(team, str) else None,
            upstream,
            model if isinstance(model, str) else None,
        )
        limits = tuple(filter(wanted, found))
        if limits:
            known = {name: value for name, value in row.items() if isinstance(value, int)}
            charge_nano = known.get("charge_nano") if row["currency"] == currency else None
            used = Used(
                requests=known["requests"],
                input_tokens=known.get("input_tokens"),
                output_tokens=known.get("output_tokens"),
                charge_nano=charge_nano,
            )
            yield Past(limits, start_ms, used)


def _of_values(
    rows: Iterable[ValueUse], rules: Rules, per: Per, dimension: str, start_ms: int, currency: str
) -> Iterator[Past]:
    """What was used for each value of a dimension in the window that began at `start_ms`."""
    for row in rows:
        limits = rules.limits_for(row.key_id, row.team, row.upstream, row.model_requested)
        value = MISSING if row.value is None else row.value
        mine = tuple(
            limit.of_value(value)
            for limit in limits
            if limit.per is per and limit.dimension == dimension
        )
        if mine:
            used = Used(
                requests=row.requests,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                charge_nano=row.charge_nano if row.currency == currency else None,
            )
            yield Past(mine, start_ms, used)


def _entries(
    rows: Iterable[Recent], rules: Rules, currency: str, wanted: Callable[[Limit], bool]
) -> Iterator[Past]:
    for row in rows:
        found = rules.limits_for(row.key_id, row.team, row.upstream, row.model_requested)
        limits = tuple(filter(wanted, found.of_values(row.end_user, row.tags)))
        if limits:
            charge_nano = row.charge_nano if row.currency == currency else None
            yield Past(
                limits,
                row.started_at_ms,
                Used(
                    requests=row.requests,
                    input_tokens=row.input_tokens,
                    output_tokens=row.output_tokens,
                    charge_nano=charge_nano,
                ),
            )
