"""Which Host headers cannot come from a web page that points a public name here."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.hostnames import bare, is_ours, is_private
from tests.support.effort import examples


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Proxy.Example:9464", "proxy.example"),
        ("proxy.example.:80", "proxy.example."),
        ("127.0.0.1:9464", "127.0.0.1"),
        ("[::1]:9464", "::1"),
        ("[::1]", "::1"),
        (":9464", ":9464"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_a_host_without_its_port(host: str, name: str) -> None:
    assert bare(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9464", "[::1]:9464", "10.4.0.17", "localhost:9464", "LOCALHOST", "tollkeeper:9464", "tollkeeper.monitoring.svc:9464", "tollkeeper.monitoring.svc.cluster.local.",
        "mac.local", "proxy.home.arpa", "vm.europe.internal", "Metrics.Example.COM:443",
    ],
)  # fmt: skip
def test_what_a_scraper_calls_it(host: str) -> None:
    assert is_ours(host, ["metrics.example.com"])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "metrics.example.com.evil.example", "evil.metrics.example.com", "7f000001.rbndr.us:9464", "127.0.0.1.nip.io",
        "evillocal.com", "a.notlocal", "1.2.3.4.5", "", ".", "evil.example:x", "evil.example:", "[evil.example]", "user@evil.example",
    ],
)  # fmt: skip
def test_what_a_web_page_calls_it(host: str) -> None:
    assert not is_ours(host, ["metrics.example.com"])


def test_a_star_is_any_name() -> None:
    assert is_ours("evil.example", ["*"])
    assert not is_ours("", ["*"])


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(st.text(st.sampled_from("a1.:[]-_@ \\%"), max_size=10))
def test_no_text_is_too_strange_to_be_judged(host: str) -> None:
    assert is_ours(host, []) in (True, False)
    assert not is_ours(f"{host}.example", [])


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True), ("127.0.0.1", True), ("::1", True), ("10.1.2.3", True), ("192.168.0.9", True),
        ("fd00::1", True), ("alerts", True), ("alerts.monitoring.svc.", True), ("NAS.Local", True),
        ("8.8.8.8", False), ("2606:4700::1", False), ("hooks.slack.com", False), ("local.example.com", False),
        ("10.1.2.3.example.com", False), ("0x7f.1", False),
    ],
)  # fmt: skip
def test_what_stays_inside_a_network(host: str, private: bool) -> None:
    assert is_private(host) is private
