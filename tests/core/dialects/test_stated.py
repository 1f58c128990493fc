"""Each vendor's usage object -> what is booked, and several of one answer as one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.stated import Stated, read_stated
from proxy.core.usage import Usage
from tests.support.effort import examples

OPENAI = {
    "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 3, "cache_write_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 2, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
}  # fmt: skip


def read_usage(stated: Mapping[str, object], **options: bool) -> Usage | None:
    found = read_stated(stated)
    return None if found is None else found.usage(**options)


# vendor, usage object -> input, cached, cache_write, output, reasoning, audio in, audio out,
# inconsistent
SHAPES = [
    ("OpenAI", OPENAI, (100, 40, 10, 30, 20, 3, 2, False)),
    ("three plain counters", {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, (7, None, None, 5, None, None, None, False)),
    ("null details", OPENAI | {"prompt_tokens_details": None, "completion_tokens_details": None}, (100, None, None, 30, None, None, None, False)),
    ("DeepSeek", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2}, (10, 8, None, 2, None, None, None, False)),
    ("Moonshot", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cached_tokens": 6}, (10, 6, None, 2, None, None, None, False)),
    ("xAI: the total holds the reasoning", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 19, "completion_tokens_details": {"reasoning_tokens": 7}}, (10, None, None, 9, 7, None, None, False)),
    ("Gemini: thoughts not stated", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 40}, (10, None, None, 30, None, None, None, True)),
    ("LiteLLM in front of Anthropic", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 3}, (10, 6, 3, 2, None, None, None, False)),
    ("embeddings", {"prompt_tokens": 9, "total_tokens": 9}, (9, None, None, 0, None, None, None, False)),
    ("Responses' names", {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7, "input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 2}}, (4, 1, None, 3, 2, None, None, False)),
    ("zeros are zeros", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, None, None, 0, None, None, None, False)),
    ("output only", {"completion_tokens": 5}, (None, None, None, 5, None, None, None, False)),
    ("input from the total", {"completion_tokens": 5, "total_tokens": 8}, (3, None, None, 5, None, None, None, False)),
    ("a total below its part", {"prompt_tokens": 9, "total_tokens": 8}, (9, None, None, None, None, None, None, True)),
    ("more cached than input", {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10}}, (19, 10, None, 1, None, None, None, True)),
    ("more reasoning than output", {"prompt_tokens": 9, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}}, (9, None, None, 3, 2, None, None, True)),
    ("the largest number", {"prompt_tokens": 2**53, "completion_tokens": 0}, (2**53, None, None, 0, None, None, None, False)),
    ("what is no whole number is not there", {"prompt_tokens": 2.5, "completion_tokens": 3, "total_tokens": "5.5", "cached_tokens": float("nan")}, (None, None, None, 3, None, None, None, False)),
    ("whole numbers in other forms", {"prompt_tokens": 700.0, "completion_tokens": "225", "total_tokens": 9.25e2}, (700, None, None, 225, None, None, None, False)),
    ("nor true, negative or too large", {"prompt_tokens": True, "completion_tokens": 3, "total_tokens": -5, "cached_tokens": 2**53 + 1}, (None, None, None, 3, None, None, None, False)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "expected"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES]
)
def test_each_vendors_usage(stated: dict[str, object], expected: tuple[object, ...]) -> None:
    usage = read_usage(stated)
    assert usage is not None
    assert tuple(getattr(usage, name) for name in Usage.__struct_fields__[:8]) == expected


# What the numbers prove: usage object -> input, output, inconsistent
PROVED = [
    ("unseen thoughts", {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 130}, (10, 120, True)),
    ("thoughts that only the total has", {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623, "completion_tokens_details": {"reasoning_tokens": 405}}, (20, 603, False)),
    ("thoughts and no text", {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81, "completion_tokens_details": {"reasoning_tokens": 60}}, (21, 60, False)),
    ("more reasoning than output", {"prompt_tokens": 108, "completion_tokens": 3256, "total_tokens": 3364, "reasoning_tokens": 73248}, (108, 76504, True)),
    ("more cached than prompt", {"prompt_tokens": 56322, "completion_tokens": 87, "total_tokens": 56409, "prompt_tokens_details": {"cached_tokens": 72960}}, (129282, 87, True)),
    ("the same, in the total", {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 35, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 6}, (30, 5, False)),
    ("fewer cached than prompt, but the total has both", {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 125, "cached_tokens": 20}, (120, 5, False)),
    ("only what was read lies beside", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 75, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 6}, (70, 5, False)),
    ("both beside", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 79, "cached_tokens": 60, "reasoning_tokens": 7}, (70, 9, False)),
    ("what comes out needs no proof", {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130, "cached_tokens": 20, "reasoning_tokens": 7}, (100, 30, False)),
    ("a total that leaves something out", {"prompt_tokens": 700, "completion_tokens": 225, "total_tokens": 700}, (700, 225, True)),
    ("a total of zero", {"prompt_tokens": 700, "completion_tokens": 225, "total_tokens": 0}, (700, 225, False)),
    ("a zero that the total contradicts", {"prompt_tokens": 700, "completion_tokens": 0, "total_tokens": 925}, (700, 225, False)),
    ("a prompt of zero that it contradicts", {"prompt_tokens": 0, "completion_tokens": 225, "total_tokens": 925}, (700, 225, False)),
    ("only the total is no zero", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 925}, (None, None, False)),
    ("a prompt and more cached", {"prompt_tokens": 4, "total_tokens": 9, "cached_tokens": 20}, (24, 5, True)),
    ("Bedrock's names", {"inputTokens": 700, "outputTokens": 225, "totalTokens": 925}, (700, 225, False)),
    ("names of SDKs in JavaScript", {"promptTokens": 700, "completionTokens": 225}, (700, 225, False)),
    ("one-api fills in all names", {"prompt_tokens": 0, "input_tokens": 700, "completion_tokens": 225, "output_tokens": 0, "total_tokens": 925}, (700, 225, False)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "expected"), [row[1:] for row in PROVED], ids=[row[0] for row in PROVED]
)
def test_the_reading_is_the_one_that_the_numbers_prove(
    stated: dict[str, object], expected: tuple[object, ...]
) -> None:
    usage = read_usage(stated)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.inconsistent) == expected


# Names of what was read from a cache and written to it: usage object -> cached, cache_write
NAMES = [
    ("a zero filled in", {"prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 1920}, (1920, None)),
    ("the other way round", {"prompt_tokens_details": {"cached_tokens": 1920}, "prompt_cache_hit_tokens": 0}, (1920, None)),
    ("zeros are zeros", {"prompt_tokens_details": {"cached_tokens": 0}, "cache_read_input_tokens": 0}, (0, None)),
    ("DashScope", {"prompt_tokens_details": {"cached_tokens": 0, "cache_creation_input_tokens": 1889, "cache_type": "ephemeral"}}, (0, 1889)),
    ("LiteLLM", {"prompt_tokens_details": {"cached_tokens": 6, "cache_creation_tokens": 3}, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 6}, (6, 3)),
    ("new-api", {"prompt_tokens_details": {"cached_tokens": 6, "cached_creation_tokens": 3}}, (6, 3)),
    ("Mistral", {"num_cached_tokens": 64}, (64, None)),
    ("details under two names", {"prompt_tokens_details": {"cached_tokens": 0}, "input_tokens_details": {"cached_tokens": 7}}, (7, None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "expected"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES]
)
def test_the_cache_goes_by_many_names(
    stated: dict[str, object], expected: tuple[object, ...]
) -> None:
    usage = read_usage(
        {"prompt_tokens": 2000, "completion_tokens": 10, "total_tokens": 2010} | stated
    )
    assert usage is not None
    assert (
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.inconsistent,
    ) == (2000, *expected, False)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"total_tokens": 9}, (9, 0, False)),
        ({"prompt_tokens": 9}, (9, 0, False)),
        ({"prompt_tokens": 9, "total_tokens": 9}, (9, 0, False)),
        ({"prompt_tokens": 0, "total_tokens": 9}, (9, 0, False)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, 0, False)),
        ({"prompt_tokens": 9, "total_tokens": 12}, (9, 0, True)),
    ],
)
def test_embeddings_are_all_input(stated: dict[str, object], expected: tuple[object, ...]) -> None:
    usage = read_usage(stated, embeddings=True)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.inconsistent) == expected


# Objects of one answer in order -> input, cached, output, inconsistent
MERGED = [
    ("each side once", [{"prompt_tokens": 9325, "completion_tokens": 2, "total_tokens": 9327, "cached_tokens": 9000}, {"completion_tokens": 76}], (9325, 9000, 76, False)),
    ("zeros, then numbers", [{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {"prompt_tokens": 700, "completion_tokens": 225, "total_tokens": 925}], (700, None, 225, False)),
    ("numbers, then zeros", [{"prompt_tokens": 700, "completion_tokens": 225, "total_tokens": 925}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}], (700, None, 225, False)),
    ("a later zero beside a number", [{"prompt_tokens": 700, "cached_tokens": 600}, {"prompt_tokens": 0, "completion_tokens": 225, "cached_tokens": 0}], (700, 600, 225, False)),
    ("running totals", [{"prompt_tokens": 700, "completion_tokens": at, "total_tokens": 700 + at} for at in (9, 18, 27)], (700, None, 27, False)),
    ("the later is right, even if less", [{"prompt_tokens": 710, "completion_tokens": 230}, {"prompt_tokens": 700, "completion_tokens": 225}], (700, None, 225, False)),
    ("the prompt, then the total", [{"prompt_tokens": 700}, {"total_tokens": 925}], (700, None, 225, False)),
    ("reasoning apart", [{"prompt_tokens": 21, "completion_tokens": 0}, {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}], (21, None, 5, False)),
]  # fmt: skip


def merged(objects: list[dict[str, object]]) -> Stated:
    return reduce(
        Stated.merged, [found for stated in objects if (found := read_stated(stated)) is not None]
    )


@pytest.mark.parametrize(
    ("objects", "expected"), [row[1:] for row in MERGED], ids=[row[0] for row in MERGED]
)
def test_objects_of_one_answer_complete_each_other(
    objects: list[dict[str, object]], expected: tuple[object, ...]
) -> None:
    usage = merged(objects).usage()
    assert (
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.inconsistent,
    ) == expected


def test_the_tier_may_stand_in_the_usage() -> None:
    assert (
        merged(
            [
                {"prompt_tokens": 1, "service_tier": "flex"},
                {"completion_tokens": 1, "service_tier": None},
            ]
        ).service_tier
        == "flex"
    )
    assert merged([{"prompt_tokens": 1, "service_tier": "x" * 99}]).service_tier == "x" * 64
    assert merged([{"prompt_tokens": 1, "service_tier": 5}]).service_tier is None


def test_the_numbers_kept_for_audits_are_those_of_all_objects() -> None:
    first, last = (
        {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
        {"completion_tokens": 5, "prompt_tokens_details": {"audio_tokens": 1}},
    )
    assert merged([first, last]).raw == {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
    }
    assert merged([last, last]).raw == last
    long = {f"x{at}": 1 for at in range(60)}
    crowded = [
        {"prompt_tokens": 9, "a": {f"{at:060}": 2**53 for at in range(40)}},
        {"completion_tokens": 5, "b": {f"{at:060}": 2**53 for at in range(40)}, "c": long},
    ]
    assert merged(crowded).raw == crowded[1], "both together are too long for a row"


COUNTS = st.none() | st.integers(0, 6)
STATED = st.builds(Stated, *[COUNTS] * 2, st.none() | st.integers(1, 12), *[COUNTS] * 6)
FIXED = settings(max_examples=examples(200))


@FIXED
@given(STATED, STATED, STATED)
def test_merging_does_not_depend_on_the_order_of_merging_and_twice_is_once(
    one: Stated, two: Stated, three: Stated
) -> None:
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(one) == one
    assert one.merged(two).merged(two) == one.merged(two)
    assert Stated().merged(one) == one.merged(Stated()) == one


@FIXED
@given(STATED, STATED)
def test_merging_takes_each_number_from_one_of_both_and_loses_none(
    one: Stated, two: Stated
) -> None:
    both = one.merged(two)
    for name in Stated.__struct_fields__[:-2]:
        old, new, now = getattr(one, name), getattr(two, name), getattr(both, name)
        assert now in (old, new)
        if new:
            assert now == new, "the last number wins"
        elif old and name != "total_tokens":
            assert now == old, "neither a zero nor silence takes a number back"


@FIXED
@given(
    STATED.filter(
        lambda stated: (
            (stated.input_tokens, stated.output_tokens, stated.total_tokens) != (None, None, None)
        )
    ),
    st.booleans(),
)
def test_what_is_read_from_the_numbers_is_never_less_than_they_say(
    stated: Stated, inside: bool
) -> None:
    usage = stated.usage(cached_inside_input=inside)
    for side, count in (
        (usage.input_tokens, stated.input_tokens),
        (usage.output_tokens, stated.output_tokens),
    ):
        assert side is None or side >= (count or 0)
        assert side is not None or not count
    if usage.input_tokens is not None and usage.output_tokens is not None:
        both = usage.input_tokens + usage.output_tokens
        assert both >= (stated.total_tokens or 0)
        assert (
            usage.output_tokens >= (stated.reasoning_tokens or 0)
            or not stated.output_tokens
            or usage.inconsistent
        )
    elif usage.input_tokens is None and usage.output_tokens is None:
        assert usage.total_tokens == stated.total_tokens


# Cached tokens beside the prompt tokens: usage object -> input, cached, cache_write, output,
# reasoning, inconsistent
BESIDE = [
    ("nothing cached", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, None, None, 5, None, False)),
    ("no total", {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, False)),
    ("a total with them", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 105, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, False)),
    ("a total without them", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, False)),
    ("a total that is neither", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, True)),
    ("read and written", {"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}, (100, 60, 30, 5, None, False)),
    ("reasoning beside too", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "cached_tokens": 90, "reasoning_tokens": 7}, (100, 90, None, 12, 7, False)),
    ("the output from a total with them", {"prompt_tokens": 10, "total_tokens": 105, "cached_tokens": 90}, (100, 90, None, 5, None, False)),
    ("the output from a total without them", {"prompt_tokens": 10, "total_tokens": 15, "cached_tokens": 90}, (100, 90, None, 5, None, False)),
    ("more cached than prompt is no contradiction", {"prompt_tokens": 0, "completion_tokens": 5, "cached_tokens": 90}, (90, 90, None, 5, None, False)),
    ("a prompt not stated", {"completion_tokens": 5, "cached_tokens": 90}, (None, 90, None, 5, None, False)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "expected"), [row[1:] for row in BESIDE], ids=[row[0] for row in BESIDE]
)
def test_cached_tokens_beside_the_prompt_tokens_become_part_of_the_input(
    stated: dict[str, object], expected: tuple[object, ...]
) -> None:
    usage = read_usage(stated, cached_inside_input=False)
    assert usage is not None
    assert (
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.inconsistent,
    ) == expected


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"total_tokens": 0},
        {"prompt_tokens": None},
        {"prompt_tokens": "5 "},
        {"prompt_tokens": "\u0665"},
        {"cached_tokens": 5},
    ],
)
def test_an_object_without_a_count_states_nothing(stated: dict[str, object]) -> None:
    assert read_usage(stated) is None


def test_only_numbers_are_kept_for_audits_and_not_too_many() -> None:
    usage = read_usage(
        OPENAI
        | {
            "cost": 0.25,
            "note": "text",
            "flag": True,
            "list": [1],
            "huge": 2**60,
            "x" * 65: 1,
            "deep": {"a": {"b": {"c": 1}, "d": 2}},
            "inf": float("inf"),
        }
    )
    assert usage is not None
    assert usage.raw == OPENAI | {"cost": 0.25, "deep": {"a": {"d": 2}}}
    crowded = read_usage(
        OPENAI | {f"x{at}": {f"y{inner}": 1 for inner in range(50)} for at in range(50)}
    )
    assert crowded is not None
    assert (crowded.input_tokens, crowded.raw) == (100, None)
