"""Which row applies, and which rows contradict each other."""

from __future__ import annotations

import fnmatch
import itertools
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pricing.pricelist import PriceList, PriceRow, clash, is_literal
from tests.support.effort import examples

DAY_MS = 86_400_000


def row(model: str, **changes: object) -> PriceRow:
    return PriceRow(**{"model": model, "currency": "USD", "input": "1", "output": "2", **changes})


def chosen(
    rows: list[PriceRow],
    *,
    requested: str | None = "gpt-4o",
    served: str | None = None,
    upstream: str = "up",
    tier: str | None = None,
    tokens: int = 100,
    at_ms: int = 10 * DAY_MS,
):
    return next(
        (
            found
            for found in PriceList(rows).candidates(upstream, requested, served, tier)
            if found.applies(tokens, at_ms)
        ),
        None,
    )


# Each line: the rows, the one that applies first; what is asked for.
CASES: list[tuple[list[PriceRow], dict[str, object]]] = [
    # Specificity: upstream named, model written out, longest literal part, tier, context, hours,
    # date.
    ([row("*", upstream="up"), row("gpt-4o")], {}),
    ([row("gpt-4o"), row("gpt-4*")], {}),
    ([row("gpt-4*"), row("gpt-*"), row("*")], {}),
    # one run of five signs before five of one
    ([row("*gpt-4"), row("g*p*t*4*")], {"requested": "gpt-4"}),
    ([row("gpt-4o*"), row("gpt-4?")], {}),
    ([row("gpt-4o", service_tier="flex"), row("gpt-4o")], {"tier": "flex"}),
    ([row("gpt-4o"), row("gpt-4o", service_tier="flex")], {"tier": "default"}),
    ([row("gpt-4o", service_tier="Priority"), row("gpt-4o")], {"tier": "PRIORITY"}),
    ([row("gpt-4o"), row("gpt-4*", service_tier="flex")], {"tier": "flex"}),
    ([row("gpt-4o", above_input_tokens=200), row("gpt-4o", above_input_tokens=100), row("gpt-4o")], {"tokens": 201}),
    ([row("gpt-4o", above_input_tokens=100), row("gpt-4o", above_input_tokens=200), row("gpt-4o")], {"tokens": 200}),
    ([row("gpt-4o"), row("gpt-4o", above_input_tokens=100)], {"tokens": 100}),
    ([row("gpt-4o", above_input_tokens=0), row("gpt-4o")], {"tokens": 1}),
    ([row("gpt-4o"), row("gpt-4o", above_input_tokens=0)], {"tokens": 0}),
    ([row("gpt-4o", service_tier="flex"), row("gpt-4o", above_input_tokens=10)], {"tier": "flex"}),
    ([row("gpt-4o", from_ms=10 * DAY_MS), row("gpt-4o", from_ms=9 * DAY_MS), row("gpt-4o")], {}),
    ([row("gpt-4o", from_ms=9 * DAY_MS), row("gpt-4o", from_ms=10 * DAY_MS)], {"at_ms": 10 * DAY_MS - 1}),
    ([row("gpt-4o", above_input_tokens=10), row("gpt-4o", from_ms=9 * DAY_MS)], {}),
    ([row("gpt-4o", hours_utc=(0, 60)), row("gpt-4o", from_ms=DAY_MS)], {}),
    ([row("gpt-4o"), row("gpt-4o", hours_utc=(1, 60))], {}),
    ([row("gpt-4o", hours_utc=(1380, 1)), row("gpt-4o")], {}),
    ([row("gpt-4o", hours_utc=(1380, 1)), row("gpt-4o")], {"at_ms": 10 * DAY_MS - 1}),
    ([row("gpt-4o"), row("gpt-4o", hours_utc=(1380, 1))], {"at_ms": 10 * DAY_MS + 60_000}),
    ([row("gpt-4o"), row("gpt-4o", upstream="other")], {}),
    # With `models/` before the name, which some vendors take for nothing.
    ([row("gpt-4o"), row("*")], {"requested": "models/GPT-4o"}),
    ([row("gpt-4o"), row("models/gpt-4o", upstream="other")], {"requested": "models/gpt-4o"}),
    ([row("models/gpt-4o"), row("gpt-4o")], {"requested": "models/gpt-4o"}),
    ([row("models/gpt-4o"), row("gpt-4o", service_tier="flex")], {"requested": "models/gpt-4o", "tier": "flex"}),
    ([row("gpt-4o"), row("models/gpt-4o", rank=1)], {"requested": "models/gpt-4o"}),
    ([row("gpt-4o")], {"served": "models/gpt-4o", "requested": None}),
    # What was served and what was asked for.
    ([row("gpt-4o-2024"), row("gpt-4o")], {"served": "gpt-4o-2024"}),
    # the lengths of names written out say nothing
    ([row("mini"), row("gpt-4o")], {"served": "mini"}),
    ([row("mini"), row("gpt-4o", service_tier="flex")], {"served": "mini", "tier": "flex"}),
    ([row("mini"), row("gpt-4o", from_ms=DAY_MS)], {"served": "mini"}),
    ([row("mini", upstream="up"), row("gpt-4o", upstream="up", service_tier="flex")], {"served": "mini", "tier": "flex"}),
    # a reseller's own row before one for anybody's
    ([row("gpt-4o", upstream="up"), row("mini")], {"served": "mini"}),
    ([row("gpt-4o"), row("mini*"), row("*")], {"served": "mini"}),
    ([row("mini*"), row("*")], {"served": "mini"}),
    ([row("gpt-4*"), row("min*")], {"served": "mini"}),
    ([row("mi*"), row("gp*")], {"served": "mini"}),                     # alike: what was served
    ([row("mini", from_ms=DAY_MS)], {"served": "mini", "requested": None}),
    ([row("gpt-4o"), row("mini", from_ms=11 * DAY_MS)], {"served": "mini"}),    # not valid yet
    ([row("*4o*"), row("*gp*")], {}),                                   # alike: the alphabet
    # In any letter case: a dear model is not made a cheap one, or one without a price, by a
    # capital.
    ([row("gpt-4o")], {"requested": "GPT-4o"}),
    ([row("gpt-4*"), row("*")], {"requested": "GPT-4o"}),
    ([row("GPT-4O"), row("gpt-*")], {"requested": "gpt-4o"}),
    # its first letter is a wide one
    ([row("gpt-4o"), row("*")], {"requested": "\uff47pt-4o"}),
    # two models: letter by letter first
    ([row("Llama"), row("llama")], {"requested": "Llama"}),
    ([row("llama"), row("Llama")], {"requested": "llama"}),
    ([row("Llama*"), row("llama*")], {"requested": "Llama-3"}),
    ([row("llama*"), row("Llama*")], {"requested": "llama-3"}),
    # Bundled rows come behind the operator's, whatever they say.
    ([row("*"), row("gpt-4o", rank=1, source="table 1", upstream="up")], {}),
    ([row("gpt-4o", rank=1), row("gpt-4o", rank=2)], {}),
    ([row("gpt-4o", rank=1)], {"requested": "GPT-4o"}),
    ([row("gpt-4*", rank=1)], {"requested": "GPT-4o"}),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "asked"), CASES)
def test_the_most_specific_row_then_the_latest(rows, asked):
    for order in itertools.permutations(rows):
        assert chosen(list(order), **asked) == rows[0]


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ([], {}),
        ([row("gpt-4o", upstream="other")], {}),
        ([row("gpt-4o", service_tier="flex")], {}),
        ([row("gpt-4o", from_ms=11 * DAY_MS)], {}),
        ([row("*")], {"requested": None}),
    ],
)
def test_no_row_applies(rows, asked):
    assert chosen(rows, **asked) is None


@settings(max_examples=examples(400))
@given(st.text("ab[]!*?-", max_size=7), st.text("ab[]!-", max_size=5))
def test_a_glob_means_what_routes_mean_by_it(glob, name):
    assert (chosen([row(glob)], requested=name) is not None) == (
        name == glob if is_literal(glob) else fnmatch.fnmatchcase(name, glob)
    )


def test_names_that_clients_make_up_are_not_tried_against_every_glob():
    """A bundled table has hundreds, and a glob takes microseconds."""
    prices, tried = PriceList([*(row(f"*vendor-{n}*") for n in range(300)), row("gpt-*")]), []

    def watch(frame, event, _arg):
        if event == "call" and frame.f_code is fnmatch.fnmatchcase.__code__:
            tried.append(frame)

    sys.setprofile(watch)
    try:
        found = prices.candidates("up", "gpt-made-up", "vendor-made-up", None)
    finally:
        sys.setprofile(None)
    assert ([each.model for each in found], len(tried)) == (["gpt-*"], 2), (
        "without case and with it"
    )


def test_tiers_and_names_written_out():
    prices = PriceList(
        [
            row("gpt-4o", service_tier="flex"),
            row("gpt-*", service_tier="batch", upstream="up"),
            row("a", upstream="other"),
            row("b"),
            row("c", rank=1),
        ]
    )
    assert [each.service_tier for each in prices.rows_for("up", "gpt-4o", None)] == [
        "batch",
        "flex",
    ]
    assert [each.service_tier for each in prices.rows_for("other", "b", "gpt-4o")] == ["flex", None]
    assert prices.literals("up") == ["b", "gpt-4o"]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (row("a"), row("a"), True),
        (row("a"), row("a", input="9"), True),
        (row("a"), row("b"), False),
        (row("a", upstream="x"), row("a"), False),
        (row("a", upstream="x"), row("a", upstream="y"), False),
        (row("a", service_tier="x"), row("a", service_tier="y"), False),
        (row("a", service_tier="x"), row("a", service_tier="X"), True),
        (row("a", above_input_tokens=1), row("a", above_input_tokens=2), False),
        (row("a", from_ms=1), row("a", from_ms=2), False),
        (row("a", hours_utc=(0, 60)), row("a"), False),
        (row("a", hours_utc=(0, 60)), row("a", hours_utc=(60, 120)), False),
        (row("a", hours_utc=(0, 61)), row("a", hours_utc=(60, 120)), True),
        (row("a", hours_utc=(1380, 10)), row("a", hours_utc=(5, 20)), True),
        (row("*a*"), row("*b*"), False),  # alike for a name with both: then the alphabet decides
        (row("*a*"), row("*a*"), True),
        (row("a", rank=1), row("a"), False),
    ],
)
def test_rows_that_nothing_tells_apart(one, other, alike):
    assert clash(one, other) == clash(other, one) == alike


@pytest.mark.parametrize(
    ("glob", "literal"),
    [("gpt-4o", True), ("gpt-*", False), ("gpt-4?", False), ("gpt-[45]", False), ("", True)],
)
def test_what_names_one_model_only(glob, literal):
    assert is_literal(glob) == literal
