"""The format of a name, and what is said where its library is missing."""

from __future__ import annotations

import sys
from datetime import UTC

import pytest

from proxy.accounting.export.named import PARQUET, FormatMissing, format_named
from proxy.accounting.export.records import FORMATS


@pytest.mark.parametrize("name", [*FORMATS, PARQUET])
def test_each_name_has_its_format(name: str) -> None:
    lines = format_named(name, UTC, [])
    lines.begin()
    assert lines.lines([]) == b""
    assert bool(lines.end()) is (name == PARQUET)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "proxy.accounting.export.parquet", raising=False)
    with pytest.raises(FormatMissing, match=r"pyarrow: pip install 'tollkeeper\[parquet\]'"):
        format_named(PARQUET, UTC, [])
