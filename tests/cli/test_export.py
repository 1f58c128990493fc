"""`tollkeeper ledger export` over a real ledger: it adds up, it repeats, and its size is nobody's
concern."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from tests.ledger.samples import START_MS, make_id, make_record, numbered, open_book, records
from tests.support.effort import examples

SUMMED = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano",
    "charge_nano",
)
MONTH = ("--from", "2026-11-01", "--to", "2026-12-01")
LATE = make_record(0, output_tokens=5)  # contradicts the first of `some`: an adjustment of -15

Call = Callable[..., Result]


def some(count: int = 3) -> list[UsageRecord]:
    return [
        make_record(
            n, cost_nano=1_500_000 * (n + 1), charge_nano=2_000_000 * (n + 1), currency="USD"
        )
        for n in range(count)
    ]


def exported(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout, newline="")))


def sums(rows: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, int | None]]:
    """What finance adds up: by team and currency, the known numbers of each column."""
    groups: dict[tuple[str, str], dict[str, int | None]] = {}
    for row in rows:
        group = groups.setdefault(
            (row["team"], row["currency"]), {"requests": 0} | dict.fromkeys(SUMMED)
        )
        group["requests"] = (group["requests"] or 0) + (row["kind"] == "usage")
        for name in SUMMED:
            if row[name]:
                group[name] = (group[name] or 0) + int(row[name])
    return groups


def used(call: Call, *words: str) -> dict[tuple[str, str], dict[str, int | None]]:
    """The same sums by `tollkeeper usage`."""
    rows = json.loads(call("usage", "--by", "team", "--json", *words).stdout)
    return {
        (row["team"] or "", row["currency"] or ""): {
            name: row[name] for name in ("requests", *SUMMED)
        }
        for row in rows
        if row["row"] == "group"
    }


@settings(
    max_examples=examples(15),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_the_lines_add_up_to_the_usage(data: st.DataObject, call: Call, home: Path) -> None:
    drawn = [data.draw(records(n)) for n in range(data.draw(st.integers(1, 12)))]
    booked = [
        r for r in drawn if r.team != "" and r.currency != ""
    ]  # an empty name and no name are one empty field
    (home / "var").mkdir(exist_ok=True)
    (home / "var" / "ledger.db").unlink(missing_ok=True)
    connection, book = open_book(home / "var" / "ledger.db")
    book.book(Batch("w0", numbered(*booked)))
    connection.close()
    words = data.draw(
        st.sampled_from([(), MONTH, ("--from", "2026-11-02"), ("--to", "2026-11-02T12:34:56.789")])
    )
    rows = exported(call("ledger", "export", *words))
    assert sums(rows) == used(call, *words)
    for row in rows:
        for name in ("cost", "charge"):
            whole, _, rest = row[name].partition(".")
            assert row[f"{name}_nano"] == (
                "" if not row[name] else str(int(whole + rest.ljust(9, "0")))
            )


def test_the_head_and_the_totals_stand_beside_the_file(
    call: Call, book: Callable[..., Path]
) -> None:
    book(*some(), LATE)
    result = call("ledger", "export", "--month", "2026-11", "--format", "jsonl")
    assert len(result.stdout.splitlines()) == 4
    [*lines, head] = result.stderr.splitlines()
    last = json.loads(result.stdout.splitlines()[-1])
    assert head == f"head: seq 4, hash {last['hash']}"
    assert lines == [
        "Records from 2026-11-01 00:00+08:00 to 2026-12-01 00:00+08:00, the end not included (Asia/Shanghai), to be had again with --through 4",
        "records: 4, of them adjustments: 1",
        "USD: cost 0.009, charge 0.012",
    ]


def test_focus_is_the_same_bytes_again_and_says_what_it_cannot_hold(
    call: Call, book: Callable[..., Path]
) -> None:
    book(*some(), make_record(3, cost_nano=None))
    words = ("ledger", "export", "--month", "2026-11", "--format", "focus", "--through", "4")
    result = call(*words)
    assert [row["BilledCost"] for row in exported(result)] == ["0.0015", "0.003", "0.0045"]
    assert "left out: 1 records without a known cost, which FOCUS cannot say" in result.stderr
    book(make_record(9, cost_nano=1, currency="USD"))
    assert call(*words).stdout_bytes == result.stdout_bytes


def test_parquet_is_the_same_bytes_again_and_sums_to_the_usage(
    call: Call, book: Callable[..., Path]
) -> None:
    book(*some(), LATE)
    words = ("ledger", "export", "--month", "2026-11", "--format", "parquet", "--through", "4")
    result = call(*words)
    table = pq.read_table(io.BytesIO(result.stdout_bytes))
    assert sum(cost for cost in table["cost"].to_pylist() if cost) == Decimal("0.009")
    assert table["kind"].to_pylist() == ["usage"] * 3 + ["adjustment"]
    book(make_record(9, cost_nano=1, currency="USD"))
    assert call(*words).stdout_bytes == result.stdout_bytes


def test_parquet_without_its_extra_says_what_to_install(
    book: Callable[..., Path], home: Path
) -> None:
    book(*some())
    without = (
        "import sys; sys.modules['pyarrow'] = None; from proxy.cli import main; "
        "main(['ledger', 'export', '--data-dir', 'var', *sys.argv[1:]])"
    )
    words = [sys.executable, "-c", without, "--format"]
    got = subprocess.run(
        [*words, "parquet", "--out", "november.parquet"],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert got.returncode == 1
    assert "needs pyarrow: pip install 'tollkeeper[parquet]'" in got.stderr
    assert list(home.glob("november*")) == []
    csv_too = subprocess.run([*words, "csv"], cwd=home, capture_output=True, check=True)
    assert csv_too.stdout.count(b"\n") == 4


def test_each_label_is_a_column_of_the_csv(call: Call, book: Callable[..., Path]) -> None:
    book(
        make_record(0, labels={"cost_center": "4711", "=1+1": "a"}),
        make_record(1, labels={}),
        make_record(2, labels={"cost_center": "-1", "区": "上海;=1"}),
    )
    got = exported(call("ledger", "export"))
    assert list(got[0])[-3:] == ["label:=1+1", "label:cost_center", "label:区"]
    assert [[row["label:=1+1"], row["label:cost_center"], row["label:区"]] for row in got] == [
        ["a", "4711", ""],
        ["", "", ""],
        ["", "'-1", "上海;'=1"],
    ]
    assert [json.loads(row["labels"]) for row in got][1:] == [
        {},
        {"cost_center": "-1", "区": "上海;=1"},
    ]
    [second] = exported(call("ledger", "export", "--after", "1", "--through", "2"))
    assert not any(name.startswith("label:") for name in second), (
        "only labels of the records asked for"
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_same_bytes_again_and_what_came_since_as_the_rest(
    call: Call, book: Callable[..., Path], form: str
) -> None:
    words = ("ledger", "export", "--format", form, "--month", "2026-11")
    book(*some())
    first = call(*words)
    through = first.stderr.partition("--through ")[2].split()[0]
    book(LATE, make_record(7), make_record(8, started_at_ms=START_MS + 40 * 86_400_000))
    assert call(*words, "--through", through).stdout_bytes == first.stdout_bytes
    whole, since = call(*words).stdout_bytes, call(*words, "--after", through).stdout_bytes
    head = since.splitlines(keepends=True)[0] if form == "csv" else b""
    assert whole == first.stdout_bytes + since.removeprefix(head)
    correction, new = exported(call(*words[:2], *words[4:], "--after", through))
    assert (correction["kind"], correction["adjusts"], correction["output_tokens"], new["id"]) == (
        "adjustment",
        make_id(0),
        "-15",
        make_id(7),
    )


@pytest.mark.parametrize("option", ["--after", "--through"])
def test_a_seq_beyond_the_ledger_is_told_and_writes_nothing(
    call: Call, book: Callable[..., Path], home: Path, option: str
) -> None:
    book(make_record(0), make_record(1))
    beyond = call("ledger", "export", option, "3", "--out", "november.csv")
    assert (beyond.exit_code, (home / "november.csv").exists()) == (1, False)
    assert "ends at seq 2, before 3: check the number" in beyond.stderr
    assert call("ledger", "export", option, "2").exit_code == 0


def test_while_records_arrive_it_says_what_the_usage_of_that_moment_said(
    call: Call, book: Callable[..., Path]
) -> None:
    path = book(*some()) / "ledger.db"
    enough = threading.Event()

    def arrive() -> None:
        connection, booking = open_book(path)
        connection.execute("PRAGMA busy_timeout = 5000")
        n = 3
        while not enough.is_set():
            booking.book(
                Batch(
                    "w0",
                    [(i, make_record(i, cost_nano=i, currency="USD")) for i in range(n, n + 8)],
                )
            )
            n += 8
        connection.close()

    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        seen = []
        while len(seen) < 5 or seen[-1][0] == seen[0][0]:
            result = call("ledger", "export")
            seen.append((int(result.stderr.partition("--through ")[2].split()[0]), result))
    finally:
        enough.set()
        arriving.join()
    for through, result in seen:
        assert [row["seq"] for row in exported(result)] == [
            str(seq) for seq in range(1, through + 1)
        ]
        assert (
            call("ledger", "export", "--through", str(through)).stdout_bytes == result.stdout_bytes
        )
    assert sums(exported(call("ledger", "export"))) == used(call)


def test_a_file_is_there_when_it_is_whole_and_never_lost_by_accident(
    call: Call, book: Callable[..., Path], home: Path
) -> None:
    book(*some())
    before = set(home.iterdir())
    words = ("ledger", "export", "--out", "november.csv")
    assert call(*words, "--through", "9").exit_code == 1  # the ledger does not reach that far
    assert set(home.iterdir()) == before
    assert call(*words).exit_code == 0
    assert (home / "november.csv").read_bytes() == call("ledger", "export").stdout_bytes
    (home / "november.csv").write_text("last month's")
    refused = call(*words)
    assert (
        refused.exit_code,
        "november.csv exists" in refused.stderr,
        (home / "november.csv").read_text(),
    ) == (1, True, "last month's")
    assert call(*words, "--yes", "--through", "1").exit_code == 0
    assert len((home / "november.csv").read_text().splitlines()) == 2
    missing = call("ledger", "export", "--out", "nowhere/november.csv")
    assert (
        missing.exit_code,
        "cannot write nowhere/november.csv: No such file" in missing.stderr,
    ) == (1, True)


def test_a_full_disk_leaves_no_half_a_file(
    call: Call, book: Callable[..., Path], home: Path
) -> None:
    for first in range(0, 256, 64):
        book(*(make_record(first + n) for n in range(64)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (60_000, hard)
    )  # more than SQLite takes to read, less than the file
    try:
        result = call("ledger", "export", "--out", "november.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert (result.exit_code, "cannot write november.csv: File too large" in result.stderr) == (
        1,
        True,
    )
    assert list(home.glob("november*")) == []


def test_what_is_no_file_is_not_replaced(call: Call, book: Callable[..., Path], home: Path) -> None:
    """As root, --out /dev/stdout --yes would leave the machine without one."""
    book(*some())
    os.mkfifo(home / "pipe")
    result = call("ledger", "export", "--out", "pipe", "--yes")
    assert (
        result.exit_code,
        "pipe is no ordinary file" in result.stderr,
        (home / "pipe").is_fifo(),
    ) == (1, True, True)


def test_nothing_in_the_range_is_a_file_with_a_head(call: Call, book: Callable[..., Path]) -> None:
    book()
    assert exported(empty := call("ledger", "export")) == []
    assert empty.stdout.startswith("cost,charge,currency,started_at,booked_at,id,seq,")
    assert empty.stderr.endswith("--through 0\nrecords: 0, of them adjustments: 0\n")
    book(*some())
    assert call("ledger", "export", "--month", "2020-01").stdout == empty.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--month", "2026-11", "--from", "2026-11-01"), 2, "--month goes without"),
        (("--format", "xml"), 2, "xml"),
        (("--through", "x"), 2, "--through"),
        (("--through", "4"), 1, "ends at seq 3, before 4"),
        (("--after", "2", "--through", "1"), 2, "--after is the lower of both"),
    ],
)
def test_wrong_words(
    call: Call, book: Callable[..., Path], words: tuple[str, ...], code: int, message: str
) -> None:
    book(*some())
    result = call("ledger", "export", *words)
    assert (result.exit_code, message in result.stderr) == (code, True)


def peak_of_export(call: Call, home: Path, count: int) -> tuple[int, int]:
    """Bytes of memory at the most, and bytes of the file, of an export of so many records."""
    rng = random.Random(1)
    (home / "var").mkdir()
    connection, book = open_book(home / "var" / "ledger.db")
    for first in range(0, count, 64):
        batch = [
            make_record(
                n,
                team=f"team-{n % 7}",
                cost_nano=rng.randrange(10**9),
                charge_nano=n,
                currency="USD",
            )
            for n in range(first, min(count, first + 64))
        ]
        book.book(Batch("w0", numbered(*batch, after=first)))
    connection.close()
    tracemalloc.start()
    try:
        result = call(
            "ledger", "export", "--data-dir", "var", "--out", "all.csv"
        )  # without a config, which takes 8 MB to read
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.exit_code == 0, result.output
    with (home / "all.csv").open("rb") as file:
        assert sum(1 for _ in file) == count + 1
    with sqlite3.connect(home / "var" / "ledger.db") as connection:
        assert connection.execute("SELECT count(*), sum(charge_nano) FROM records").fetchone() == (
            count,
            count * (count - 1) // 2,
        )
    connection.close()
    return peak, (home / "all.csv").stat().st_size


def test_memory_does_not_grow_with_the_period(call: Call, home: Path) -> None:
    peak, size = peak_of_export(call, home, 7_000)
    assert size > 4_000_000
    assert peak < 3_000_000


@pytest.mark.campaign
def test_memory_does_not_grow_with_two_hundred_thousand_records(call: Call, home: Path) -> None:
    peak, size = peak_of_export(call, home, 200_000)
    assert size > 120_000_000
    assert peak < 3_000_000
