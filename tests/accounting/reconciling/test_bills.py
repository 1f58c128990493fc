"""Bills recognised by their columns, and what is said of those that are not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.accounting.reconciling.bills import Bill, BillMapping, mapping_of
from proxy.core.reconciling.line_reader import UnreadableBill
from proxy.core.reconciling.lines import VendorLine
from tests.accounting.reconciling.books import UTC


def lines(tmp_path: Path, text: str | bytes, vendor: str, **more: Any) -> list[VendorLine]:
    path = tmp_path / "bill"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(Bill(path, vendor, **more).lines(UTC))


def test_an_unknown_file_says_which_columns_it_has_and_which_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UnreadableBill) as caught:
        lines(tmp_path, "Datum,Betrag\n2026-11-01,5\n", "openai")
    assert str(caught.value).splitlines() == [
        "This is no bill of openai that is known.",
        f"{tmp_path / 'bill'} has the columns: Datum, Betrag.",
        "Needed are:",
        "  OpenAI costs (API or the dashboard's csv): start_time or start_time_iso or date, "
        "amount.value or amount_value",
        "  OpenAI usage (API or the dashboard's csv): start_time or start_time_iso or date, "
        "input_tokens, output_tokens",
        "Choose the vendor with --vendor, or name the columns with --mapping FILE "
        "(docs/reconcile.md).",
    ]


def test_of_a_file_that_is_no_bill_no_secret_is_printed(tmp_path: Path) -> None:
    with pytest.raises(UnreadableBill) as caught:
        lines(tmp_path, f"vendor_api_key={'q' * 60},x\n1,2\n", "openai")
    assert "vendor_api_key=qqqqq…, x." in str(caught.value)


def test_a_column_that_stands_there_twice_is_refused_if_it_is_read(tmp_path: Path) -> None:
    twice = "date,model,note,note,cost,cost\n2026-11-01,a,x,y,1.23,99\n"
    with pytest.raises(UnreadableBill, match="two columns 'cost'"):
        lines(tmp_path, twice, "generic")
    [line] = lines(tmp_path, twice.replace("cost,cost", "cost,net"), "generic")
    assert line.amount_nano == 1_230_000_000


def test_a_mapping_names_the_columns_and_what_the_file_does_not_state(tmp_path: Path) -> None:
    mapping = BillMapping(
        columns={"at": "Datum", "amount": "Betrag", "model": "Modell", "requests": ""},
        zone="Europe/Berlin",
        currency="EUR",
        divisor=100,
    )
    text = "Datum;Modell;Betrag;requests\n2026-11-01;gpt-4o;1.234,5;many\n"
    bill = tmp_path / "bill"
    bill.write_text(text)
    [line] = Bill(bill, "generic", mapping).lines(UTC)
    assert (line.amount_nano, line.currency, line.model) == (12_345_000_000, "EUR", "gpt-4o")
    assert Bill(bill, "generic", mapping).zone(UTC) == ZoneInfo("Europe/Berlin")
    assert line.at_ms == 1_793_487_600_000 and line.requests is None


def test_how_numbers_and_dates_are_meant_is_told_or_found(tmp_path: Path) -> None:
    english = "date;model;cost\n2026-11-01;a;1.234\n2026-11-01;a;0.5\n"
    found = lines(tmp_path, english, "generic")
    assert [line.amount_nano for line in found] == [1_234_000_000, 500_000_000]
    with pytest.raises(UnreadableBill, match="has two meanings"):
        lines(tmp_path, "date;model;cost\n2026-11-01;a;1.234\n", "generic")
    told = BillMapping(decimal=",", day_first=False)
    [line] = lines(tmp_path, "date;model;cost\n11/01/2026;a;1.234\n", "generic", mapping=told)
    assert (line.amount_nano, line.at_ms) == (1234 * 10**9, 1_793_491_200_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("decimal: ';'", "is no mapping"),
        ("columns: {when: Date}", "names the field 'when'; there are at, end"),
        ("colums: {at: Date}", "is no mapping"),
        ("- 1", "is no mapping"),
        ("zone: Mars/Olympus", "there is no zone"),
        ("divisor: 0", "at least 1"),
        ("a: [", "is no mapping"),
    ],
)
def test_a_wrong_mapping_says_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(UnreadableBill, match=said):
        mapping_of(path)


def test_a_mapping_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"columns": {"at": "Date"}, "currency": "USD"}')
    assert mapping_of(path) == BillMapping(columns={"at": "Date"}, currency="USD")


def test_of_a_zip_the_finest_tables_are_read(tmp_path: Path) -> None:
    """DeepSeek's zip has the same money twice, and macOS adds files of its own."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            "cost-2026-11.csv",
            "user_id,utc_date,model,wallet_type,cost,currency\nu,20261101,deepseek-chat,Paid,0.003,CNY\n",
        )
        archive.writestr(
            "amount-2026-11.csv",
            "\ufeffuser_id,utc_date,model,api_key_name,api_key,type,price,amount\r\n"
            'u,20261101,deepseek-chat,"a, b",sk-x,output_tokens,0.000003,1000\r\n'
            "u,20261101,deepseek-chat,k,sk-x,request_count,,3\r\n",
        )
        archive.writestr("__MACOSX/._cost-2026-11.csv", b"\x00\x05\x16\x07")
    path = tmp_path / "usage.zip"
    path.write_bytes(out.getvalue())
    bill = Bill(path, "deepseek", currency="CNY")
    found = list(bill.lines(UTC))
    assert [(line.amount_nano, line.requests) for line in found] == [(3_000_000, None), (0, 3)]
    assert bill.shape.startswith("DeepSeek amount")
    assert list(bill.left_out.values()) == [(1, 0)]


PAGE = (
    '{{"data": [{{"start_time": {}, "results": [{{"amount": {{"value": {}}}}}]}}], "has_more": {}}}'
)


def test_several_files_are_one_bill(tmp_path: Path) -> None:
    texts = [(1_793_491_200, 1, "true"), (1_793_577_600, 2, "true"), (1_793_664_000, 3, "false")]
    paths = [tmp_path / f"page{n}.json" for n in (1, 2, 10)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(PAGE.format(*text))
    found = list(Bill(paths, "openai").lines(UTC))
    assert [line.amount_nano for line in found] == [10**9, 2 * 10**9, 3 * 10**9]
    with pytest.raises(UnreadableBill, match=r"page2\.json says that more follow"):
        list(Bill(paths[:2], "openai").lines(UTC))
    with pytest.raises(UnreadableBill, match="There are 402 files: give 400 at most"):
        list(Bill(paths * 134, "openai").lines(UTC))
    paths[1].write_text(paths[0].read_text())
    with pytest.raises(UnreadableBill, match=r"page2\.json is the same file as .*page1\.json"):
        list(Bill(paths, "openai").lines(UTC))


def test_pages_in_a_zip_are_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "pages.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("page10.json", PAGE.format(1_793_664_000, 3, "false"))
        archive.writestr("page9.json", PAGE.format(1_793_491_200, 1, "true"))
    assert [line.amount_nano for line in Bill(path, "openai").lines(UTC)] == [10**9, 3 * 10**9]


def test_empty_days_and_totals_are_counted(tmp_path: Path) -> None:
    text = (
        "start_time,end_time,amount_value,amount_currency,line_item\n"
        "1793491200,1793577600,0.8958740000000000,usd,\n"
        "1793577600,1793664000,,,\n"
        "Total,,0.895874,usd,\n"
    )
    path = tmp_path / "bill"
    path.write_text(text)
    bill = Bill(path, "openai")
    assert [line.amount_nano for line in bill.lines(UTC)] == [895_874_000]
    assert bill.left_out == {
        "rows without an amount and without tokens": (1, 0),
        "lines of totals": (1, 0),
    }
