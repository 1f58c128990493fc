"""Every generated file of dashboards/, as text."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tools.dashboards import grafana, ledger, limits, rules, spend, traffic

TARGET = Path(__file__).parents[2] / "dashboards"
RUNBOOK = "docs/runbook.md"
DASHBOARDS = (traffic.DASHBOARD, spend.DASHBOARD, limits.DASHBOARD, ledger.DASHBOARD)
HEAD = "# Made by `make dashboards` from tools/dashboards; do not edit.\n"


def files(runbook: str = RUNBOOK) -> dict[str, str]:
    """Path below dashboards/ -> text."""
    made = {
        f"grafana/{dashboard.uid}.json": json.dumps(
            grafana.document(dashboard, runbook), indent=1, ensure_ascii=False
        )
        + "\n"
        for dashboard in DASHBOARDS
    }
    text = yaml.safe_dump(rules.document(runbook), sort_keys=False, allow_unicode=True, width=180)
    return {**made, "prometheus/tollkeeper.rules.yml": HEAD + text}
