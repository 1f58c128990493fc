"""Prices against an oracle in fractions that prices one token after the other, and the mistakes
that others have published."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.stated import read_stated
from proxy.core.pricing.amounts import (
    AMOUNT_NANO_MAX,
    ONE,
    PARTS,
    Counts,
    amounts,
    compile_rates,
    dearest,
    factor,
    parts,
    plain,
    raised,
    rounded,
    scaled,
    value,
)
from proxy.core.usage import Usage
from tests.support.effort import examples

PARENT = {
    "cached": "input",
    "cache_write": "input",
    "cache_write_long": "cache_write",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}
INPUT = [part for part in PARTS[:5] if part != "cache_write_long"]
OUTPUT = PARTS[5:]

DECIMALS = st.builds(
    lambda number, places: f"{number // 10**places}.{number % 10**places:0{places}d}",
    st.integers(0, 10**12),
    st.integers(1, 18),
) | st.sampled_from(["0", "1", "0.28", "0.028", "15", "3.75", "0.000000000000000001", "75.000"])
SHARES = st.sampled_from(
    ["0", "1", "0.05", "0.5", "0.333333333333333333", "0.000001", "0.999999999999999999"]
)
TOKENS = st.none() | st.integers(0, 30) | st.integers(0, 10**7)
COUNTS = st.builds(
    Counts,
    st.integers(0, 60) | st.integers(0, 10**7),
    TOKENS,
    TOKENS,
    TOKENS,
    st.integers(0, 60) | st.integers(0, 10**7),
    TOKENS,
    TOKENS,
    TOKENS,
    st.none() | st.integers(0, 5),
)
RATES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*PARTS, "image", "search", "request"), DECIMALS)
)
IMAGES = st.none() | st.integers(0, 5)


def rate_of(decimals: dict[str, str], name: str) -> Fraction | None:
    text = decimals.get(name)
    if text is None:
        return rate_of(decimals, PARENT[name]) if name in PARENT else None
    return Fraction(text)


def labels(counts: Counts) -> dict[str, int]:
    """How many tokens bear each label, if the labels are handed out in their order and no token
    takes two."""
    found = {}
    for (whole, *rest), total in ((INPUT, counts.input_tokens), (OUTPUT, counts.output_tokens)):
        left = total
        for name in rest:
            stated = getattr(counts, f"{name}_tokens")
            found[name] = min(left, 0 if stated is None else stated)
            left -= found[name]
        found[whole] = left
    long = counts.cache_write_long_tokens
    found["cache_write_long"] = min(found["cache_write"], 0 if long is None else long)
    found["cache_write"] -= found["cache_write_long"]
    return found


def oracle(
    decimals: dict[str, str], discount: str, counts: Counts, images: int | None, answered: bool
) -> Fraction | None:
    """The exact amount in nano-units."""
    total = Fraction(0)
    for name, count in labels(counts).items():
        rate = rate_of(decimals, name)
        if count and rate is None:
            return None
        total += count * (rate or 0) * 1000
    if answered:
        image = Fraction(decimals.get("image", "0"))
        if (
            images is None and image and discount != "1"
        ):  # nothing of it is left under a discount of all
            return None
        total += image * (images or 0) * 10**9 + Fraction(decimals.get("request", "0")) * 10**9
        total += Fraction(decimals.get("search", "0")) * (counts.searches or 0) * 10**9
    return total * (1 - Fraction(discount))


def half_up(exact: Fraction | None) -> int | None:
    if exact is None:
        return None
    nano = (exact + Fraction(1, 2)).__floor__()
    return nano if nano <= AMOUNT_NANO_MAX else None


def check_against_the_oracle(decimals, discount, fx, markup, counts, images, answered):
    rates = compile_rates(decimals, discount)
    exact = oracle(decimals, discount, counts, images, answered)
    got = amounts(rates, counts, factor(fx), raised(markup), images=images, answered=answered)
    if exact is None:
        assert got == (None, None, None)
        return
    converted = exact * Fraction(fx)
    assert got == (
        half_up(exact),
        half_up(converted),
        half_up(converted * (1 + Fraction(markup))),
    ), "one rounding each, from the exact value"
    assert (
        Fraction(
            value(
                rates,
                parts(counts),
                images=images,
                answered=answered,
                searches=counts.searches,
            ),
            rates.scale,
        )
        == exact
    )
    most = dearest(rates, counts.input_tokens, counts.output_tokens, images)
    assert most is None or most >= value(rates, parts(counts), images=images, answered=answered), (
        "no split of the tokens costs more than the bound"
    )


def check_the_partition(counts):
    found = dict(zip(PARTS, parts(counts), strict=True))
    assert found == labels(counts)
    assert (
        sum(found[name] for name in PARTS[:5]) == counts.input_tokens
        and sum(found[name] for name in OUTPUT) == counts.output_tokens
    )


def check_additivity_and_monotony(decimals, discount, counts, more):
    """Of exact values: two records cost what one with both their tokens costs, and a token more
    never costs less."""
    rates = compile_rates(
        decimals | {"input": decimals.get("input", "1"), "output": decimals.get("output", "2")},
        discount,
    )
    tokens, added = parts(counts), parts(more)
    both = tuple(map(sum, zip(tokens, added, strict=True)))
    one, other, together = (
        value(rates, each, images=0, answered=False) for each in (tokens, added, both)
    )
    assert one + other == together >= max(one, other)
    assert (
        abs(
            rounded(one, rates.scale) + rounded(other, rates.scale) - rounded(together, rates.scale)
        )
        <= 1
        if together < AMOUNT_NANO_MAX * rates.scale
        else True
    )


@given(RATES, SHARES, DECIMALS, SHARES, COUNTS, IMAGES, st.booleans(), COUNTS)
@settings(max_examples=examples(250))
def test_each_token_is_priced_once_and_exactly(
    decimals, discount, fx, markup, counts, images, answered, more
):
    check_against_the_oracle(decimals, discount, fx, markup, counts, images, answered)
    check_the_partition(counts)
    check_additivity_and_monotony(decimals, discount, counts, more)


@pytest.mark.campaign
@given(RATES, SHARES, DECIMALS, SHARES, COUNTS, IMAGES, st.booleans(), COUNTS)
@settings(max_examples=100_000)
def test_a_hundred_thousand_records_are_priced_once_and_exactly(
    decimals, discount, fx, markup, counts, images, answered, more
):
    check_against_the_oracle(decimals, discount, fx, markup, counts, images, answered)
    check_the_partition(counts)
    check_additivity_and_monotony(decimals, discount, counts, more)


# What vendors stated, at the rates of that day -> what it cost, in nano-dollars. Each was once
# published with another amount, by who counted tokens twice or not at all.
OPENAI_STYLE, ANTHROPIC_STYLE = True, False
PUBLISHED = [
    # (where, the vendor's usage, cached inside input, rates per million, nano-dollars)
    (
        "cached tokens also priced as plain ones: 0.7642 (litellm#14849)", OPENAI_STYLE,
        {"prompt_tokens": 262_960, "completion_tokens": 1_744, "total_tokens": 264_704, "prompt_tokens_details": {"text_tokens": 262_960, "cached_tokens": 257_955}},
        {"input": "1.25", "cached": "0.625", "output": "10"}, 184_918_125,
    ),
    (
        "tokens written to the cache priced twice: 0.091311 (litellm#9812)", ANTHROPIC_STYLE,
        {"input_tokens": 3, "cache_creation_input_tokens": 12_304, "cache_read_input_tokens": 0, "output_tokens": 550},
        {"input": "3", "cached": "0.3", "cache_write": "3.75", "output": "15"}, 54_399_000,
    ),
    (
        "tokens written to the cache priced twice: 1.85984625 (bifrost#3451)", ANTHROPIC_STYLE,
        {"input_tokens": 6, "cache_creation_input_tokens": 159_217, "output_tokens": 2_745},
        {"input": "5", "cached": "0.5", "cache_write": "6.25", "output": "25"}, 1_063_761_250,
    ),
    (
        "xAI's reasoning, stated beside the completion, dropped: 0.0162631 (sub2api#5771; the vendor's own cost says 232856000 ticks of 1e-10)", OPENAI_STYLE,
        {"prompt_tokens": 10_120, "completion_tokens": 1_499, "total_tokens": 14_428, "prompt_tokens_details": {"cached_tokens": 128},
         "completion_tokens_details": {"reasoning_tokens": 2_809}},
        {"input": "1.25", "cached": "0.20", "output": "2.50"}, 23_285_600,
    ),
    (
        "OpenAI's reasoning, which is inside the completion, added to it", OPENAI_STYLE,
        {"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 1_000, "completion_tokens_details": {"reasoning_tokens": 200}},
        {"input": "1", "output": "10"}, 5_500_000,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "stated", "decimals", "nano"),
    [case[1:] for case in PUBLISHED],
    ids=[case[0] for case in PUBLISHED],
)
def test_published_mistakes_are_not_made(inside, stated, decimals, nano):
    read = read_stated(stated)
    assert read is not None
    usage = read.usage(cached_inside_input=inside)
    assert amounts(compile_rates(decimals, "0"), usage, ONE, ONE, images=None, answered=True) == (
        nano,
        nano,
        nano,
    )


def test_running_totals_are_not_added_up():
    """Gemini states the usage so far with each chunk: 6,179 tokens became 1.37 million where all of
    them were summed (talos PR #2019)."""
    events = [
        b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":5000,"completion_tokens":%d,"total_tokens":%d}}\n\n'
        % (so_far, 5000 + so_far)
        for so_far in range(3, 1180, 3)
    ]
    final = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5000,"completion_tokens":1179,"total_tokens":6179}}\n\n'
    meter = ChatMeter(stream=True, status=200, content_type="text/event-stream")
    for event in [*events, final, b"data: [DONE]\n\n"]:
        meter.feed(event)
    meter.end()
    rates = compile_rates({"input": "0.30", "output": "2.50"}, "0")
    assert (
        amounts(rates, meter.usage, ONE, ONE, images=None, answered=True)[0]
        == 5_000 * 300 + 1_179 * 2_500
    )


# Stated counts -> plain input, cached, cache_write, audio_input, plain output, reasoning,
# audio_output.
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input_tokens=100, output_tokens=20), (100, 0, 0, 0, 0, 20, 0, 0)),
        (
            Usage(
                input_tokens=100,
                cached_tokens=60,
                cache_write_tokens=30,
                audio_input_tokens=5,
                output_tokens=20,
                reasoning_tokens=12,
                audio_output_tokens=3,
            ),
            (5, 60, 30, 0, 5, 5, 12, 3),
        ),
        (
            Usage(
                input_tokens=100,
                cached_tokens=101,
                cache_write_tokens=1,
                audio_input_tokens=1,
                output_tokens=20,
                reasoning_tokens=21,
                audio_output_tokens=1,
            ),
            (0, 100, 0, 0, 0, 0, 20, 0),
        ),
        (
            Usage(
                input_tokens=100,
                cached_tokens=60,
                cache_write_tokens=60,
                audio_input_tokens=60,
                output_tokens=0,
            ),
            (0, 60, 40, 0, 0, 0, 0, 0),
        ),
        (
            Usage(
                input_tokens=100,
                cached_tokens=0,
                audio_input_tokens=100,
                output_tokens=5,
                audio_output_tokens=5,
            ),
            (0, 0, 0, 0, 100, 0, 0, 5),
        ),
        (
            Usage(input_tokens=0, cached_tokens=7, output_tokens=0, reasoning_tokens=7),
            (0, 0, 0, 0, 0, 0, 0, 0),
        ),
        (
            Usage(
                input_tokens=100,
                cached_tokens=50,
                cache_write_tokens=40,
                cache_write_long_tokens=30,
                output_tokens=0,
            ),
            (10, 50, 10, 30, 0, 0, 0, 0),
        ),
        (
            Usage(
                input_tokens=100,
                cached_tokens=90,
                cache_write_tokens=40,
                cache_write_long_tokens=30,
                output_tokens=0,
            ),
            (0, 90, 0, 10, 0, 0, 0, 0),
        ),
        (Usage(output_tokens=20), None),
        (Usage(input_tokens=20), None),
    ],
)
def test_no_token_is_priced_twice(usage, expected):
    assert parts(usage) == expected


DEAR = {"input": "0.5", "output": "1.5"}


@pytest.mark.parametrize(
    ("decimals", "discount", "usage", "images", "answered", "nano"),
    [
        (DEAR, "0", Usage(input_tokens=1, output_tokens=0), None, True, 500),
        (
            DEAR,
            "0.999",
            Usage(input_tokens=1, output_tokens=0),
            None,
            True,
            1,
        ),  # half a nano-unit: up
        (
            {"input": "0.0005", "output": "0"},
            "0",
            Usage(input_tokens=1, output_tokens=0),
            None,
            True,
            1,
        ),
        (
            {"input": "0.000499999999999999", "output": "0"},
            "0",
            Usage(input_tokens=1, output_tokens=0),
            None,
            True,
            0,
        ),
        (DEAR, "1", Usage(input_tokens=10**9, output_tokens=10**9), None, True, 0),
        (
            {"input": "0.5"},
            "0",
            Usage(input_tokens=4, output_tokens=0),
            None,
            True,
            2_000,
        ),  # an embedding needs no rate for what it does not give
        (
            {"input": "0.5"},
            "0",
            Usage(input_tokens=4, output_tokens=1),
            None,
            True,
            None,
        ),  # no rate is unknown, and never free
        (
            {"output": "0.5", "cached": "1"},
            "0",
            Usage(input_tokens=4, cached_tokens=4, output_tokens=0),
            None,
            True,
            4_000,
        ),
        (
            {"output": "0.5", "cached": "1"},
            "0",
            Usage(input_tokens=5, cached_tokens=4, output_tokens=0),
            None,
            True,
            None,
        ),
        (
            {"request": "0.01", "input": "0", "output": "0"},
            "0",
            Usage(input_tokens=9, output_tokens=9),
            None,
            True,
            10_000_000,
        ),
        (
            {"request": "0.01", "input": "0", "output": "0"},
            "0",
            Usage(input_tokens=9, output_tokens=9),
            None,
            False,
            0,
        ),
        (
            DEAR | {"image": "0.002"},
            "0.5",
            Usage(input_tokens=2, output_tokens=0),
            3,
            True,
            3_000_500,
        ),
        (
            DEAR | {"image": "0.002"},
            "0",
            Usage(input_tokens=2, output_tokens=0),
            None,
            True,
            None,
        ),  # nobody counted them
        (
            DEAR | {"image": "0.002"},
            "0",
            Usage(input_tokens=0, output_tokens=0),
            None,
            False,
            0,
        ),  # and of an error nobody bills them
        (DEAR | {"image": "0"}, "0", Usage(input_tokens=2, output_tokens=0), None, True, 1_000),
        (
            {"input": "999999999999999"},
            "0",
            Usage(input_tokens=2**53, output_tokens=0),
            None,
            True,
            None,
        ),  # no column and no journal entry could hold it
    ],
)
def test_amounts(decimals, discount, usage, images, answered, nano):
    rates = compile_rates(decimals, discount)
    assert amounts(rates, usage, ONE, ONE, images=images, answered=answered) == (nano, nano, nano)


def test_charge_and_exchange_are_rounded_from_the_exact_value_not_from_the_cost():
    rates = compile_rates({"input": "0.0004"}, "0")  # 0.4 nano-units a token
    one, three = Usage(input_tokens=1, output_tokens=0), Usage(input_tokens=3, output_tokens=0)
    assert amounts(rates, one, factor("1.25"), raised("0.2"), images=None, answered=True) == (
        0,
        1,
        1,
    )
    assert amounts(rates, three, factor("0.5"), raised("0.5"), images=None, answered=True) == (
        1,
        1,
        1,
    )
    assert amounts(rates, three, None, ONE, images=None, answered=True) == (1, None, None)


@pytest.mark.parametrize(
    ("text", "split", "canonical"),
    [("0.28", (28, 2), "0.28"), ("00.280", (28, 2), "0.28"), ("15", (15, 0), "15"), ("15.00", (15, 0), "15"), ("0", (0, 0), "0"), ("0.000", (0, 0), "0"),
     ("0.000000000000000001", (1, 18), "0.000000000000000001"), ("100", (100, 0), "100"), ("1.05", (105, 2), "1.05")],
)  # fmt: skip
def test_decimals_are_read_exactly_and_written_in_one_way(text, split, canonical):
    assert (scaled(text), plain(text)) == (split, canonical)
    assert Fraction(canonical) == Fraction(text)


def test_the_bound_of_a_row_without_a_rate_is_not_known():
    assert dearest(compile_rates({"cached": "1", "output": "1"}, "0"), 1, 1, None) is None
    assert dearest(compile_rates({"cached": "1", "output": "1"}, "0"), 0, 1, None) is not None
    assert dearest(compile_rates(DEAR | {"image": "1"}, "0"), 1, 1, None) is None
    rates = compile_rates(
        DEAR | {"cache_write": "0.7", "reasoning": "3", "request": "0.01", "image": "1"}, "0"
    )
    assert (
        rounded(dearest(rates, 10, 10, 2), rates.scale) == 7_000 + 30_000 + 10_000_000 + 2 * 10**9
    )
