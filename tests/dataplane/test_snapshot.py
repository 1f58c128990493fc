"""One config, compiled: routes, and who may use an upstream."""

from __future__ import annotations

import msgspec
import pytest

from proxy.config.settings import ImageTokens, Route, Settings, UpstreamSettings
from proxy.core.errors import ProxyError
from proxy.core.tokens.images import Patches, Tiles, image_rule
from proxy.dataplane.snapshot import ROUTES_REMEMBERED_MAX, Snapshot
from proxy.tenants.ring import Tenant

SETTINGS = Settings(
    upstreams={
        "a": UpstreamSettings(base_url="https://a/v1", api_key="k"),
        "b": UpstreamSettings(base_url="https://b/v1"),
        "f": UpstreamSettings(base_url="https://f/v1", auth="forward"),
    },
    routes=(
        Route(model="deepseek-v3.2", upstream="a"),
        Route(model="gpt-*", upstream="b"),
        Route(model="own-*", upstream="f"),
    ),
)
CALLER = Tenant(key_id="alice")


def named(snapshot: Snapshot, model: str) -> str | None:
    upstream = snapshot.upstream_for(model)
    return None if upstream is None else upstream.name


def test_the_first_route_that_matches_wins_and_is_remembered_within_a_bound() -> None:
    snapshot = Snapshot(SETTINGS)
    assert [
        named(snapshot, model) for model in ("deepseek-v3.2", "gpt-4o", "claude", "deepseek-v3.2")
    ] == ["a", "b", None, "a"]
    for number in range(ROUTES_REMEMBERED_MAX + 10):
        snapshot.upstream_for(f"gpt-{number}")
    assert len(snapshot._routed) == ROUTES_REMEMBERED_MAX


def test_the_operator_s_rules_for_images_come_first() -> None:
    rows = (
        ImageTokens(models="gpt-4o", base=1, tile=2),
        ImageTokens(models="own-*", patch="1.5", patches_max=100),
    )
    rules = Snapshot(msgspec.structs.replace(SETTINGS, images=rows)).image_rules
    assert image_rule("gpt-4o", rules) == Tiles(models="gpt-4o", base_tokens=1, tile_tokens=2)
    assert image_rule("own-1", rules) == Patches(
        models="own-*", patch_millitokens=1500, patches_max=100
    )
    assert image_rule("gpt-4o-mini", rules) == image_rule("gpt-4o-mini")


def test_an_unknown_model_hears_the_nearest_names() -> None:
    error = Snapshot(SETTINGS).no_route("deepseek-v3.1")
    assert (error.status, error.code, error.param) == (
        404,
        "model_not_found",
        "model",
    ) and "deepseek-v3.2" in error.message


def test_a_route_for_all_models_is_named_in_words() -> None:
    messages = UpstreamSettings(base_url="https://m/v1", api_key="k", apis=("messages",))
    routes = (*SETTINGS.routes, Route(model="c-*", upstream="m"), Route(model="*", upstream="m"))
    upstreams = {**SETTINGS.upstreams, "m": messages}
    snapshot = Snapshot(msgspec.structs.replace(SETTINGS, routes=routes, upstreams=upstreams))
    with pytest.raises(ProxyError) as refused:
        snapshot.check_served(snapshot.upstreams["a"], "/v1/messages")
    assert "to one which does: c-*, all that no route above names." in refused.value.message


def test_which_upstream_a_caller_may_use() -> None:
    snapshot = Snapshot(SETTINGS)
    stranger = Tenant(key_id="fwd-0123456789abcdef", forwarded=True)
    assert snapshot.why_unusable(CALLER, snapshot.upstreams["a"]) is None
    assert (
        error := snapshot.why_unusable(CALLER, snapshot.upstreams["b"])
    ) is not None and error.code == "upstream_not_configured"
    assert (
        error := snapshot.why_unusable(stranger, snapshot.upstreams["a"])
    ) is not None and error.code == "invalid_api_key"
    assert snapshot.why_unusable(stranger, snapshot.upstreams["f"]) is None
    assert snapshot.forwards


def test_a_key_of_ours_is_never_told_to_a_vendor() -> None:
    snapshot = Snapshot(SETTINGS)
    error = snapshot.why_unusable(Tenant(key_id="alice", ours=True), snapshot.upstreams["f"])
    assert error is not None and (error.status, error.code) == (401, "invalid_api_key")
    assert snapshot.why_unusable(Tenant(key_id="alice", ours=True), snapshot.upstreams["a"]) is None
