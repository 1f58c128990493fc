"""docs/wires.md names each path that is metered or free, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.core.dialects.registry import BY_ENDPOINT, kept_at

PAGE = Path(__file__).parent.parent.parent / "docs" / "wires.md"


def test_each_path_stands_in_the_table() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| `(POST|GET)", line)]
    paths = {path for line in rows for path in re.findall(r"/v1/[^` |]*", line.split("|")[1])}
    assert set(BY_ENDPOINT) <= paths
    for path in paths - set(BY_ENDPOINT):
        found = kept_at(path.replace("{id}", "resp_1"))
        assert found is not None, f"{path} is not served"
        methods = re.findall(
            r"[A-Z]{3,}", next(line for line in rows if f"{path}`" in line).split("|")[1]
        )
        assert tuple(methods) == found[1].methods
