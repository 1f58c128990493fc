"""Records as csv and JSON lines: every value there, exact, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.export.records import COLUMNS, FORMATS, Csv, JsonLines, iso
from proxy.core.money import decimal
from proxy.core.records import canonical
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from proxy.ledger.reading import Row, Stretch
from proxy.ledger.sqlite.reader import SqliteReader
from tests.ledger.samples import START_MS, make_id, make_record, numbered, open_book
from tests.support.effort import examples

SHANGHAI = ZoneInfo("Asia/Shanghai")
PRICED: dict[str, Any] = {"cost_nano": 1_500_000, "charge_nano": -20_000_000_000, "currency": "USD"}


def stored(tmp_path: Path, *records: UsageRecord) -> list[Row]:
    """The records as the ledger has them."""
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(*records)))
    connection.close()
    return [
        row
        for page in SqliteReader(tmp_path / "ledger.db").pages(Stretch(through=len(records)))
        for row in page.rows
    ]


def as_csv(found: list[Row]) -> list[dict[str, str]]:
    lines = Csv(SHANGHAI)
    return list(
        csv.DictReader(io.StringIO((lines.begin() + lines.lines(found)).decode(), newline=""))
    )


def as_jsonl(found: list[Row]) -> list[dict[str, Any]]:
    lines = JsonLines(SHANGHAI)
    return [json.loads(line) for line in (lines.begin() + lines.lines(found)).splitlines()]


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"), (1, "0.000000001"), (-1, "-0.000000001"), (10_000_000, "0.01"), (1_500_000_000, "1.50"), (-1_500_000_000, "-1.50"),
        (123_456_789_012_345_678, "123456789.012345678"), (-(2**56), "-72057594.037927936"),
    ],
)  # fmt: skip
def test_money_is_exact(nano: int, text: str) -> None:
    assert decimal(nano) == text


@pytest.mark.parametrize(
    ("ms", "zone", "text"),
    [
        (1_793_500_000_007, "UTC", "2026-11-01T02:26:40.007+00:00"),
        (1_793_500_000_000, "Asia/Shanghai", "2026-11-01T10:26:40.000+08:00"),
        (1_793_511_000_999, "America/New_York", "2026-11-01T01:30:00.999-04:00"),
        (1_793_514_600_999, "America/New_York", "2026-11-01T01:30:00.999-05:00"),
        (-1, "UTC", "1969-12-31T23:59:59.999+00:00"),
    ],
)
def test_times_are_of_the_zone_and_name_their_offset(ms: int, zone: str, text: str) -> None:
    assert iso(ms, ZoneInfo(zone)) == text


def test_money_and_times_come_first_then_the_record(tmp_path: Path) -> None:
    found = stored(tmp_path, make_record(0, **PRICED))
    for row in (*as_csv(found), *as_jsonl(found)):
        assert list(row) == list(COLUMNS)
        assert (row["cost"], row["charge"], row["currency"]) == ("0.0015", "-20.00", "USD")
        assert (row["started_at"], row["booked_at"]) == (
            "2026-11-01T10:26:40.000+08:00",
            "2026-11-01T10:26:45.000+08:00",
        )
        assert (row["id"], row["upstream"], row["usage_raw"]) == (
            make_id(0),
            "modelmax",
            row["usage_raw"],
        )
    assert set(canonical.COLUMNS) < set(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS), "a reader by name would lose one of two"


def test_json_lines_have_each_value_as_it_is(tmp_path: Path) -> None:
    record = make_record(
        0,
        labels={"cost_center": "=1+1", "team|": ";x"},
        tags={},
        stream=True,
        cached_tokens=0,
        end_user="@me",
        usage_raw={"big": 2**70, "x": {"y": 1.5}},
        **PRICED,
    )
    [row] = as_jsonl(found := stored(tmp_path, record))
    assert (row["labels"], row["tags"], row["usage_raw"]) == (record.labels, {}, record.usage_raw)
    assert (row["stream"], row["inconsistent"], row["cached_tokens"], row["reasoning_tokens"]) == (
        True,
        False,
        0,
        None,
    )
    assert (row["end_user"], row["cost_nano"], row["started_at_ms"], row["seq"]) == (
        "@me",
        1_500_000,
        START_MS,
        1,
    )
    assert row["hash"] == found[0][-1].hex()  # type: ignore[union-attr]
    assert JsonLines(SHANGHAI).lines(found).count(b"\n") == 1


def test_csv_says_the_same_with_empty_fields_for_unknown(tmp_path: Path) -> None:
    found = stored(
        tmp_path,
        make_record(
            0,
            labels={"a": "x;y|z"},
            model_requested='模"型,1',
            stream=True,
            cached_tokens=0,
            **PRICED,
        ),
        make_record(1, team=None),
    )
    for shown, exact in zip(as_csv(found), as_jsonl(found), strict=True):
        for name in COLUMNS:
            value = exact[name]
            if isinstance(value, dict):
                assert json.loads(shown[name]) == value, name
            else:
                assert shown[name] == (
                    ""
                    if value is None
                    else str(value).lower()
                    if isinstance(value, bool)
                    else str(value)
                ), name


# What a spreadsheet runs: at the start of a cell, and where another separator than the comma is in
# force behind that one.
@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("＝1+1", "'＝1+1"), (" =1", "' =1"), ('"=1', "'\"=1"), ("\t=1", "' =1"),
        ("x;=1+1", "x;'=1+1"), ("x| -1", "x|' -1"), ("x;\r@a", "x;' @a"), ("x\r=1\n\0", "x =1  "),
        ("gpt-4o", "gpt-4o"), ("a=b+c", "a=b+c"), ("me@example.org", "me@example.org"), ("x;y-z", "x;y-z"), ("", ""),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(tmp_path: Path, text: str, cell: str) -> None:
    names = (
        "key_id",
        "team",
        "end_user",
        "model_requested",
        "model_served",
        "finish_reason",
        "upstream_request_id",
        "service_tier",
        "currency",
        "reason",
    )
    changes: dict[str, Any] = dict.fromkeys(names, text)
    [row] = as_csv(found := stored(tmp_path, make_record(0, **changes)))
    assert {row[name] for name in names} == {cell}
    assert {as_jsonl(found)[0][name] for name in names} == {text}


def test_numbers_below_zero_stay_numbers(tmp_path: Path) -> None:
    [row] = as_csv(
        stored(
            tmp_path,
            make_record(
                0, kind="adjustment", cost_nano=-5, charge_nano=-5, output_tokens=-3, currency="USD"
            ),
        )
    )
    assert (row["cost"], row["cost_nano"], row["output_tokens"]) == ("-0.000000005", "-5", "-3")


@settings(max_examples=examples(300))
@given(st.text(st.sampled_from("=+-@;,|\"' \t\r\nax＝"), max_size=8))
def test_in_no_common_separator_is_a_cell_a_formula(text: str) -> None:
    changed: list[Any] = [0 if name != "model_requested" else text for name in canonical.COLUMNS]
    changed[canonical.COLUMNS.index("labels")] = json.dumps({"a": text, text: "b"})
    lines = Csv(SHANGHAI, ["a", text])
    line = lines.lines([changed]).decode()
    assert lines.begin().count(b"\n") == 1
    assert line.count("\n") == 1
    for separator in ",;|\t":
        [cells] = csv.reader(io.StringIO(line, newline=""), delimiter=separator)
        for cell in cells:
            inner = cell.lstrip(" \"'")
            assert inner[:1] not in tuple("=+-@＝＋－＠") or "'" in cell.removesuffix(inner), (
                separator,
                cell,
            )


def test_every_format_starts_lines_anew_for_each_page(tmp_path: Path) -> None:
    """Pages put together are the same bytes as one page."""
    found = stored(tmp_path, *(make_record(n, **PRICED) for n in range(3)))
    for make in FORMATS.values():
        lines = make(SHANGHAI, ())
        assert b"".join(lines.lines([row]) for row in found) == lines.lines(found)
