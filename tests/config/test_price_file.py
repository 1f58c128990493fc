"""Price rows of a file beside the config."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.price_file import PriceFileError, rows_of_file
from proxy.config.settings import Settings


def test_the_rows_of_any_file_with_prices_are_read(tmp_path: Path) -> None:
    path = tmp_path / "offer.yaml"
    path.write_text(
        '\ufefflisten: 127.0.0.1:1\nprices: [{model: "gpt-*", input: "1.50", output: "5", from: 2026-01-01}]\n',
        encoding="utf-8",
    )
    [row] = rows_of_file(path, Settings())
    assert (row.model, row.input, row.output, row.currency) == ("gpt-*", "1.5", "5", "USD")
    assert row.from_ms == 1_767_225_600_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: 1", "no `prices`; write prices:"),
        ("prices: [{model: a, input: 1.5}]", "quotes"),
        ('prices: [{modell: a, input: "1"}]', "modell"),
        ("prices: [{model: a}]", "gives no price"),
        ('prices: [{model: a, input: "1", currency: EUR}]', "EUR"),
        (
            'currency: CNY\nprices: [{model: a, input: "1"}]',
            "kept in USD; say the currency of each",
        ),
        ('prices: [{model: a, input: "1"}, {model: a, input: "2"}]', "same requests"),
        ("prices: [", "not readable as YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "offer.yaml"
    path.write_text(text)
    with pytest.raises(PriceFileError) as caught:
        rows_of_file(path, Settings())
    assert said in str(caught.value) and "offer.yaml" in str(caught.value)


def test_the_currency_of_the_ledger_may_be_said_and_that_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "offer.yaml"
    path.write_text('currency: USD\nprices: [{model: a, input: "1"}]')
    assert [row.currency for row in rows_of_file(path, Settings())] == ["USD"]
    path.write_text('currency: CNY\nprices: [{model: a, input: "1", currency: USD}]')
    assert [row.currency for row in rows_of_file(path, Settings())] == ["USD"]


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "offer.yaml"
    with pytest.raises(PriceFileError, match="cannot be read"):
        rows_of_file(path, Settings())
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PriceFileError, match="UTF-8"):
        rows_of_file(path, Settings())
