"""What differs between two configs is named by its path, and no secret is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from proxy.config.differences import CHANGED, REORDERED, Difference, differences, fingerprint
from proxy.config.loader import load
from tests.support.running import config

LEDGER_KEY = b"k" * 32
CANARY = "c4n4ry-3Qm9ZtW8rLx2PbNc7HsD"


def seen(tmp_path: Path, **blocks: object) -> dict[str, object]:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1", **blocks)))
    return fingerprint(load(path, {}).settings, LEDGER_KEY)


def found(before: dict[str, object], after: dict[str, object]) -> list[Difference]:
    # What is compared comes from a file of the last process.
    return list(differences(msgspec.json.decode(msgspec.json.encode(before)), after))


UPSTREAM = {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-upstream"}
ROUTES = [{"model": "a", "upstream": "mock"}, {"model": "*", "upstream": "mock"}]
TABLE: list[tuple[dict[str, Any], dict[str, Any], list[Difference]]] = [
    ({}, {}, []),
    ({}, {"support": "x"}, [Difference("support", "", "x")]),
    (
        {},
        {"timeouts": {"idle": "5s", "connect": "10m", "pool": "10m", "upstream_keepalive": "10m"}},
        [Difference("timeouts.idle", "10m", "5s")],
    ),
    (
        {},
        {"teams": {"research": {"labels": {"cost_center": "4712"}}}},
        [Difference("teams.research.labels.cost_center", "4711", "4712")],
    ),
    (
        {"limits": ["5 requests/day"]},
        {},
        [Difference("limits", [{"limit": "5 requests/day", "enforce": "finish"}], None)],
    ),
    ({"routes": ROUTES}, {"routes": ROUTES[::-1]}, [Difference("routes", None, REORDERED)]),
    (
        {},
        {"keys": {"alice": {"team": "research", "secret": CANARY}}},
        [Difference("keys.alice.secret_sha256", "***", CHANGED)],
    ),
    (
        {},
        {"keys": {"alice": {"team": "research"}}},
        [Difference("keys.alice.secret_sha256", "***", "")],
    ),
    (
        {},
        {"upstreams": {"mock": {**UPSTREAM, "api_key": CANARY}}},
        [Difference("upstreams.mock.api_key", "***", CHANGED)],
    ),
    (
        {"upstreams": {"mock": {**UPSTREAM, "headers": {"X-Api-Key": "one"}}}},
        {"upstreams": {"mock": {**UPSTREAM, "headers": {"X-Api-Key": CANARY}}}},
        [Difference("upstreams.mock.headers.X-Api-Key", "***", CHANGED)],
    ),
    (
        {"upstreams": {"mock": {**UPSTREAM, "proxy": "http://u:one@p:1"}}},
        {"upstreams": {"mock": {**UPSTREAM, "proxy": f"http://u:{CANARY}@p:1"}}},
        [Difference("upstreams.mock.proxy", "http://***@p:1", CHANGED)],
    ),
    (
        {},
        {"admin": {"tokens": {"ops": {"token": CANARY, "role": "admin"}}}},
        [Difference("admin.tokens.ops", None, {"token": "***", "role": "admin"})],
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), TABLE)
def test_each_setting_that_differs_is_named_with_what_it_was_and_is(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], expected: list[Difference]
) -> None:
    was, now = seen(tmp_path, **before), seen(tmp_path, **after)
    assert found(was, now) == expected
    assert CANARY not in repr((was, now)) and "sk-upstream" not in repr((was, now))


def test_a_key_that_goes_stands_there_whole_without_its_secret(tmp_path: Path) -> None:
    both = {
        "alice": {"team": "research", "secret": CANARY},
        "bob": {"secret": f"{CANARY}x", "models": ["gpt-*"]},
    }
    was, now = seen(tmp_path, keys=both), seen(tmp_path, keys={"alice": both["alice"]})
    told = {"role": "member", "secret_sha256": "***", "models": ["gpt-*"]}
    assert found(was, now) == [Difference("keys.bob", told, None)]


def test_a_very_long_value_is_told_by_its_length(tmp_path: Path) -> None:
    limits = [f"5 requests/day for model-{number}" for number in range(1, 200)]
    [one] = found(seen(tmp_path), seen(tmp_path, limits=limits))
    assert one.before is None and str(one.after).endswith(" characters")


def test_the_codes_of_secrets_hang_on_the_ledgers_key(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1")))
    settings = load(path, {}).settings
    assert fingerprint(settings, b"a" * 32) != fingerprint(settings, b"b" * 32)


def test_of_a_webhooks_url_its_host_alone_is_told(tmp_path: Path) -> None:
    before, after = (
        seen(
            tmp_path,
            notify=[{"url": f"https://hooks.slack.com/{CANARY}{number}", "format": "slack"}],
            teams={"research": {"notify": [{"url": f"https://h.example.com/{CANARY}{number}"}]}},
        )
        for number in range(2)
    )
    told = found(before, after)
    assert [one.path for one in told] == ["notify", "teams.research.notify"]
    assert CANARY not in repr((before, after, told))
    assert "https://hooks.slack.com/***" in repr(told[0].before)
    assert [one.after for one in told] == [CHANGED, CHANGED]
