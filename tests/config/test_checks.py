"""What only the whole config can say. The problems are in the table of `test_config`; here are the
warnings."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from proxy.config.checks import digests_only, problems, warnings
from proxy.config.settings import (
    AdminSettings,
    AdminToken,
    Defaults,
    KeySettings,
    LimitDefaults,
    LimitSettings,
    Passthrough,
    Route,
    Settings,
    UpstreamSettings,
)

NOW_MS = 1_800_000_000_000
SECRET = "q7Zt3Kx9vB2mW5cR8nYd"
UPSTREAM = UpstreamSettings(base_url="http://h/v1", api_key="k")
USABLE = Settings(
    upstreams={"v": UPSTREAM},
    routes=(Route(model="*", upstream="v"),),
    keys={"a": KeySettings(secret=SECRET)},
)
LIMITS = (LimitSettings(limit="8 concurrent"),)


def with_upstream(**changes: object) -> dict[str, dict[str, UpstreamSettings]]:
    return {"upstreams": {"v": msgspec.structs.replace(UPSTREAM, **changes)}}


CASES: list[tuple[dict[str, object], list[str]]] = [
    ({}, []),
    (
        with_upstream(api_key=""),
        ["upstreams.v.api_key is empty: requests to it answer 503 upstream_not_configured"],
    ),
    (with_upstream(api_key="", headers={"Api-Key": "k"}), []),
    (with_upstream(api_key="", auth="forward"), []),
    ({"upstreams": {"v": UPSTREAM, "unused": UpstreamSettings(base_url="http://h/v1")}}, []),
    (
        {"keys": {"a": KeySettings(secret=SECRET), "b": KeySettings()}},
        ["keys.b has no secret: the key is disabled"],
    ),
    ({"keys": {"b": KeySettings(secret_sha256="0" * 64)}}, []),
    (
        {"keys": {}},
        [
            "keys: none has a secret: every request answers 401, but for keys that are made with `tollkeeper key create`"
        ],
    ),
    ({"keys": {}, **with_upstream(api_key="", auth="forward")}, []),
    (
        {"routes": (Route(model="gpt-*", upstream="v"), Route(model="gpt-4*", upstream="v"))},
        ["routes[1] (gpt-4*) is never reached: gpt-* before it matches the same models"],
    ),
    ({"routes": (Route(model="gpt-4*", upstream="v"), Route(model="gpt-*", upstream="v"))}, []),
    (
        {
            "limits": LIMITS,
            "defaults": Defaults(team=LimitDefaults(limits=LIMITS)),
            **with_upstream(limits=LIMITS),
        },
        [],
    ),
    (with_upstream(cached_inside_input=False), []),
    ({"admin": AdminSettings(tokens={"ops": AdminToken(token=SECRET)})}, []),
    ({"passthrough": (Passthrough(path="/v1/files", upstream="v"),)}, []),
]


@pytest.mark.parametrize(
    ("changes", "expected"), CASES, ids=[str(index) for index in range(len(CASES))]
)
def test_warnings(changes: dict[str, object], expected: list[str]) -> None:
    settings = msgspec.structs.replace(USABLE, **changes)
    assert warnings(settings, NOW_MS) == expected
    assert problems(settings, {}) == []


def test_a_list_of_addresses_holds_each_once_and_one_at_least() -> None:
    twice = msgspec.structs.replace(USABLE, listen=("127.0.0.1:80", "[::1]:80", "127.0.0.1:80"))
    assert [str(problem) for problem in problems(twice, {})] == [
        "listen[2]: the address 127.0.0.1:80 is also listen[0]; give each its own port"
    ]
    assert [
        problem.path for problem in problems(msgspec.structs.replace(USABLE, listen=()), {})
    ] == ["listen"]
    own = msgspec.structs.replace(
        USABLE,
        listen=("127.0.0.1:1", "0.0.0.0:8000"),
        upstreams={"v": msgspec.structs.replace(UPSTREAM, base_url="http://localhost:8000/v1")},
    )
    assert [problem.path for problem in problems(own, {})] == ["upstreams.v.base_url"]


def test_listeners_may_share_a_port_that_the_system_chooses() -> None:
    settings = msgspec.structs.replace(
        USABLE,
        listen="127.0.0.1:0",
        metrics=msgspec.structs.replace(USABLE.metrics, listen="127.0.0.1:0"),
    )
    assert problems(settings, {}) == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"routes[0].upstream": "f:3", "routes": "f:1"}, "f:3"),
        ({"routes[0]": "f:2", "routes": "f:1"}, "f:2"),
        ({"routes": "f:1"}, "f:1"),
        ({"": "f"}, "f"),
        ({}, ""),
    ],
)
def test_a_problem_stands_at_the_closest_place_known(where: dict[str, str], expected: str) -> None:
    settings = msgspec.structs.replace(USABLE, routes=(Route(model="*", upstream="w"),))
    (problem,) = problems(settings, where)
    assert problem.where == expected


def test_only_digests_of_secrets_are_kept() -> None:
    kept = digests_only(USABLE)
    assert kept.keys["a"].secret == ""
    assert kept.keys["a"].secret_sha256 == hashlib.sha256(SECRET.encode()).hexdigest()
    assert digests_only(kept) == kept
