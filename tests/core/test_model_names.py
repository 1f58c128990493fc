"""Routes: the first glob that matches decides, and a miss names what was near."""

from __future__ import annotations

import itertools

import pytest

from proxy.core.model_names import (
    match,
    matches,
    matches_caseless,
    model_not_found,
    model_of_path,
    overlaps,
    substituted,
)

GLOBS = [*itertools.product("ab*?", repeat=1), *itertools.product("ab*?", repeat=3)]
ROUTES = [
    ("deepseek-*", "modelmax"),
    ("gpt-4o", "exact"),
    ("gpt-?", "single"),
    ("*/llama-*", "slash"),
    ("qwen*", "sky-ze"),
    ("qwen3-max", "never"),
]


@pytest.mark.parametrize(
    ("model", "upstream"),
    [
        ("deepseek-v3.2", "modelmax"),
        ("deepseek-", "modelmax"),
        ("Deepseek-v3.2", None),
        ("my-deepseek-v3", None),
        ("gpt-4o", "exact"),
        ("gpt-5", "single"),
        ("gpt-4o-mini", None),
        ("meta/llama-3", "slash"),
        ("qwen3-max", "sky-ze"),
        ("", None),
    ],
)
def test_the_first_route_that_matches_decides(model: str, upstream: str | None) -> None:
    assert match(model, ROUTES) == upstream


def test_limits_and_prices_ignore_letter_case_and_routes_do_not() -> None:
    for model in (
        *("gpt-4o", "GPT-4o", "\uff47pt-4o", "gpt\u20104o", "gpt\u20114o", "gpt\u22124o"),
        *("models/gpt-4o", "Models/GPT\uff0d4o"),
    ):
        assert matches_caseless("gpt-*", model) and matches_caseless("GPT-4O", model)
        assert matches("gpt-*", model) is (model == "gpt-4o")
    assert not matches_caseless("gpt-*", "claude")
    assert matches_caseless("models/gpt-*", "gpt-4o")
    assert matches_caseless("models/*", "models/gpt-4o")
    assert not matches_caseless("gpt-*", "tunedModels/gpt-4o")
    assert overlaps("models/gpt-*", "gpt-4o*") and overlaps("gpt-?o", "models/gpt-4*")


def test_a_miss_names_the_nearest_models() -> None:
    error = model_not_found("GPT-40", ["gpt-4o", "deepseek-v3.2", "qwen3-max"])
    assert (error.status, error.type, error.code, error.param) == (
        404,
        "invalid_request_error",
        "model_not_found",
        "model",
    )
    assert "gpt-4o" in error.message
    assert "deepseek" not in error.message
    assert "GET /v1/models" in model_not_found("zzz", ["gpt-4o"]).message


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("gpt-4o", "gpt-4o"),
        ("meta-llama%2FLlama-3", "meta-llama/Llama-3"),
        ("meta-llama/Llama-3", "meta-llama/Llama-3"),
        ("@cf/meta/llama%2d3", "@cf/meta/llama-3"),
        ("ft:gpt-4o:org::a1", "ft:gpt-4o:org::a1"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("a+b~c_d", "a+b~c_d"),
        *[
            (name, None)
            for name in "../files ..%2ffiles m%2f..%2f..%2ffiles m%5c..%5cfiles %2e%2e %2E m%252f..%252ffiles m%2f%2ffiles %2ffiles m/ m//x . ./x".split()
        ],
        # Tomcat's parameters, one encoding too many, overlong UTF-8, IIS' %u, line ends, NUL, what
        # ends a path, non-ASCII.
        *[(name, None) for name in "..;%2ffiles m;x=1 m%25252e %c0%ae%c0%ae m%u002e %0d%0ax m%00 m%3fx=1 m%23x m%20x %e6%99%ba m%25 m% m*".split()],
        ("", None),
    ],
)  # fmt: skip
def test_a_models_path_holds_a_name_and_nothing_that_climbs(path: str, model: str | None) -> None:
    assert model_of_path(f"/v1/models/{path}") == model


def test_other_paths_are_no_models() -> None:
    assert (
        model_of_path("/v1/models") is None
        and model_of_path("/v1/model/x") is None
        and model_of_path("/x/v1/models/y") is None
    )


def test_two_globs_overlap_where_a_name_matches_both() -> None:
    names = [
        "".join(letters)
        for length in range(5)
        for letters in itertools.product("ab", repeat=length)
    ]
    globs = ["".join(signs) for signs in GLOBS]
    found = {glob: {name for name in names if matches(glob, name)} for glob in globs}
    for one, other in itertools.product(globs, repeat=2):
        assert overlaps(one, other) is bool(found[one] & found[other]), (one, other)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("GPT-*", "gpt-4o", True),
        ("gpt-[45]*", "gpt-4o", True),
        ("gpt-*", "*-mini", True),
        ("gpt-*", "claude-*", False),
    ],
)
def test_case_does_not_keep_globs_apart(one: str, other: str, both: bool) -> None:
    assert overlaps(one, other) is both


@pytest.mark.parametrize(
    ("requested", "served", "expected"),
    [
        ("gpt-4o", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", False),
        ("claude-opus-4@20250514", "claude-opus-4", False),
        ("gemini-2.5-pro", "gemini-2.5-pro-preview-05-06", False),
        ("gpt-4", "gpt-4-0613", False),
        ("deepseek/deepseek-chat", "deepseek-chat", False),
        ("anthropic.claude-v2:1", "anthropic.claude-v2", False),
        ("GPT-4o", "gpt-4o", False),
        ("gpt-4o", "gpt-4o-mini", True),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", True),
        ("deepseek-v3.2", "deepseek-chat", True),
        ("claude-3-5-sonnet", "claude-3-7-sonnet", True),
        ("gpt-4", "gpt-3.5-turbo", True),
        ("qwen3-32b", "qwen3-8b", True),
    ],
)
def test_another_model(requested, served, expected):
    assert substituted(requested, served) == substituted(served, requested) == expected
