"""Mistakes in `passthrough`, each with what to write instead."""

from __future__ import annotations

import pytest

from proxy.config.checks import problems, warnings
from proxy.config.settings import (
    KeySettings,
    Passthrough,
    Price,
    Route,
    Settings,
    TeamSettings,
    UpstreamSettings,
)

NOW_MS = 1_790_000_000_000


def a_config(**entry: object) -> Settings:
    return Settings(
        upstreams={"v": UpstreamSettings(base_url="http://h/v1", api_key="sk-vendor-1234567890")},
        routes=(Route(model="*", upstream="v"),),
        prices=(
            Price(model="/v1/audio/speech", input="0", output="0", request="0.01"),
            Price(model="/v1/rerank", input="1", output="0"),
        ),
        teams={"research": TeamSettings()},
        keys={"alice": KeySettings(team="research", secret="sk-tk-" + "x" * 30)},
        passthrough=(Passthrough(**{"upstream": "v", **entry}),),
    )


CASES = [
    ({"path": "/v1/files*", "methods": ("GET", "POST"), "charge": "free"}, None),
    ({"path": "/v1/files", "teams": ("research",), "keys": ("alice",)}, None),
    ({"path": "/v1/audio/speech", "methods": ("POST",), "charge": "per_request"}, None),
    ({"path": "/v1/audio/voices", "charge": "free"}, None),
    ({"path": "/v1/images*", "methods": ("POST",), "charge": "metered"}, None),
    ({"path": "/v1/files/..*"}, ("path", "expected whole segments")),
    ({"path": "/v1//files"}, ("path", "expected whole segments")),
    ({"path": "/v1/*"}, ("path", "covers /v1/chat/completions")),
    ({"path": "/v1/chat*"}, ("path", "covers /v1/chat/completions")),
    ({"path": "/v1/models/*"}, ("path", "covers /v1/models, which")),
    ({"path": "/v1/usage*"}, ("path", "covers /v1/usage")),
    (
        {"path": "/v1/images*", "methods": ("GET", "POST"), "charge": "free"},
        ("charge", "is free on a path that generates"),
    ),
    (
        {"path": "/v2/rerank", "methods": ("POST",), "charge": "free"},
        ("charge", "is free on a path that generates"),
    ),
    (
        {"path": "/v1/images/edits", "methods": ("POST",), "charge": "per_request"},
        ("charge", "is per_request, and no price says"),
    ),
    (
        {"path": "/v1/rerank", "methods": ("POST",), "charge": "per_request"},
        ("charge", "is per_request, and no price says"),
    ),
    (
        {"path": "/v1/files", "teams": ("reserch",)},
        ("teams[0]", "the nearest known one is research"),
    ),
    ({"path": "/v1/files", "keys": ("bob",)}, ("keys[0]", "there is no key 'bob'")),
    ({"path": "/v1/files", "upstream": "w"}, ("upstream", "there is no upstream 'w'")),
]


@pytest.mark.parametrize(("entry", "expected"), CASES)
def test_a_mistake(entry: dict[str, object], expected: tuple[str, str] | None) -> None:
    found = problems(a_config(**entry), {})
    if expected is None:
        assert found == []
        return
    (problem,) = found
    assert problem.path == f"passthrough[0].{expected[0]}"
    assert expected[1] in problem.text


@pytest.mark.parametrize(
    ("path", "methods", "told"),
    [
        ("/v1/batches*", ("GET", "POST"), True),
        ("/v1/batches*", ("GET", "DELETE"), False),
        ("/v1/fine_tuning/jobs*", ("POST",), True),
        ("/v1/files*", ("POST",), False),
    ],
)
def test_what_is_billed_later_is_told(path: str, methods: tuple[str, ...], told: bool) -> None:
    settings = a_config(path=path, methods=methods, charge="free")
    assert problems(settings, {}) == []
    later = [text for text in warnings(settings, NOW_MS) if "bills this later" in text]
    assert bool(later) is told
