"""A proxy of the environment is not used, and that is said where it would matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.environment import unused_proxies
from proxy.config.loader import forward_only, load
from proxy.config.settings import Settings, UpstreamSettings


@pytest.mark.parametrize(
    ("base_url", "environ", "named"),
    [
        ("https://api.v.io/v1", {"HTTPS_PROXY": "http://p:3128"}, "HTTPS_PROXY"),
        ("https://api.v.io/v1", {"https_proxy": "http://p:3128"}, "https_proxy"),
        ("https://api.v.io/v1", {"ALL_PROXY": "socks5://p"}, "ALL_PROXY"),
        (
            "http://api.v.io/v1",
            {"http_proxy": "http://p:3128", "HTTPS_PROXY": "http://q"},
            "http_proxy",
        ),
        ("http://api.v.io/v1", {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https://api.v.io/v1", {"HTTPS_PROXY": ""}, None),
        ("https://api.v.io/v1", {"HTTPS_PROXY": "http://p", "NO_PROXY": "localhost, .v.io"}, None),
        ("https://api.v.io/v1", {"HTTPS_PROXY": "http://p", "no_proxy": "*"}, None),
        ("https://api.v.io/v1", {"HTTPS_PROXY": "http://p", "no_proxy": "i.v.io"}, "HTTPS_PROXY"),
        ("https://localhost:8443/v1", {"HTTPS_PROXY": "http://p"}, None),
        ("http://127.0.0.1:11434/v1", {"HTTP_PROXY": "http://p"}, None),
        ("https://api.v.io/v1", {}, None),
    ],
)
def test_a_proxy_that_is_not_used_is_named_with_what_to_set(
    base_url: str, environ: dict[str, str], named: str | None
) -> None:
    told = list(
        unused_proxies(Settings(upstreams={"v": UpstreamSettings(base_url=base_url)}), environ)
    )
    if named is None:
        assert told == []
    else:
        [sentence] = told
        assert (
            sentence.startswith(f"{named} is set")
            and f'upstreams.v.proxy: "${{{named}}}"' in sentence
        )


def test_an_upstream_with_a_proxy_of_its_own_has_nothing_to_be_told() -> None:
    assert (
        list(
            unused_proxies(
                Settings(
                    upstreams={"v": UpstreamSettings(base_url="https://h.io", proxy="http://p:1")}
                ),
                {"HTTPS_PROXY": "http://p:1"},
            )
        )
        == []
    )


def test_it_is_told_without_a_config_too_and_no_password_of_it() -> None:
    [told] = forward_only(
        "https://api.v.io/v1", {"HTTPS_PROXY": "http://user:CANARY@p:3128"}
    ).warnings
    assert "HTTPS_PROXY" in told and "CANARY" not in told


def test_it_is_told_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "upstreams: {v: {base_url: 'https://api.v.io/v1', api_key: k}}\nroutes: [{model: '*', upstream: v}]\n"
    )
    assert [
        text for text in load(path, {"HTTPS_PROXY": "http://p:1"}).warnings if "HTTPS_PROXY" in text
    ]
    assert not [text for text in load(path, {}).warnings if "PROXY" in text]
