"""The parts of a statement as tables of text: what was used, what is due, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from proxy.accounting.export.usage import TOTAL
from proxy.accounting.statements.statement import BY, LABELS_MAX, LATE_BY, MonthStatement
from proxy.core.money import decimal
from proxy.ledger.reading import UsageRow

UNKNOWN = "–"


class Heading(msgspec.Struct, frozen=True):
    """The head of a column; numbers stand at its right."""

    name: str
    number: bool = False


class Section(msgspec.Struct, frozen=True):
    """One part of the statement; `note` says what it holds. The last `totals` rows are sums."""

    title: str
    note: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[str]]
    totals: int = 0


def tables(statement: MonthStatement) -> Iterator[Section]:
    """The parts of the statement that have something to say."""
    yield _used(
        "Used",
        "charge is what the team pays, cost what the vendors should bill. reported: the share of "
        "requests whose tokens the vendor stated. unpriced: requests without an amount.",
        BY,
        statement.rows,
    )
    if statement.earlier:
        yield _used(
            "Corrections of earlier months",
            "Booked for months that were closed before. No other statement has them.",
            LATE_BY,
            statement.earlier,
        )
    if statement.earlier or statement.number is not None:
        yield _due(statement)
    if statement.labels:
        yield Section(
            "Labels",
            f"As the records have them, at most {LABELS_MAX} sets for each team.",
            [Heading("team"), Heading("labels")],
            [
                [team, ", ".join(f"{name}={value}" for name, value in labels.items())]
                for team, found in sorted(statement.labels.items())
                for labels in found
            ],
        )
    if statement.prices:
        yield Section(
            "Prices",
            "`tollkeeper record show` works each amount out from its version. Corrections count.",
            [
                Heading("model"),
                Heading("upstream"),
                Heading("price version"),
                Heading("records", True),
            ],
            [
                [_text(one.model), one.upstream, one.version, f"{one.records:,}"]
                for one in statement.prices
            ],
        )
    if statement.corrections:
        yield Section(
            "Corrections",
            "Adjustments of records, and entries by hand. They are in the sums above.",
            [
                Heading("month"),
                Heading("reason"),
                Heading("records", True),
                Heading("cost", True),
                Heading("charge", True),
                Heading("currency"),
            ],
            [
                [
                    one.month,
                    _text(one.reason),
                    f"{one.records:,}",
                    _money(one.cost_nano),
                    _money(one.charge_nano),
                    _text(one.currency),
                ]
                for one in statement.corrections
            ],
        )
    yield from _beside(statement)


def _due(statement: MonthStatement) -> Section:
    return Section(
        "Due",
        "The month and the corrections of earlier ones together.",
        [Heading("currency"), Heading("cost", True), Heading("charge", True)],
        [
            [_text(one.currency), _money(one.cost_nano), _money(one.charge_nano)]
            for one in statement.due
        ],
    )


def _used(title: str, note: str, names: Sequence[str], rows: Sequence[UsageRow]) -> Section:
    counts = ["requests", "input_tokens", "output_tokens"]
    money = ["cost_nano", "charge_nano"]
    heads = ["requests", "input", "output", "cost", "charge"]
    lines = [
        [
            *(
                TOTAL if name == names[0] and row["row"] == TOTAL else _name(row, name)
                for name in names
            ),
            *(_count(row[name]) for name in counts),
            *(_money(row[name]) for name in money),
            _text(row["currency"]),
            _share(row["reported_requests"], row["requests"]),
            _count(row["unpriced_requests"]),
        ]
        for row in rows
    ]
    return Section(
        title,
        note,
        [
            *map(Heading, names),
            *(Heading(name, True) for name in heads),
            Heading("currency"),
            Heading("reported", True),
            Heading("unpriced", True),
        ],
        lines,
        sum(row["row"] == TOTAL for row in rows),
    )


def _beside(statement: MonthStatement) -> Iterator[Section]:
    """What changes no amount."""
    if statement.credits:
        yield Section(
            "Credits",
            "Given in this month, as they are known now. A credit raises a limit and pays nothing.",
            [
                Heading("limit"),
                Heading("amount", True),
                Heading("unit"),
                Heading("given"),
                Heading("by"),
                Heading("why"),
            ],
            [
                [
                    one.limit_id,
                    decimal(one.amount) if _is_currency(one.unit) else f"{one.amount:,}",
                    _text(one.unit),
                    _day(one.granted_at_ms),
                    _text(one.granted_by),
                    _text(one.reason),
                ]
                for one in statement.credits
            ],
        )
    if statement.refusals:
        yield Section(
            "Refused requests",
            "As they are known now. They reached no vendor and cost nothing.",
            [
                Heading("team"),
                Heading("key"),
                Heading("code"),
                Heading("limit"),
                Heading("times", True),
            ],
            [
                [
                    _text(one.team),
                    _text(one.key_id),
                    one.code,
                    _text(one.limit_id),
                    f"{one.count:,}",
                ]
                for one in statement.refusals
            ],
        )


def _name(row: UsageRow, name: str) -> str:
    return "" if row["row"] == TOTAL else _text(row[name])


def _text(value: str | int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _count(value: str | int | None) -> str:
    return f"{value:,}" if isinstance(value, int) else UNKNOWN


def _money(value: str | int | None) -> str:
    return decimal(value, grouped=True) if isinstance(value, int) else UNKNOWN


def _share(part: str | int | None, whole: str | int | None) -> str:
    """The share in percent, rounded down, so that 100 % means all."""
    if not isinstance(part, int) or not isinstance(whole, int) or whole <= 0:
        return UNKNOWN
    return f"{part * 100 // whole} %"


def _is_currency(unit: str | None) -> bool:
    return unit is not None and unit.isupper()


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d")
