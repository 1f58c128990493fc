"""A statement as people read it, and names that try to be more than names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec

from proxy.accounting.export.usage import with_totals
from proxy.accounting.statements.document import as_html, as_markdown
from proxy.accounting.statements.sections import tables
from proxy.accounting.statements.statement import (
    BY,
    LATE_BY,
    Correction,
    Due,
    MonthStatement,
    PriceUse,
)
from proxy.core.limits.credit import Credit
from proxy.ledger.reading import ALL_SUMS, RefusalSum
from tests.ledger.samples import START_MS

HOSTILE = "<script>alert(1)</script>|\n# x\r\x1b[31m\u202e`**[a](javascript:b)&lt;"


def row(team: str | None, key: str, **sums: int | str | None) -> dict[str, str | int | None]:
    names = dict.fromkeys(ALL_SUMS, None)
    return {"team": team, "key": key, "model": "gpt-4o", "currency": "USD", **names} | sums


ROWS = [
    row("research", "alice", requests=1200, input_tokens=1_000_000, output_tokens=7,
        cost_nano=1_234_567_890_123, charge_nano=2_000_000_000, reported_requests=1199, unpriced_requests=0),
    row(None, "bob", requests=1, currency=None, reported_requests=0, unpriced_requests=1),
]  # fmt: skip
LATE = [{"month": "2026-10"} | row("research", "alice", requests=0, charge_nano=-5)]
WHOLE = MonthStatement(
    ledger="ledger.db",
    month="2026-11",
    timezone="Asia/Shanghai",
    team=None,
    from_ms=START_MS,
    to_ms=START_MS + 1,
    through=7,
    hash="ab" * 32,
    rows=with_totals(ROWS, BY),
    earlier=with_totals(LATE, LATE_BY),
    due=[Due("USD", 1_234_567_890_123, 1_999_999_995)],
    labels={"research": [{"cost_center": "4711"}]},
    prices=[PriceUse("p1", "gpt-*", "openai", 1199)],
    corrections=[Correction("2026-11", "late price", "USD", 2, None, -5)],
    credits=[
        Credit(
            "1", "team:research/USD/day", 5_000_000_000, START_MS, None, "USD", "launch", "root"
        ),
        Credit("2", "key:alice/tokens/day", 1000, START_MS, None, "tokens", "more", "root"),
    ],
    refusals=[RefusalSum("alice", "insufficient_quota", 3, START_MS, START_MS, "research", "l")],
)


class Read(HTMLParser):
    """The tags of a page in order, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def lines_of(text: str, title: str) -> list[str]:
    part = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for line in part.splitlines() if line.startswith("|")]


def test_markdown_has_each_part_with_its_numbers():
    text = as_markdown(WHOLE)
    assert text.startswith("# Statement of 2026-11\n")
    assert "Asia/Shanghai" in text and f"seq 7, hash {'ab' * 32}" in text
    assert lines_of(text, "Used")[2:] == [
        "| research | alice | gpt-4o | 1,200 | 1,000,000 | 7 | 1,234.567890123 | 2.00 | USD | 99 % | 0 |",
        "| – | bob | gpt-4o | 1 | – | – | – | – | – | 0 % | 1 |",
        "| **total** |  |  | **1** | **–** | **–** | **–** | **–** | **–** | **0 %** | **1** |",
        "| **total** |  |  | **1,200** | **1,000,000** | **7** | **1,234.567890123** | **2.00** | **USD** | **99 %** | **0** |",
    ]
    assert lines_of(text, "Corrections of earlier months")[2:] == [
        "| 2026-10 | research | alice | gpt-4o | 0 | – | – | – | -0.000000005 | USD | – | – |",
        "| **total** |  |  |  | **0** | **–** | **–** | **–** | **-0.000000005** | **USD** | **–** | **–** |",
    ]
    assert lines_of(text, "Due")[2:] == ["| USD | 1,234.567890123 | 1.999999995 |"]
    assert lines_of(text, "Labels")[2:] == [r"| research | cost\_center=4711 |"]
    assert lines_of(text, "Prices")[2:] == [r"| gpt-\* | openai | p1 | 1,199 |"]
    assert lines_of(text, "Corrections")[2:] == [
        "| 2026-11 | late price | 2 | – | -0.000000005 | USD |"
    ]
    assert lines_of(text, "Credits")[2:] == [
        "| team:research/USD/day | 5.00 | USD | 2026-11-01 | root | launch |",
        "| key:alice/tokens/day | 1,000 | tokens | 2026-11-01 | root | more |",
    ]
    assert lines_of(text, "Refused requests")[2:] == [
        r"| research | alice | insufficient\_quota | l | 3 |"
    ]


def test_the_page_has_the_same_cells_as_the_markdown_and_asks_for_nothing():
    page = Read(as_html(WHOLE))
    cells = [cell for table in tables(WHOLE) for line in table.rows for cell in line if cell]
    assert [text for text in page.texts if text in cells] == cells
    assert not {"script", "img", "link", "iframe", "a"} & set(page.tags)
    assert page.tags.count("table") == 8


def test_no_name_acts_in_either_form():
    hostile = msgspec.structs.replace(
        WHOLE,
        ledger=HOSTILE,
        team=HOSTILE,
        rows=with_totals([row(HOSTILE, HOSTILE, requests=1)], BY),
        labels={HOSTILE: [{HOSTILE: HOSTILE}]},
        prices=[PriceUse(HOSTILE, HOSTILE, HOSTILE, 1)],
        corrections=[Correction("2026-11", HOSTILE, HOSTILE, 1, 1, 1)],
        number=7,
        closed_at_ms=START_MS,
        closed_by=HOSTILE,
        forced=[HOSTILE],
        apart={HOSTILE: 3},
        credits=[Credit("1", HOSTILE, 1, START_MS, None, HOSTILE, HOSTILE, HOSTILE)],
        refusals=[RefusalSum(HOSTILE, HOSTILE, 1, START_MS, START_MS, HOSTILE, HOSTILE)],
    )
    harmless = msgspec.structs.replace(WHOLE, team="x", rows=WHOLE.rows[:1] + WHOLE.rows[2:3],
                                       credits=WHOLE.credits[:1], number=7, closed_at_ms=START_MS,
                                       closed_by="x", forced=["x"], apart={"x": 3})  # fmt: skip
    page, text = as_html(hostile), as_markdown(hostile)
    assert Read(page).tags == Read(as_html(harmless)).tags
    assert [line[:2] for line in text.splitlines()] == [
        line[:2] for line in as_markdown(harmless).splitlines()
    ]
    assert [line.replace(r"\|", "").count("|") for line in text.splitlines()] == [
        line.count("|") for line in as_markdown(harmless).splitlines()
    ]
    for written in (page, text):
        assert not set(written) & set("\r\x1b\u202e")
    assert re.findall(r"(?<!\\)[<\[]", text) == []


def test_parts_without_rows_are_left_out():
    empty = msgspec.structs.replace(
        WHOLE,
        team="x",
        rows=[],
        earlier=[],
        labels={},
        prices=[],
        corrections=[],
        credits=[],
        refusals=[],
    )
    assert [table.title for table in tables(empty)] == ["Used"]
    assert as_markdown(empty).startswith("# Statement of 2026-11, team x\n")


def test_what_was_closed_and_how_stands_at_the_top():
    closed = msgspec.structs.replace(
        WHOLE,
        number=3,
        closed_at_ms=START_MS,
        closed_by="ops",
        forced=["1 request has no price"],
        apart={"sales": 2},
        open_earlier=["2026-10"],
    )
    top = as_markdown(closed).partition("## ")[0]
    assert "Statement 3, closed on 2026-11-01 at 02:26:40 UTC by ops." in top
    assert "Closed although 1 request has no price." in top
    assert "sales (2)" in top and "Not closed yet: 2026-10." in top
