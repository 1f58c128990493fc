"""Tables of the command line: aligned text that never cuts a number or a name.

On a narrow terminal the least important columns are left out, and named under the table. Where that
is not enough, each row becomes a block of lines. Piped output has every column. Cells come from
clients and vendors, so no control character in them may reach the terminal.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence

import click
import msgspec

GAP = "  "
_ZERO_WIDTH = ("Mn", "Me")
_JAMO = range(0x1160, 0x1200)  # Hangul vowels and finals, which join the consonant before them

Row = Sequence[str]


class Column(msgspec.Struct, frozen=True):
    """One column. Where room is short, the highest `drop` is left out first, and 0 never."""

    name: str
    right: bool = False
    drop: int = 0


def print_table(columns: Sequence[Column], rows: Sequence[Row], totals: Sequence[Row] = ()) -> None:
    """Print a table on stdout, fitted to the terminal if there is one; `totals` under a rule."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo("\n".join(lines(columns, rows, totals, width)))


def lines(
    columns: Sequence[Column], rows: Sequence[Row], totals: Sequence[Row], width: int | None
) -> Iterator[str]:
    """The table's lines, none wider than `width`, or one block a row where that is not possible."""
    shown = [[printable(cell) for cell in row] for row in (*rows, *totals)]
    heads = [printable(column.name) for column in columns]
    widths = [max(map(cells, column)) for column in zip(heads, *shown, strict=True)]
    kept = _kept(columns, widths, width)
    if not kept:
        yield from _blocks(heads, shown, totals=len(totals))
        return
    yield _line(columns, kept, widths, heads)
    for number, row in enumerate(shown):
        if totals and number == len(rows):
            yield GAP.join("-" * widths[place] for place in kept)
        yield _line(columns, kept, widths, row)
    if left_out := [head for place, head in enumerate(heads) if place not in kept]:
        yield f"Left out for lack of room: {', '.join(left_out)}."
        yield "A wider terminal, `| less -S` or --json shows all."


def printable(text: str) -> str:
    """The text, with every invisible character escaped as Python would write it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cells(text: str) -> int:
    """How many columns of a terminal a printable text takes."""
    return len(text) if text.isascii() else sum(map(_char_cells, text))


def _char_cells(char: str) -> int:
    if unicodedata.category(char) in _ZERO_WIDTH or ord(char) in _JAMO:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _kept(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """The places of the columns that fit; empty if not even those with `drop` 0 do."""
    kept = list(range(len(columns)))
    while (
        width is not None
        and sum(widths[place] for place in kept) + len(GAP) * (len(kept) - 1) > width
    ):
        least = max(kept, key=lambda place: columns[place].drop)
        if columns[least].drop == 0:
            return []
        kept.remove(least)
    return kept


def _line(columns: Sequence[Column], kept: Sequence[int], widths: Sequence[int], row: Row) -> str:
    padded = []
    for place in kept:
        room = " " * (widths[place] - cells(row[place]))
        padded.append(room + row[place] if columns[place].right else row[place] + room)
    return GAP.join(padded).rstrip()


def _blocks(heads: Sequence[str], rows: Sequence[Row], *, totals: int) -> Iterator[str]:
    """Each row with all of its columns, one a line, the values under each other."""
    room = max(map(cells, heads))
    for number, row in enumerate(rows):
        if number:
            yield "-" * room if number == len(rows) - totals else ""
        for head, cell in zip(heads, row, strict=True):
            if cell:
                yield head + " " * (room - cells(head)) + GAP + cell
