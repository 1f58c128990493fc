"""What is known of vendors and currencies. The kinds of advice are in `test_config_mistakes`; here,
that none is false."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.config.vendors import _IN_USD, _PATHS, in_the_clear, path_advice, rate_advice


def test_what_is_suggested_has_nothing_more_to_be_told() -> None:
    for host, paths in _PATHS.items():
        for path in paths:
            assert path_advice(f"https://{host}{path}") is None


def test_a_usual_rate_is_not_odd_and_its_inverse_is_where_that_can_be_told() -> None:
    for foreign, worth in _IN_USD.items():
        if foreign == "USD":
            continue
        assert rate_advice(foreign, "USD", worth) is None
        if not Decimal("0.5") < Decimal(worth) < 2:
            assert "upside down" in (rate_advice(foreign, "USD", f"{1 / Decimal(worth):.6f}") or "")
    assert rate_advice("XAU", "USD", "3000") is rate_advice("CNY", "USD", "0") is None


@pytest.mark.parametrize(("url", "clear"), [
    ("http://api.x.io/v1", True), ("http://8.8.8.8/v1", True), ("https://api.x.io/v1", False), ("http://192.168.1.2/v1", False), ("http://[::1]/v1", False), ("http://vllm/v1", False),
    ("http://a.b.svc.cluster.local/v1", False),
])  # fmt: skip
def test_only_public_addresses_are_in_the_clear(url: str, clear: bool) -> None:
    assert in_the_clear(url) is clear
