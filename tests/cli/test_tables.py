"""Tables: nothing is cut, columns line up, and no cell steers the terminal."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cli.tables import Column, cells, lines, print_table, printable
from tests.support.effort import examples

COLUMNS = (
    Column("team"),
    Column("input", right=True, drop=1),
    Column("cost", right=True, drop=2),
    Column("charge", right=True),
)
ROWS = (
    ("research", "1,234,567", "0.000000001", "12.50"),
    ("区块链研究", "–", "–", "1,000,000.00"),
)
CELL = st.text(st.sampled_from("aß区é\u0301👍한\x1b\n\r\t\u202e\u2028 -1,.\ud800"), max_size=12)


def drawn(width: int | None, rows=ROWS, totals=(), columns=COLUMNS) -> list[str]:
    return list(lines(columns, rows, totals, width))


def test_all_columns_where_there_is_room_or_no_terminal() -> None:
    assert drawn(None) == drawn(80) == drawn(48)
    assert drawn(None) == [
        "team            input         cost        charge",
        "research    1,234,567  0.000000001         12.50",
        "区块链研究          –            –  1,000,000.00",
    ]


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (48, "team input cost charge"),
        (47, "team input charge"),
        (35, "team input charge"),
        (34, "team charge"),
        (24, "team charge"),
    ],
)
def test_the_least_important_column_goes_first_and_is_named(width: int, heads: str) -> None:
    got = drawn(width)
    assert got[0].split() == heads.split()
    dropped = [name for name in ("input", "cost") if name not in heads]
    assert not dropped or got[-2:] == [
        f"Left out for lack of room: {', '.join(dropped)}.",
        "A wider terminal, `| less -S` or --json shows all.",
    ]


@pytest.mark.parametrize("width", [1, 10, 23])
def test_each_row_is_a_block_where_the_rest_does_not_fit(width: int) -> None:
    assert drawn(width, totals=[("total", "", "", "3.00")]) == [
        "team    research",
        "input   1,234,567",
        "cost    0.000000001",
        "charge  12.50",
        "",
        "team    区块链研究",
        "input   –",
        "cost    –",
        "charge  1,000,000.00",
        "------",
        "team    total",
        "charge  3.00",
    ]


def test_totals_stand_under_a_rule() -> None:
    rule, total = drawn(30, totals=[("total", "", "", "3.00")])[3:5]
    assert (rule, total.split()) == ("----------  ------------", ["total", "3.00"])


@pytest.mark.parametrize(
    ("width", "first"),
    [
        (80, "team            input         cost        charge"),
        (40, "team            input        charge"),
        (0, "team            input         cost        charge"),
    ],
)
def test_the_width_is_that_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, first: str
) -> None:
    """A terminal that states no width (0) counts as one of 80 columns; none gets colours."""
    monkeypatch.delenv("COLUMNS", raising=False)
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with os.fdopen(reader, "rb", 0) as terminal, os.fdopen(writer, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "__stdout__", stdout)
        print_table(COLUMNS, ROWS)
        stdout.flush()
        monkeypatch.undo()
        seen = terminal.read(65536).decode()
    assert seen.splitlines()[0] == first
    assert "\x1b" not in seen


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\nb\tc\r\x00\x7f\x9b1m", r"a\nb\tc\r\x00\x7f\x9b1m"),
        ("abc\u202edcba\u2066\u200b\u2028", r"abc\u202edcba\u2066\u200b\u2028"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
        ("模型 é\u0301 👍 '\"\\", "模型 é\u0301 👍 '\"\\"),
    ],
)
def test_what_is_no_visible_character_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("gpt-4o", 6),
        ("深度求索", 8),
        ("ｶﾅ", 2),
        ("ＧＰＴ", 6),
        ("e\u0301", 1),
        ("👍", 2),
        ("한글", 4),
        ("\u1112\u1161\u11ab", 2),
        ("–", 1),
    ],
)
def test_width_is_what_a_terminal_gives_a_text(text: str, width: int) -> None:
    assert cells(text) == width


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL, CELL), min_size=1, max_size=4),
    width=st.none() | st.integers(1, 60),
)
def test_every_cell_is_there_whole_or_its_column_is_named(
    rows: list[tuple[str, ...]], width: int | None
) -> None:
    got = drawn(width, rows)
    assert all(line.isprintable() for line in got)
    text = re.sub(" +", " ", "\n".join(got))
    dropped = [line for line in got if line.startswith("Left out")]
    for row in rows:
        for column, cell in zip(COLUMNS, row, strict=True):
            assert re.sub(" +", " ", printable(cell)).strip() in text or column.name in dropped[0]
    is_table = got[0].split()[-1] == "charge"
    assert width is None or not is_table or max(map(cells, got[: len(rows) + 1])) <= width
