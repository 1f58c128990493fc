"""Nested JSON as rows."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from proxy.accounting.reconciling import json_rows as module
from proxy.accounting.reconciling.json_rows import json_rows
from proxy.core.reconciling.line_reader import UnreadableBill

RESULT = {"object": "result", "amount": {"value": "0.06", "currency": "usd"}, "line_item": None}
FLAT = {"object": "result", "amount.value": "0.06", "amount.currency": "usd", "line_item": ""}


def rows(*documents: Any) -> list[dict[str, str]]:
    return list(json_rows(io.StringIO("\n".join(map(json.dumps, documents))), "bill"))


def test_a_result_has_what_its_bucket_says_before_and_behind_it() -> None:
    page = {
        "object": "page",
        "data": [{"start_time": 1, "results": [RESULT, RESULT], "end_time": 2}],
        "has_more": False,
    }
    assert rows(page) == [{"start_time": "1", "end_time": "2"} | FLAT] * 2
    assert rows(page, page) == rows(page) * 2
    assert rows([page, page]) == [{"has_more": "false"} | row for row in rows(page)] * 2
    assert rows(page["data"]) == rows(page)


def test_a_bucket_without_results_is_a_row_without_amounts() -> None:
    assert rows({"data": [{"start_time": 1, "results": []}]}) == [{"start_time": "1"}]


def test_lists_in_objects_in_objects_are_found() -> None:
    assert rows({"success": True, "data": {"total": 1, "items": [{"quota": 5}]}}) == [
        {"quota": "5"}
    ]


def test_a_page_that_is_not_the_last_is_no_whole_bill() -> None:
    page = {"data": [{"n": 1}], "has_more": True}
    last = page | {"has_more": False}
    with pytest.raises(UnreadableBill, match="ask for the next ones too"):
        rows(last, page)
    assert len(rows(page, last)) == 2


def test_numbers_keep_their_text() -> None:
    text = '[{"a": 1e-05, "b": 0.1234567890123456789, "c": 12345678901234567890123, "d": true}]'
    [row] = json_rows(io.StringIO(text), "bill")
    assert row == {
        "a": "0.00001",
        "b": "0.1234567890123456789",
        "c": "12345678901234567890123",
        "d": "true",
    }


def test_a_bucket_that_is_too_large_to_wait_for_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROWS_WAITING_MAX", 3)
    page = {"data": [{"start": 1, "results": [{"n": n} for n in range(10)], "end": 2}]}
    found = rows(page)
    assert [row["n"] for row in found] == [str(n) for n in range(10)]
    assert all(row["start"] == "1" for row in found)
