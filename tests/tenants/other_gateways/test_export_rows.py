"""What is read as rows, and which files are refused as a whole."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tenants.other_gateways.export_rows import ExportError, ExportRow, read_rows
from proxy.tenants.other_gateways.litellm import read as read_litellm
from proxy.tenants.other_gateways.new_api import read as read_new_api
from proxy.tenants.other_gateways.plan import Options
from tests.support.effort import examples

NAMES = st.sampled_from(
    "token key name models team_id blocked max_budget budget_duration metadata spend expires status"
    " unlimited_quota remain_quota expired_time keys data model_max_budget".split()
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just("a" * 64)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff\xfe[\x00", "is not UTF-8"),
        (b'[{"token": ', "is no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (json.dumps({"keys": [{"token": "x"}], "total_pages": 28}).encode(), "one page of 28"),
        (json.dumps({"keys": ["a" * 64]}).encode(), "return_full_object=true"),
        (b"token,token\n1,2\n", "the column 'token' twice"),
        (b'[{"token": "a", "spend": 1, "token": "b"}]', "'token' stands twice in one object"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b" \r\n\n", "is empty"),
        ("token,name\n1,2\n".encode("utf-16-le"), "holds NUL, as UTF-16 does"),
        (b"token,name\n1,a\x00b\n", "holds NUL"),
        (b"<html><body>404</body></html>", "one of them budget_id, key, team_id, token"),
        (b"null", "is no export of keys"),
        (b"PK\x03\x04", "is no export of keys"),
        (b"INSERT INTO tokens VALUES (1, 'abc');\n", "is no export of keys"),
    ],
)
def test_what_is_no_export_is_refused_as_a_whole(text: bytes, why: str) -> None:
    with pytest.raises(ExportError, match=why):
        read_rows(text, "f.json")


def test_lines_of_json_and_numbers_as_they_stand() -> None:
    rows = read_rows(b'{"token": "a", "spend": 0.1}\n\n{"token": "b", "spend": 1e-7}\n', "f")
    assert [row.place for row in rows] == ["f line 1", "f line 3"]
    assert [row.number("spend") for row in rows] == [Decimal("0.1"), Decimal("1E-7")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("top", ["", "\ufeff", "sep=;\n", "\ufeffsep=;\n"])
def test_csv_of_whatever_program(top: str, end: str) -> None:
    lines = ["token;name;models", 'a;"x;y";', "", "b;z;m-1", ""]
    text = (top + "\n".join(lines)).replace("\n", end).encode()
    rows = read_rows(text, "f")
    assert [row.fields for row in rows] == [
        {"token": "a", "name": "x;y"},
        {"token": "b", "name": "z", "models": "m-1"},
    ]


def test_rows_of_csv_that_are_out_of_step_give_nothing_to_others() -> None:
    good, short, long = read_rows(b"token,name\r\na,b\r\nc\r\nd,e,f\r\n", "f")
    assert good.fields == {"token": "a", "name": "b"}
    assert [(row.place, list(row.fields)) for row in (short, long)] == [
        ("f line 3", ["broken"]),
        ("f line 4", ["broken"]),
    ]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []), ("{}", []), ("[]", []), ([], []), ("a, b", ["a", "b"]), ('["a","b"]', ["a", "b"]),
        ('{a,"b c","d\\"e"}', ["a", "b c", 'd"e']), (["a", " "], ["a"]),
    ],
)  # fmt: skip
def test_lists_of_names(value: object, names: list[str]) -> None:
    assert ExportRow("f", {"models": value}).names("models") == names


@given(value=VALUES)
@settings(max_examples=examples(300), derandomize=True)
def test_nothing_raises_but_a_refusal(value: object) -> None:
    try:
        rows = read_rows(json.dumps(value).encode(), "f")
    except ExportError:
        return
    for read in (read_litellm, read_new_api):
        for one in read(rows, Options()):
            assert one.row is not None or one.notes
