"""What `check` says of strict limits on money."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.strict_limits import strict_limits
from proxy.config.loader import load

CONFIG = """
upstreams:
  mock: {{base_url: http://127.0.0.1:1/v1, api_key: k, {upstream}}}
routes: [{{model: "*", upstream: mock}}]
prices: [{prices}]
limits: [{limits}]
"""
CHEAP, DEAR = '{model: cheap, input: "1", output: "1"}', '{model: dear, input: "9", output: "9"}'
STRICT = "{limit: 5 USD/day, enforce: strict}"
SERVED = "served_price: served"


@pytest.mark.parametrize(
    ("upstream", "prices", "limits", "told"),
    [
        (SERVED, f"{CHEAP}, {DEAR}", STRICT, True),
        ("price_source: openai", "", STRICT, True),
        ("served_price: requested", f"{CHEAP}, {DEAR}", STRICT, False),
        (SERVED, CHEAP, STRICT, False),
        (SERVED, f"{CHEAP}, {DEAR}", "5 USD/day", False),
        (SERVED, f"{CHEAP}, {DEAR}", "{limit: 5 tokens/day, enforce: strict}", False),
    ],
)
def test_the_first_surprise_is_told_where_there_can_be_one(
    tmp_path: Path, upstream: str, prices: str, limits: str, told: bool
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(upstream=upstream, prices=prices, limits=limits))
    notes = strict_limits(load(path, {}).settings)
    assert len(notes) == told
    if told:
        assert "proxy/USD/day" in notes[0]
        assert "served_price: requested (upstreams.mock)" in notes[0]
