"""The bytes of a statement: the same for the same, exact, and checked for what they add up to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.statements.frozen import digest, frozen, key_of_pem, public_pem, wrong_sums

SUM = {
    "requests": "2",
    "cost": "0.000000003",
    "cost_nano": "3",
    "charge": None,
    "charge_nano": None,
}


def told(**changes: Any) -> dict[str, Any]:
    group = {"row": "group", "currency": "USD", **SUM}
    return {
        "rows": [group, {**group, "row": "total"}],
        "earlier": [],
        "due": [{"currency": "USD", "cost_nano": "3", "charge_nano": None}],
    } | changes


def test_integers_are_text_and_names_are_sorted() -> None:
    said = {"b": 2**70, "a": [None, "é\n", {"z": -1, "y": ()}]}
    document = frozen(said)
    assert (
        document.decode()
        == '{"a":[null,"é\\n",{"y":[],"z":"-1"}],"b":"1180591620717411303424","format":"tollkeeper statement 1"}'
    )
    assert frozen({"a": said["a"], "b": said["b"]}) == document
    assert json.loads(document)["b"] == str(2**70)
    assert len(digest(document)) == 64


@pytest.mark.parametrize("number", [1.5, True])
def test_what_is_no_integer_has_no_place(number: object) -> None:
    with pytest.raises(TypeError):
        frozen({"a": number})


def test_a_statement_that_adds_up_has_no_faults() -> None:
    assert wrong_sums(told()) == []


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        (0, "requests", "3", "rows: the total of requests in USD is 2, and the lines come to 3"),
        (1, "cost_nano", "4", "rows: the total of cost_nano in USD is 4"),
        (0, "charge_nano", "1", "the total of charge_nano in USD is None"),
        (1, "cost", "3.00", "rows: an amount is 3.00 in one place and 3 in the other"),
    ],
)
def test_what_does_not_add_up_is_told(part: int, name: str, value: str, said: str) -> None:
    wrong = told()
    wrong["rows"][part] = {**wrong["rows"][part], name: value}
    assert any(said in one for one in wrong_sums(wrong)), wrong_sums(wrong)


def test_what_is_due_is_the_month_and_what_came_late() -> None:
    both = told(earlier=told()["rows"])
    assert wrong_sums(both) == ["due: it is not the sum of the totals"]
    both["due"][0]["cost_nano"] = "6"
    assert wrong_sums(both) == []


def test_a_public_key_goes_to_pem_and_back() -> None:
    key = bytes(range(32))
    assert key_of_pem(public_pem(key)) == key
    for text in ("", "x", public_pem(key).replace("MCow", "MCox"), public_pem(key)[:-40]):
        with pytest.raises(ValueError, match=r"PEM|ed25519|padding|base64"):
            key_of_pem(text)
