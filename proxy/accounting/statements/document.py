"""Writes a statement for people: as Markdown, or as one page of HTML to read and print.

Names come from clients and vendors. No character of them can act in either form.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from proxy.accounting.export.usage import TOTAL
from proxy.accounting.statements.statement import LABELS_MAX, MonthStatement
from proxy.core.money import decimal
from proxy.ledger.reading import UsageRow

UNKNOWN = "–"
_ACTS_IN_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&#!])")

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.25em 0.8em; border-bottom: 1px solid #bbb; text-align: left; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.total td { border-top: 2px solid #333; font-weight: 600; }
@media print { body { margin: 0; max-width: none; } thead { display: table-header-group; } }
"""


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


def as_markdown(statement: MonthStatement) -> str:
    """The statement as Markdown, ending in a newline."""
    return "\n".join(_markdown_lines(statement)) + "\n"


def as_html(statement: MonthStatement) -> str:
    """The statement as one HTML page that asks for no other file."""
    return "\n".join(_html_lines(statement)) + "\n"


def tables(statement: MonthStatement) -> Iterator[Section]:
    """The parts of the statement that have something to say."""
    yield _used(statement.rows)
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
            "Booked later for records of this month. They are in the sums above.",
            [
                Heading("reason"),
                Heading("records", True),
                Heading("cost", True),
                Heading("charge", True),
                Heading("currency"),
            ],
            [
                [
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


def _used(rows: Sequence[UsageRow]) -> Section:
    names = ["team", "key", "model"]
    counts = ["requests", "input_tokens", "output_tokens"]
    money = ["cost_nano", "charge_nano"]
    heads = ["requests", "input", "output", "cost", "charge"]
    lines = [
        [
            *(
                TOTAL if name == "team" and row["row"] == TOTAL else _name(row, name)
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
        "Used",
        "charge is what the team pays, cost what the vendors should bill. reported: the share of "
        "requests whose tokens the vendor stated. unpriced: requests without an amount.",
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


def _heading(statement: MonthStatement) -> str:
    return f"Statement of {statement.month}" + (
        "" if statement.team is None else f", team {statement.team}"
    )


def _facts(statement: MonthStatement) -> list[str]:
    return [
        f"Requests started in {statement.month}, in the time zone {statement.timezone}.",
        f"The ledger {statement.ledger} as it stood at seq {statement.through}, "
        f"hash {_text(statement.hash)}.",
    ]


def _markdown_lines(statement: MonthStatement) -> Iterator[str]:
    yield f"# {_marked(_heading(statement))}"
    for fact in _facts(statement):
        yield f"\n{_marked(fact)}"
    for table in tables(statement):
        yield f"\n## {table.title}\n\n{table.note}\n"
        yield _markdown_row([column.name for column in table.columns])
        yield _markdown_row(["--:" if column.number else "---" for column in table.columns])
        first_total = len(table.rows) - table.totals
        for number, row in enumerate(table.rows):
            cells = [_marked(cell) for cell in row]
            if number >= first_total:
                cells = [f"**{cell}**" if cell else cell for cell in cells]
            yield _markdown_row(cells)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _html_lines(statement: MonthStatement) -> Iterator[str]:
    heading = html.escape(_plain(_heading(statement)))
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{heading}</h1>"
    for fact in _facts(statement):
        yield f"<p>{html.escape(_plain(fact))}</p>"
    for table in tables(statement):
        yield f"<h2>{table.title}</h2>\n<p>{html.escape(table.note)}</p>\n<table>\n<thead>"
        heads = [
            f'<th scope="col"{_number(column)}>{html.escape(column.name)}</th>'
            for column in table.columns
        ]
        yield f"<tr>{''.join(heads)}</tr>\n</thead>\n<tbody>"
        first_total = len(table.rows) - table.totals
        for number, row in enumerate(table.rows):
            cells = [
                f"<td{_number(column)}>{html.escape(_plain(cell))}</td>"
                for column, cell in zip(table.columns, row, strict=True)
            ]
            total = ' class="total"' if number >= first_total else ""
            yield f"<tr{total}>{''.join(cells)}</tr>"
        yield "</tbody>\n</table>"
    yield "</body>\n</html>"


def _number(column: Heading) -> str:
    return ' class="number"' if column.number else ""


def _plain(text: str) -> str:
    """The text on one line, without characters that cannot be seen."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _marked(text: str) -> str:
    """The same, with what acts in Markdown escaped."""
    return _ACTS_IN_MARKDOWN.sub(r"\\\1", _plain(text))


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
