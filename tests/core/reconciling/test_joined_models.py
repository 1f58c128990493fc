"""Names of models that are one, and names that are not."""

from __future__ import annotations

import pytest

from proxy.core.reconciling.joined_models import JoinedModels, bare_name

EDITIONS = {"gpt-4o-2024-05-13", "gpt-4o-2024-08-06"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Claude Haiku 4.5", "claude-haiku-4-5-20251001"), ("openai/gpt-4o-2024-08-06", "gpt-4o"), ("models/gemini-3-flash-preview", "Gemini 3 Flash"),
        ("deepseek/deepseek-v3.2:free", "deepseek-v3.2"), ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5-latest"),
    ],
)  # fmt: skip
def test_two_ways_to_write_a_model_are_one(one: str, other: str) -> None:
    assert bare_name(one) == bare_name(other)
    found = JoinedModels({one}, {other})
    assert found.ours[one] == found.theirs[other] and found.told == {other: one}


def test_other_models_stay_others() -> None:
    assert bare_name("gpt-4o") != bare_name("gpt-4o-mini")
    assert bare_name("claude-sonnet-4-5") != bare_name("claude-sonnet-4")
    found = JoinedModels({"gpt-4o", ""}, {"gpt-4o-mini", ""})
    assert found.ours == {"gpt-4o": "gpt-4o", "": ""} and not found.told
    assert found.theirs == {"gpt-4o-mini": "gpt-4o-mini", "": ""}


def test_editions_that_one_side_does_not_tell_apart_are_one_sum() -> None:
    found = JoinedModels(EDITIONS, {"gpt-4o"})
    assert set(found.ours.values()) == set(found.theirs.values()) == {"gpt-4o-2024-05-13"}
    assert found.told == {"gpt-4o": "gpt-4o-2024-05-13, gpt-4o-2024-08-06"}
    back = JoinedModels({"gpt-4o"}, EDITIONS)
    assert set(back.ours.values()) == set(back.theirs.values()) == {"gpt-4o"}


def test_an_edition_that_both_sides_name_stays_apart() -> None:
    found = JoinedModels(EDITIONS, {"gpt-4o", "gpt-4o-2024-05-13"})
    assert found.theirs == {
        "gpt-4o-2024-05-13": "gpt-4o-2024-05-13",
        "gpt-4o": "gpt-4o-2024-08-06",
    }
    assert found.ours == {name: name for name in EDITIONS}


def test_where_only_codes_stand_for_models_all_are_one() -> None:
    found = JoinedModels({"gpt-4o", "o3"}, {"2FBPYU6FP6"}, codes=True)
    assert found.unknown and set(found.ours.values()) == {""} == set(found.theirs.values())
    assert not JoinedModels({"gpt-4o"}, {"2FBPYU6FP6"}).unknown
    assert not JoinedModels({"gpt-4o"}, {"gpt-4o", "2FBPYU6FP6"}, codes=True).unknown
    assert not JoinedModels(set(), {"2FBPYU6FP6"}, codes=True).unknown
