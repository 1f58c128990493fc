"""`tollkeeper usage` over a real ledger file."""

import csv
import io
import json

import pytest

from proxy.accounting.export.usage import COLUMNS
from proxy.ledger.reading import GROUPED_BY
from tests.ledger.samples import START_MS, make_record

SECOND = make_record(
    1, key_id="bob", team=None, model_requested="gpt-4o", input_tokens=None, output_tokens=7
)


@pytest.fixture(autouse=True)
def booked(book):
    """Two exchanges of alice, one of bob that knows no input."""
    return book(
        make_record(0),
        make_record(
            2, cached_tokens=64, cost_nano=1_500_000, charge_nano=2_000_000, currency="USD"
        ),
        SECOND,
    )


def every_row(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def rows(result):
    """Those of groups, without the totals."""
    return [row for row in every_row(result) if row["row"] == "group"]


def test_rows_have_the_groups_then_the_sums(call):
    got = rows(call("usage", "--json"))
    assert [list(row) for row in got] == [["team", "key", "model", *COLUMNS]] * 3
    assert [
        (
            row["team"],
            row["key"],
            row["model"],
            row["requests"],
            row["input_tokens"],
            row["output_tokens"],
            row["cost_nano"],
            row["currency"],
        )
        for row in got
    ] == [
        (None, "bob", "gpt-4o", 1, None, 7, None, None),
        ("research", "alice", "deepseek-v3.2", 1, 100, 20, None, None),
        ("research", "alice", "deepseek-v3.2", 1, 100, 20, 1_500_000, "USD"),
    ]


def test_json_and_csv_say_the_same_and_the_range_stands_beside_them(call):
    as_json, as_csv = call("usage", "--format", "json"), call("usage", "--format", "csv")
    fields = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert fields == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in every_row(as_json)
    ]
    assert as_json.stderr == as_csv.stderr == "Usage of all time (Asia/Shanghai)\n"


def test_no_csv_cell_is_a_formula_whatever_a_client_calls_its_model(call, book):
    book(make_record(3, model_requested='=HYPERLINK("https://x")', cost_nano=-5, currency="USD"))
    fields = list(
        csv.DictReader(io.StringIO(call("usage", "--by", "model", "--format", "csv").stdout))
    )
    assert {row["model"]: (row["cost_nano"], row["cost"]) for row in fields if row["row"] == "group"} == {
        "gpt-4o": ("", ""), "deepseek-v3.2": ("1500000", "0.0015"), "'=HYPERLINK(\"https://x\")": ("-5", "-0.000000005"),
    }  # fmt: skip
    assert rows(call("usage", "--by", "model", "--json"))[0]["model"] == '=HYPERLINK("https://x")'


def test_the_table_shows_range_counts_money_and_unknowns(call):
    result = call("usage", "--month", "2026-11")
    head, columns, *lines = result.stdout.splitlines()
    assert (
        head
        == "Usage from 2026-11-01 00:00+08:00 to 2026-12-01 00:00+08:00, the end not included (Asia/Shanghai)"
    )
    # Nobody stated reasoning: no column for it.
    assert columns.split() == [
        "team",
        "key",
        "model",
        "requests",
        "input",
        "cached",
        "output",
        "cost",
        "charge",
        "currency",
        "reported",
        "unpriced",
    ]
    assert lines[0].split() == ["–", "bob", "gpt-4o", "1", "–", "–", "7", "–", "–", "–", "1", "1"]
    assert lines[2].split() == [
        "research",
        "alice",
        "deepseek-v3.2",
        "1",
        "100",
        "64",
        "20",
        "0.0015",
        "0.002",
        "USD",
        "1",
        "0",
    ]
    assert [line.split() for line in lines[-2:]] == [
        ["total", "2", "100", "–", "27", "–", "–", "–", "2", "2"], ["total", "1", "100", "64", "20", "0.0015", "0.002", "USD", "1", "0"],
    ]  # fmt: skip


def test_where_all_is_priced_there_is_no_column_for_what_is_not(call, book):
    book(
        make_record(
            9, started_at_ms=START_MS - 86_400_000 * 40, cost_nano=1, charge_nano=1, currency="USD"
        )
    )
    assert "unpriced" in call("usage").stdout
    before = call("usage", "--to", "2026-10-01").stdout
    assert "reported" in before and "unpriced" not in before


@pytest.mark.parametrize("group", [*GROUPED_BY, "label:cost_center"])
def test_every_group_is_known_to_the_ledger(call, group):
    got = rows(call("usage", "--json", "--by", group))
    assert got
    assert all(list(row) == [group, *COLUMNS] for row in got)


def test_one_total_without_groups(call):
    got = every_row(call("usage", "--json", "--by", ""))
    assert [(row["requests"], row["row"]) for row in got] == [(2, "total"), (1, "total")]
    assert "total" not in call("usage", "--by", "").stdout, "the rows say it"


def test_each_currency_has_a_total_and_unknown_stays_unknown(call, book):
    """What finance adds up is there: exact in nano-units, and in the currency."""
    book(
        make_record(4, cost_nano=2**56, charge_nano=2**56, currency="USD"),
        make_record(5, cost_nano=7, currency="CNY"),
    )
    got = every_row(call("usage", "--json"))
    found = {row["currency"]: row for row in got if row["row"] == "total"}
    assert [row["row"] for row in got] == ["group"] * (len(got) - 3) + ["total"] * 3, (
        "the totals come last"
    )
    assert list(found) == [None, "CNY", "USD"]
    assert (found["USD"]["cost_nano"], found["USD"]["cost"]) == (
        2**56 + 1_500_000,
        "72057594.039427936",
    )
    assert (found["CNY"]["cost"], found["CNY"]["charge"], found["CNY"]["team"]) == (
        "0.000000007",
        None,
        None,
    )
    assert [
        row | {"team": None, "key": None, "model": None}
        for row in every_row(call("usage", "--json", "--by", ""))
    ] == [{"team": None, "key": None, "model": None} | row for row in found.values()], (
        "the ledger's own totals say the same"
    )


def test_days_are_of_the_configured_zone(call, book):
    # 2026-11-01 16:30 UTC is the next day in Shanghai.
    book(make_record(9, started_at_ms=1_793_550_600_000))
    days = {row["day"] for row in rows(call("usage", "--json", "--by", "day"))}
    assert days == {"2026-11-01", "2026-11-02"}


def test_a_range_is_half_open(call):
    start, before = (
        "2026-11-01T10:26:40",
        "2026-11-01T10:26:39",
    )  # START_MS, and a second before it, in the zone
    assert START_MS == 1_793_500_000_000
    assert len(rows(call("usage", "--json", "--from", start))) == 3
    assert rows(call("usage", "--json", "--to", start)) == []
    assert len(rows(call("usage", "--json", "--from", before, "--to", "2026-11-01T10:26:41"))) == 3
    assert rows(call("usage", "--json", "--from", before, "--to", start)) == []


def test_nothing_in_the_range(call):
    empty = call("usage", "--month", "2020-01", "--team", "research")
    assert empty.stdout.endswith("No records in this range.\n") and "Note" not in empty.stderr
    unknown = call("usage", "--team", "reserch", "--key", "alcie")
    assert "of a team 'reserch'. The nearest is 'research'." in unknown.stderr
    assert "of a key 'alcie'." in unknown.stderr and unknown.exit_code == 0
    assert call("usage", "--month", "2020-01", "--format", "csv").stdout.splitlines() == [
        ",".join(["team", "key", "model", *COLUMNS])
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by", "team,colour"), "'colour' is none of team, key"),
        (("--by", "label:"), "'label:' is none of"),
        (("--by", "team,team"), "names a group twice"),
        (("--month", "2026"), "'2026' is no month"),
        (("--format", "xml"), "xml"),
    ],
)
def test_wrong_words_are_usage_errors(call, words, message):
    result = call("usage", *words)
    assert (result.exit_code, message in result.stderr, result.stdout) == (2, True, "")


def test_a_ledger_without_its_config(call, home, book):
    (home / "config.yaml").unlink()
    assert len(rows(call("usage", "--json"))) == 3, "./var is read where there is no config"
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    data_dir = book(make_record(5), directory=elsewhere)
    assert len(rows(call("usage", "--json", "--data-dir", str(data_dir)))) == 1


def test_without_a_ledger_the_message_says_so(call, home):
    for path in (home / "var").iterdir():
        path.unlink()
    result = call("usage")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no ledger at" in result.stderr


def test_groups_may_be_given_one_by_one(call):
    assert (
        call("usage", "--json", "--by", "team", "--by", "key,model").stdout
        == call("usage", "--json").stdout
    )


def test_one_team_by_tag_and_month_as_the_book_stood(call, book):
    book(make_record(3, tags={"feature": "search"}, output_tokens=5))
    words = ("usage", "--json", "--by", "tag:feature,month", "--team", "research")
    assert [(row["tag:feature"], row["month"], row["requests"]) for row in rows(call(*words))] == [
        (None, "2026-11", 1),
        (None, "2026-11", 1),
        ("search", "2026-11", 1),
    ]
    assert len(rows(call(*words, "--through", "3"))) == 2
    shown = call("usage", "--team", "research", "--through", "3").stdout
    assert shown.startswith("Usage of the team research up to seq 3 ")
    result = call("usage", "--through", "99")
    assert (result.exit_code, "the book ends at seq 4" in result.stderr) == (1, True)
