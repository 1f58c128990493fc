"""Nested JSON as rows."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from proxy.accounting.reconciling import json_rows as module
from proxy.accounting.reconciling.json_rows import BillPages, json_rows
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


LAST = {"data": [{"n": 1}], "has_more": False}
PARTS: dict[str, list[Any]] = {
    "has_more": [LAST, LAST | {"has_more": True}],
    "has_more in camel case": [{"data": [{"n": 1}], "hasMore": True}],
    "an empty page": [LAST, {"data": [], "has_more": True}],
    "pages in a list": [[LAST, LAST | {"has_more": True}]],
    "the next page's token": [{"data": [{"n": 1}], "next_page": "page_AAA"}],
    "a token within": [{"Data": {"Items": [{"n": 1}], "NextToken": "abc", "TotalCount": 9}}],
}


@pytest.mark.parametrize("how", PARTS)
def test_pages_that_are_not_all_are_no_whole_bill(how: str) -> None:
    with pytest.raises(UnreadableBill, match="more follow: ask for the next ones too"):
        rows(*PARTS[how])


def test_the_last_page_says_that_none_follows() -> None:
    first = LAST | {"has_more": True, "next_page": "b"}
    for last in (LAST, LAST | {"next_page": None}, LAST | {"next_page": "stale"}):
        assert rows(first, last) == [{"n": "1"}, {"n": "1"}]
    assert rows({"data": [{"n": 1}], "next_page": None}) == [{"n": "1"}]


def test_a_page_states_how_many_rows_there_are() -> None:
    def page(*items: int, **more: int) -> dict[str, Any]:
        data = {"page": 1, "page_size": 2, "total": 3, "items": [{"id": n} for n in items]}
        return {"success": True, "data": data | more}

    assert len(rows(page(1, 2), page(3))) == 3
    with pytest.raises(UnreadableBill, match="says that there are 3 rows, and has 2: ask for"):
        rows(page(1, 2))
    # Without the size of a page, a total may be of anything.
    assert rows({"total": 500, "items": [{"cost": 1}]}) == [{"cost": "1"}]


def test_pages_in_several_files_are_one_bill() -> None:
    pages = BillPages()
    for page, more in (("a", True), ("b", False)):
        text = json.dumps({"data": [{"n": page}], "has_more": more})
        assert list(json_rows(io.StringIO(text), page, pages)) == [{"n": page}]
    pages.check()
    list(json_rows(io.StringIO(json.dumps({"data": [{"n": 1}], "has_more": True})), "c", pages))
    with pytest.raises(UnreadableBill, match="The last page of c says"):
        pages.check()


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
