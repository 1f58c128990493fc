"""What `Reader.usage` is asked and answers, whatever the database: groups, local times, windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final, TypeAlias

import msgspec

from proxy.core.calendar import Per, window
from proxy.ledger import QuestionRefused
from proxy.ledger.reading import GROUPED_BY, LABEL, TAG, UsageRow, groups
from proxy.ledger.reading import RECORDS_MAX as RECORDS_MAX
from proxy.ledger.spans import BUCKET_MS, Reach

# Counted from the records: they are few, and have an index of their own.
FLAGGED: Final = "inconsistent_requests"
# About ten years. Days are asked for one by one; with more of them, a clock was far off once.
DAYS_MAX: Final = 4_000
# What `by` may name that roll-ups have, with its column. The other names only records have.
IN_ROLLUPS: Final = {
    "team": "team",
    "key": "key_id",
    "model": "model_requested",
    "upstream": "upstream",
    "month": "month",
    "day": "day",
    "hour": "hour",
}
TIMES: Final = ("month", "day", "hour")

# The names in their order, the currency, then the sums.
Line: TypeAlias = tuple[str | int | None, ...]
Window: TypeAlias = tuple[str, int, int]  # its first day, and [from_ms, to_ms)


class Ask(msgspec.Struct, frozen=True):
    """What `Reader.usage` is asked."""

    by: Sequence[str]
    from_ms: int | None
    to_ms: int | None
    zone: tzinfo
    names: Sequence[str]
    team: str | None = None
    through: int | None = None
    key: str | None = None

    def only(self) -> list[tuple[str, str]]:
        """The columns that have one value in all that is asked for, each with it."""
        asked = (("key_id", self.key), ("team", self.team))
        return [(column, value) for column, value in asked if value is not None]

    def names_keys(self) -> bool:
        """Whether only sums with keys can tell."""
        return self.key is not None or "key" in self.by


def check(by: Sequence[str]) -> None:
    """Raise QuestionRefused for a name that cannot be grouped by."""
    unknown = [name for name in by if not groups(name)]
    if unknown:
        raise QuestionRefused(
            f"cannot group by {', '.join(unknown)}: use any of {', '.join(GROUPED_BY)} "
            "label:NAME and tag:NAME"
        )


def reads_records(ask: Ask) -> bool:
    """Whether only records can tell, and no roll-up."""
    return ask.through is not None or not all(name in IN_ROLLUPS for name in ask.by)


def counts_first(ask: Ask) -> bool:
    """Whether the records of the range are to be counted before they are read."""
    return ask.through is not None or any(name.startswith(TAG) for name in ask.by)


def check_booked(through: int | None, head: int) -> None:
    """Raise QuestionRefused for a seq that is not booked yet."""
    if through is not None and through > head:
        raise QuestionRefused(f"the book ends at seq {head}, before {through}")


def check_count(records: int) -> None:
    """Raise QuestionRefused when that many records are too many to be read at once."""
    if records > RECORDS_MAX:
        raise QuestionRefused(
            f"tags and a seq are read from the records, and this range has more than"
            f" {RECORDS_MAX:,}: ask for less of it at once"
        )


def named(name: str) -> tuple[str, str] | None:
    """The prefix of a label or tag (LABEL, TAG) and its name; None for any other group."""
    for prefix in (LABEL, TAG):
        if name.startswith(prefix):
            return prefix, name[len(prefix) :]
    return None


def windows(reached: Reach, last_ms: int | None, ask: Ask) -> list[Window] | None:
    """The local days or months of the range that can have records, each with its part of it.

    Each is named by its first day in the range. The last quarter hour begins at `last_ms`. None:
    windows are not asked for, there are no wide roll-ups, or too many days.
    """
    if "hour" in ask.by or not ("day" in ask.by or "month" in ask.by):
        return None
    per = Per.DAY if "day" in ask.by else Per.MONTH
    if (
        last_ms is None
        or reached.folded_until_ms == 0
        or reached.first_ms is None
        or last_ms - reached.first_ms > DAYS_MAX * 86_400_000
    ):
        return None
    from_ms, to_ms, first_ms = ask.from_ms, ask.to_ms, reached.first_ms
    at_ms = first_ms if from_ms is None else max(from_ms, first_ms)
    end_ms = last_ms + BUCKET_MS if to_ms is None else min(to_ms, last_ms + BUCKET_MS)
    found: list[Window] = []
    while at_ms < end_ms:
        until_ms = window(per, at_ms, ask.zone).end_ms
        assert until_ms is not None, "a day and a month end"
        found.append((local(at_ms, ask.zone).date().isoformat(), at_ms, min(until_ms, end_ms)))
        at_ms = until_ms
    return found


def usage_row(
    by: Sequence[str],
    names: Sequence[str],
    line: Sequence[str | int | None],
    sums: Sequence[int | None],
) -> UsageRow:
    """A row of the answer: `line` begins with the groups and the currency."""
    found = dict(zip(by, line, strict=False))
    if "hour" in found:
        found["hour"] = str(found["hour"]).partition(" ")[2]
    shown: UsageRow = {}
    for name, value in zip(names, sums, strict=True):
        shown[name] = value
        if name == "charge_nano":
            shown["currency"] = line[len(by)]
    return {**found, **shown, "currency": line[len(by)]}


def local_time(name: str, ms: int, zone: tzinfo) -> str:
    """The local `month`, `day` or `hour` of a moment, so that texts sort as times do.

    An hour is a number to sort by, then ISO text with the offset: the hour that a clock change
    repeats is shown as two hours.
    """
    at = local(ms, zone)
    if name != "hour":
        return at.date().isoformat()[: 7 if name == "month" else 10]
    hour = at.replace(minute=0, second=0, tzinfo=timezone(at.utcoffset() or timedelta()))
    return f"{int(hour.timestamp()) * 1000:015d} {hour.isoformat(timespec='seconds')}"


def local(ms: int, zone: tzinfo) -> datetime:
    """The moment in the zone, to the second."""
    return datetime.fromtimestamp(ms // 1000, zone)


def parts_of_quarters(ask: Ask) -> Iterator[tuple[int, int]]:
    """The ranges of time at the edges of what is asked that only records can answer."""
    for edge_ms in (ask.from_ms, ask.to_ms):
        if edge_ms is not None and edge_ms % BUCKET_MS:
            start_ms = edge_ms // BUCKET_MS * BUCKET_MS
            from_ms = start_ms if ask.from_ms is None else max(start_ms, ask.from_ms)
            to_ms = start_ms + BUCKET_MS
            yield from_ms, to_ms if ask.to_ms is None else min(to_ms, ask.to_ms)
