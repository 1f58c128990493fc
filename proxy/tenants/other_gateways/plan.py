"""What is to be taken over of an export: rows in this proxy's words, and notes on each."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR, Decimal

import msgspec

from proxy.core.managed import TenantKind
from proxy.core.money import NANO_DIGITS, decimal
from proxy.tenants.importing import Incoming
from proxy.tenants.orders import NAME_CHARS_MAX
from proxy.tenants.other_gateways.export_rows import ExportRow

_ILLEGAL = re.compile(r"[^\w.@-]+")
_DAY_S = 86_400
# The longest time that each calendar period stands for.
_PERIODS = (("day", _DAY_S), ("week", 7 * _DAY_S), ("month", 31 * _DAY_S))
_DURATION = re.compile(r"(\d{1,6}) ?(s|sec|m|min|h|d|w|mo|month|y)(?:s|ours?|ays?|eeks?|ears?)?")
_UNIT_S = {
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": _DAY_S,
    "w": 7 * _DAY_S,
    "mo": 31 * _DAY_S,
    "month": 31 * _DAY_S,
    "y": 366 * _DAY_S,
}
_MOVING = frozenset({"spend", "updated_at", "last_active", "accessed_time"})  # while it serves
_WORDS = {"daily": "1d", "weekly": "7d", "monthly": "1mo", "hourly": "1h", "yearly": "1y"}


class Money(msgspec.Struct, frozen=True):
    """In which currency budgets are written here, and what a US dollar of the export is in it."""

    currency: str = "USD"
    rate: Decimal = Decimal(1)

    def amount(self, dollars: Decimal) -> str:
        """Rounded down to what can be counted. Raises ValueError for a negative amount."""
        if dollars < 0:
            raise ValueError("a budget is negative")
        nano = (dollars * self.rate).scaleb(NANO_DIGITS).to_integral_value(ROUND_FLOOR)
        return f"{decimal(int(nano))} {self.currency}"


class Options(msgspec.Struct, frozen=True):
    """How to take over.

    team · for keys that name none    loosen · what cannot be said here suspends no key
    quota_per_usd · how much of a new-api quota is a US dollar
    """

    money: Money = Money()
    team: str | None = None
    loosen: bool = False
    quota_per_usd: Decimal = Decimal(500_000)


class Planned(msgspec.Struct, frozen=True):
    """One row of an export. `row` is None where it is left out; the last note says why."""

    place: str
    name: str
    row: Incoming | None
    notes: tuple[str, ...] = ()
    spent: Decimal | None = None  # US dollars so far, there


class Draft:
    """A row in the making."""

    def __init__(
        self,
        kind: TenantKind,
        place: str,
        name: str,
        digest: str | None = None,
        team: str | None = None,
        expires: str | None = None,
    ) -> None:
        self.kind = kind
        self.place = place
        self.name = name
        self.digest = digest
        self.team = team
        self.expires = expires
        self.models: list[str] = []
        self.limits: list[str | dict[str, object]] = []
        self.suspended = False
        self.spent: Decimal | None = None
        self.notes: list[str] = []

    def allow(self, models: list[str]) -> None:
        """It may call these models alone; an empty list is all of them."""
        self.models = models

    def suspend(self) -> None:
        """It is blocked there."""
        self.suspended = True
        self.notes.append("it is blocked there, so it is taken over suspended")

    def spend(self, dollars: Decimal) -> None:
        """So much is spent there."""
        self.spent = dollars

    def tell(self, note: str | None) -> None:
        """A note, if there is one."""
        if note is not None:
            self.notes.append(note)

    def restrict(self, what: str, options: Options) -> None:
        """It has a restriction there that cannot be said here."""
        if options.loosen or self.suspended:
            self.notes.append(f"{what}: no counterpart here")
        else:
            self.suspended = True
            self.notes.append(f"{what}: no counterpart here, so it is taken over suspended")

    def planned(self, name: str) -> Planned:
        """The row under the name that it gets."""
        says: dict[str, object] = {
            "team": self.team,
            "models": self.models,
            "expires": self.expires,
            "limits": self.limits,
        }
        said = {word: value for word, value in says.items() if value}
        notes = []
        if name != self.name:
            notes.append(
                f"{self.name!r} is called so here" if self.name else "it has no name there"
            )
        row = Incoming(self.kind, name, said, self.digest, self.suspended)
        return Planned(self.place, name, row, (*notes, *self.notes), self.spent)


def refused(place: str, name: str, why: str) -> Planned:
    """A row that is left out."""
    return Planned(place, name, None, (why,))


def named(drafts: Sequence[Draft], stems: Iterable[str]) -> list[Planned]:
    """Each under a name that is legal here, and its alone.

    `stems` tell rows of one name apart: the same in each run, whatever the order of the rows.
    """
    legal = [legal_name(draft.name) for draft in drafts]
    shared = {name for name, count in Counter(map(str.casefold, legal)).items() if count > 1}
    found = []
    for draft, name, stem in zip(drafts, legal, stems, strict=True):
        if not name:
            name = f"{draft.kind}-{stem}"
        elif name.casefold() in shared:
            name = f"{name[: NAME_CHARS_MAX - len(stem) - 1]}-{stem}"
        found.append(draft.planned(name))
    return found


def legal_name(name: str) -> str:
    """The nearest name that a key or team may have here; empty where nothing of it is left."""
    made = _ILLEGAL.sub("-", name.strip()).strip("-._@")[:NAME_CHARS_MAX]
    return f"key-{made}"[:NAME_CHARS_MAX] if made.startswith("fwd-") else made


def usd(dollars: Decimal) -> str:
    """An amount as people read it."""
    return f"{dollars.normalize():f} USD"


def stands_twice(first: ExportRow, again: ExportRow) -> str | None:
    """What to say of a row whose key or team stands in another one too; None: they agree."""
    differs = [name for name in first.differs(again) if name not in _MOVING]
    if not differs:
        return None
    return f"{again.place} has it again, with another {', '.join(differs[:5])}: this row holds"


def stem_of(text: str) -> str:
    """Some digits that stand for a text, and tell nothing of it."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def budget(dollars: Decimal, duration: str | None, money: Money) -> tuple[str, str | None]:
    """A limit for a budget, and a note if it is tighter than that. Raises ValueError."""
    amount = money.amount(dollars)
    if duration is None:
        return f"{amount}/total", None
    match = _DURATION.fullmatch(_WORDS.get(duration.lower(), duration.lower()))
    if match is None:
        raise ValueError(f"the budget's duration {duration[:20]!r} is not known")
    lasts_s = int(match[1]) * _UNIT_S[match[2]]
    period = next((name for name, longest_s in _PERIODS if lasts_s <= longest_s), "total")
    exact = lasts_s in (_DAY_S, 7 * _DAY_S, 30 * _DAY_S, 31 * _DAY_S)
    note = f"a budget for {duration} is one for a {period} here, which is tighter"
    return f"{amount}/{period}", None if exact else note.replace("a total", "all time")
