"""What `init` writes. That a wheel brings the same is `test_package`'s."""

from __future__ import annotations

from pathlib import Path

from proxy.cli.shipped import files

ROOT = Path(__file__).parents[2]


def test_a_checkout_has_the_files_where_they_are() -> None:
    found = files()
    assert found["config.yaml"] == (ROOT / "config.yaml").read_bytes()
    assert found["config.schema.json"] == (ROOT / "docs" / "config.schema.json").read_bytes()
    assert {
        "dashboards/prometheus/tollkeeper.rules.yml",
        "dashboards/prometheus/prometheus.yml",
        "dashboards/grafana/tollkeeper-spend.json",
    } <= set(found)
