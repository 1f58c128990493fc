"""Routes with `as`: which are in effect, and which cannot be."""

from __future__ import annotations

import msgspec
import pytest

from proxy.config.aliases import aliases_of, sent_names
from proxy.config.checks import problems, warnings
from proxy.config.settings import (
    KeySettings,
    LimitSettings,
    Price,
    Route,
    Settings,
    TeamSettings,
    UpstreamSettings,
)

NOW_MS = 1_790_000_000_000
VENDOR = UpstreamSettings(base_url="https://h.example.com/v1", api_key="sk-vendor-1234567890")


def a_config(*routes: Route, **changes: object) -> Settings:
    settings = Settings(
        upstreams={
            "v": VENDOR,
            "w": msgspec.structs.replace(VENDOR, base_url="https://w.example.com/v1"),
        },
        routes=(*routes, Route(model="*", upstream="v")),
        keys={"alice": KeySettings(secret="sk-tk-" + "x" * 30)},
    )
    return msgspec.structs.replace(settings, **changes)


def test_those_in_effect_stand_under_the_name_that_callers_use() -> None:
    settings = a_config(
        Route(model="fast", upstream="v", as_="qwen3-max"),
        Route(model="fast", upstream="w", as_="never-reached"),
        Route(model="deep-*", upstream="w"),
        Route(model="deep-1", upstream="w", as_="never-reached"),
        Route(model="best", upstream="w", as_="fast"),
    )
    assert {name: alias.sent for name, alias in aliases_of(settings).items()} == {
        "fast": "qwen3-max",
        "best": "fast",
    }
    assert sent_names(settings) == {"v": {"fast": "qwen3-max"}, "w": {"best": "fast"}}
    assert sent_names(a_config()) == {}


@pytest.mark.parametrize(
    "model, sent, told",
    [
        ("fast", "qwen3-max", None),
        ("fast", "vendor/qwen3-max:free@2026", None),
        ("fast", "claude-opus[1m]", None),
        ("gpt-*", "qwen3-max", "stands beside a wildcard (gpt-*)"),
        ("gpt-?", "qwen3-max", "write one row for each name"),
        ("fast", "qwen*", "no wildcard"),
        ("fast", "a,b", "no comma"),
        ("fast", "x" * 257, "at most 256 characters"),
        ("fast", "fast", "remove it"),
    ],
)  # fmt: skip
def test_an_alias_is_one_name_for_one_other(model: str, sent: str, told: str | None) -> None:
    found = problems(a_config(Route(model=model, upstream="v", as_=sent)), {})
    assert [problem.path for problem in found] == ([] if told is None else ["routes[0].as"])
    assert told is None or told in found[0].text


def test_keys_name_what_callers_say_and_prices_what_the_upstream_is_sent() -> None:
    def warned(**changes: object) -> list[str]:
        settings = a_config(teams={"r": TeamSettings()}, **changes)
        settings = msgspec.structs.replace(
            settings, routes=(Route(model="fast", upstream="v", as_="qwen3-max"),)
        )
        return [
            text
            for text in warnings(settings, NOW_MS)
            if "leads to" in text or "has no price" in text
        ]

    def key(*models: str, limit: str = "1 requests/day") -> dict[str, KeySettings]:
        return {
            "alice": KeySettings(
                team="r",
                secret="sk-tk-" + "x" * 30,
                models=models,
                limits=(LimitSettings(limit=limit),),
            )
        }

    assert warned(keys=key("fast"), prices=(Price(model="qwen3-*", input="1", output="1"),)) == []
    assert [text[:27] for text in warned(keys=key("qwen3-max"))] == ["keys.alice.models: no route"]
    for names in ("fast", "qwen3-*"):
        assert warned(keys=key(limit=f"1 USD/day for {names}")) == []
    assert len(warned(keys=key(limit="1 USD/day for gpt"))) == 1
    told = warned(prices=(Price(model="fast", input="1", output="1"),))
    assert "holds only if a vendor answers under that name" in told[1]
    assert told[0].startswith("routes[0] (fast) has no price at upstreams.v")
