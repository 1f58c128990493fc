"""The vendor's own cost: the text of a number -> nano-units, exactly."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.dialects.cost import stated_cost_nano
from proxy.core.dialects.openai_chat.shapes import read_answer, stated_in
from tests.support.effort import examples

# as it stands in the answer -> nano
COSTS = """
0                            0
0.0                          0
0.95                         950000000
0.00014                      140000
0.1                          100000000
1.4e-4                       140000
1E3                          1000000000000
2.5E+0                       2500000000
0.0000000005                 1
0.00000000049999999999999999 0
0.0000000014999999999999999  1
0.0000000015                 2
0.1234567885                 123456789
123456.1234567890499999999999999999 123456123456789
123456.1234567895000000000000000001 123456123456790
9007199.254740992            9007199254740992
9007199.254740993            -
1e400                        -
1e-999                       0
1e-1000                      -
-0.5                         -
"0.5"                        -
null                         -
true                         -
{"total_cost":0.5}           -
[0.5]                        -
"""
ROWS = [line.rsplit(maxsplit=1) for line in COSTS.splitlines() if line]


@pytest.mark.parametrize(("text", "nano"), ROWS, ids=[row[0] for row in ROWS])
def test_a_cost_is_read_from_its_text(text: str, nano: str) -> None:
    expected = None if nano == "-" else int(nano)
    assert (
        stated_cost_nano(
            msgspec.Raw(b'{"prompt_tokens":1,"cost":%b,"cost_details":{"cost":7}}' % text.encode())
        )
        == expected
    )


@pytest.mark.parametrize(
    "usage",
    [
        b"{}",
        b'{"prompt_tokens":1}',
        b'{"cost_details":{"cost":7}}',
        b'{"cost',
        b"5",
        b'{"cost":"\xff"}',
        b'{"cost":' + b"[" * 5000,
    ],
)
def test_none_is_stated(usage: bytes) -> None:
    assert stated_cost_nano(msgspec.Raw(usage)) is None


@settings(max_examples=examples(150))
@given(st.from_regex(r"\A(0|[1-9][0-9]{0,6})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?\Z"))
@example("0.10000000050000000000000000000000000000000000")
def test_rounding_is_half_up_and_once(text: str) -> None:
    exact = Fraction(text) * 10**9
    rounded = (exact + Fraction(1, 2)).__floor__()
    assert stated_cost_nano(msgspec.Raw(b'{"cost":' + text.encode() + b"}")) == (
        rounded if rounded <= 2**53 else None
    )


# What OpenRouter says where the caller's own key at the vendor pays -> nano
OWN_KEY = [
    ("the fee is waived", '"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0360795}', 36_079_500),
    ("a fee of five percent", '"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.02}', 21_000_000),
    ("rounded once", '"cost":0.0000000004,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0000000001}', 1),
    ("the fee alone says nothing of the vendor", '"cost":0.001,"is_byok":true', None),
    ("nor does a zero", '"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0}', None),
    ("nor a null", '"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":null}', None),
    ("nor details that are none", '"cost":0,"is_byok":true,"cost_details":[]', None),
    ("not said to be so, but plain", '"cost":0,"cost_details":{"upstream_inference_cost":0.02}', 20_000_000),
    ("a free model", '"cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":0}', 0),
    ("without such a key it is the same money twice", '"cost":0.02,"is_byok":false,"cost_details":{"upstream_inference_cost":0.02}', 20_000_000),
    ("the same, from before there was such a member", '"cost":0.02,"cost_details":{"upstream_inference_cost":0.02}', 20_000_000),
    ("no cost", '"is_byok":true,"cost_details":{"upstream_inference_cost":0.02}', None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "nano"), [row[1:] for row in OWN_KEY], ids=[row[0] for row in OWN_KEY]
)
def test_the_cost_with_the_callers_own_key(text: str, nano: int | None) -> None:
    assert stated_cost_nano(msgspec.Raw(b'{"prompt_tokens":1,%b}' % text.encode())) == nano


def test_the_cost_comes_with_the_usage_it_stands_in() -> None:
    answer = read_answer(
        b'{"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":0.1},"choices":[{"usage":{"prompt_tokens":2,"cost":5}}]}'
    )
    assert answer is not None
    stated = stated_in(answer)
    assert stated is not None
    assert (stated.input_tokens, stated.upstream_cost_nano) == (3, 100_000_000)
