"""Writes a statement for people: as Markdown, or as one page of HTML to read and print.

Names come from clients and vendors. No character of them can act in either form.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from proxy.accounting.statements.sections import UNKNOWN, Heading, tables
from proxy.accounting.statements.statement import MonthStatement

_ACTS_IN_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&#!])")

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.25em 0.8em; border-bottom: 1px solid #bbb; text-align: left; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.total td { border-top: 2px solid #333; font-weight: 600; }
@media print { body { margin: 0; max-width: none; } thead { display: table-header-group; } }
"""


def as_markdown(statement: MonthStatement) -> str:
    """The statement as Markdown, ending in a newline."""
    return "\n".join(_markdown_lines(statement)) + "\n"


def as_html(statement: MonthStatement) -> str:
    """The statement as one HTML page that asks for no other file."""
    return "\n".join(_html_lines(statement)) + "\n"


def _heading(statement: MonthStatement) -> str:
    return f"Statement of {statement.month}" + (
        "" if statement.team is None else f", team {statement.team}"
    )


def _facts(statement: MonthStatement) -> Iterator[str]:
    yield f"Requests started in {statement.month}, in the time zone {statement.timezone}."
    yield (
        f"The ledger {statement.ledger} as it stood at seq {statement.through}, "
        f"hash {statement.hash or UNKNOWN}."
    )
    if statement.closed_at_ms is not None:
        closed = datetime.fromtimestamp(statement.closed_at_ms // 1000, UTC)
        yield (
            f"Statement {statement.number}, closed on {closed:%Y-%m-%d at %H:%M:%S} UTC by "
            f"{statement.closed_by}. What is booked later for this month is in a later statement."
        )
    for what in statement.forced:
        yield f"Closed although {what}."
    if statement.apart:
        teams = ", ".join(f"{team} ({number})" for team, number in statement.apart.items())
        yield (
            "Teams with a statement of their own, whose number is in brackets: "
            f"{teams}. What those count is not counted here."
        )
    if statement.open_earlier:
        yield (
            f"Not closed yet: {', '.join(statement.open_earlier)}. What came late for months "
            "before is in that statement, and not here."
        )


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
