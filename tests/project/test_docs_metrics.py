"""docs/metrics.md lists what proxy/metrics/definitions.py declares, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.metrics.definitions import PREFIX, SPECS
from proxy.metrics.watched import WATCHED, WATCHED_HISTOGRAMS

DOC = Path(__file__).parent.parent.parent / "docs" / "metrics.md"


def rows(cells: int) -> list[tuple[str, ...]]:
    """The table rows of the document that begin with a metric and have so many cells."""
    found = [
        tuple(cell.strip() for cell in line.strip("|\n").split("|"))
        for line in DOC.read_text().splitlines()
        if line.startswith(f"| `{PREFIX}")
    ]
    return [row for row in found if len(row) == cells]


def test_the_tables_equal_the_declarations():
    declared = [
        (
            f"`{PREFIX}{spec.name}`",
            spec.kind,
            ", ".join(f"`{label}`" for label in spec.labels) or "–",
            spec.unit,
            spec.meaning,
        )
        for spec in SPECS
    ]
    assert rows(5) == declared, (
        "docs/metrics.md and proxy/metrics/definitions.py differ: give the row the words of the declaration, in its order"
    )


def test_the_opentelemetry_table_names_existing_metrics():
    names = {f"`{PREFIX}{spec.name}`" for spec in SPECS}
    mapped = rows(3)
    assert mapped
    assert [
        row
        for row in mapped
        if row[0] not in names or not re.fullmatch(r"`(gen_ai|http)\.[a-z_.]+`", row[1])
    ] == []


def test_declarations_are_in_prometheus_style():
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names)
    for spec in SPECS:
        assert spec.name.endswith("_total") == (spec.kind == "counter"), (
            f"{spec.name}: counters, and only they, end in _total"
        )
        assert spec.kind != "histogram" or spec.name.endswith("_seconds"), (
            f"{spec.name}: histograms are durations in seconds"
        )
        assert spec.meaning.endswith("."), f"{spec.name}: the meaning is a sentence"
    assert set(names) >= WATCHED | WATCHED_HISTOGRAMS
