"""Which records a number stands for, as the address of a page says it.

The sums of the book go by the same range and the same names, so that the records of the page add up
to the number that led there.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.admin.pages.look import link
from proxy.core import dates
from proxy.core.calendar import Per, window
from proxy.core.errors import invalid_request
from proxy.dataplane.pages.months import MonthAsked, month_of
from proxy.ledger.reading import RowChoice, UsageRow

PATH: Final = "/ui/records"
NAMES: Final = ("team", "key", "model", "upstream")
_MILLISECONDS: Final = re.compile(r"[0-9]{11,14}")  # as Grafana writes a moment
_BUCKET_MS: Final = 15 * 60 * 1000  # of the book's sums
_WHAT = Annotated[str, msgspec.Meta(max_length=1000)]


class ChosenAsked(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A month, a day, or a range; and the team, key, model or upstream.

    from, to · a day or time in the zone, or Unix milliseconds; taken to the quarter hour
    without · names of these four, comma-separated, that the records do not have
    before · where a page of records begins: the seq of the last one before it
    """

    month: str | None = None
    day: str | None = None
    from_: str | None = None
    to: str | None = None
    team: _WHAT | None = None
    key: _WHAT | None = None
    model: _WHAT | None = None
    upstream: _WHAT | None = None
    without: str | None = None
    before: Annotated[int, msgspec.Meta(ge=1, le=2**62)] | None = None


class ChosenRecords(msgspec.Struct, frozen=True):
    """Records started in [from_ms, to_ms), open where None, that have what `wanted` names.

    None in `wanted`: that they do not have it. `time` is the range as the address says it.
    """

    from_ms: int | None
    to_ms: int | None
    time: dict[str, str]
    wanted: dict[str, str | None]

    @property
    def asked_for(self) -> dict[str, str]:
        """What the book's reader itself can choose by."""
        return {
            name: value
            for name, value in self.wanted.items()
            if name in ("team", "key") and value is not None
        }

    def choice(self, through: int) -> RowChoice:
        """What the book's reader lists them by, as the book stood at that seq."""
        return RowChoice(
            through=through,
            from_ms=self.from_ms,
            to_ms=self.to_ms,
            **self.wanted,
        )

    def holds(self, row: UsageRow) -> bool:
        """Whether a sum, which was grouped by what the reader cannot choose by, is of them."""
        return all(
            row[name] == value for name, value in self.wanted.items() if name not in self.asked_for
        )

    def narrowed(self, name: str | None, label: str | None) -> ChosenRecords:
        """Those of them in one line of a table that is grouped by this name.

        By `day` only if their range begins and ends with days.
        """
        if name is None:
            return self
        if name == "day":
            return msgspec.structs.replace(self, time={"day": str(label)})
        return msgspec.structs.replace(self, wanted={**self.wanted, name: label})

    def link(self, before: int | None = None) -> str:
        """The address of the page of these records."""
        said = {name: value for name, value in self.wanted.items() if value is not None}
        without = ",".join(name for name, value in self.wanted.items() if value is None)
        return link(PATH, **self.time, **said, without=without or None, before=before)


def chosen(asked: ChosenAsked, zone: ZoneInfo) -> ChosenRecords:
    """What is asked for. Raises ProxyError 400."""
    time = {
        name: value
        for name in ("month", "day", "from", "to")
        if (value := getattr(asked, "from_" if name == "from" else name)) is not None
    }
    if len(time.keys() - {"from", "to"}) + bool(time.keys() & {"from", "to"}) > 1:
        raise invalid_request("Ask for a month, for a day, or from and to: for one of these.")
    wanted: dict[str, str | None] = {
        name: value for name in NAMES if (value := getattr(asked, name)) is not None
    }
    for name in (asked.without or "").split(",") if asked.without else ():
        if name not in NAMES or name in wanted:
            raise invalid_request(
                f"without: names of {', '.join(NAMES)} that are not asked for beside it.",
                param="without",
            )
        wanted[name] = None
    from_ms, to_ms = _range_ms(asked, zone)
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise invalid_request("The end of the range is not after its start.", param="to")
    return ChosenRecords(from_ms, to_ms, time, wanted)


def _range_ms(asked: ChosenAsked, zone: ZoneInfo) -> tuple[int | None, int | None]:
    if asked.month is not None:
        span, _ = month_of(MonthAsked(asked.month), zone, 0)
        return span.start_ms, span.end_ms
    if asked.day is not None:
        start_ms = _moment_ms(asked.day, zone, "day")
        span = window(Per.DAY, start_ms, zone)
        if span.start_ms != start_ms:
            raise invalid_request("day is written as 2026-11-30.", param="day")
        return span.start_ms, span.end_ms
    from_ms = None if asked.from_ is None else _moment_ms(asked.from_, zone, "from")
    to_ms = None if asked.to is None else _moment_ms(asked.to, zone, "to")
    return (
        None if from_ms is None else from_ms // _BUCKET_MS * _BUCKET_MS,
        None if to_ms is None else -(-to_ms // _BUCKET_MS) * _BUCKET_MS,
    )


def _moment_ms(text: str, zone: Any, param: str) -> int:
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    try:
        return dates.unix_ms(dates.moment(text, zone))
    except ValueError as error:
        raise invalid_request(f"{param}: {error}", param=param) from error
