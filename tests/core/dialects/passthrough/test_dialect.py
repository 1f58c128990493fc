"""The dialect of paths that are passed through."""

from __future__ import annotations

from proxy.core.dialects.passthrough.dialect import NAME, passthrough
from proxy.core.dialects.registry import DIALECTS


def test_it_stands_at_no_path_of_its_own() -> None:
    for metered in (True, False):
        dialect = passthrough(metered=metered, makes=not metered)
        assert (dialect.name, dialect.endpoints) == (NAME, ())
        assert dialect.names_what_it_made is not metered
        meter = dialect.open_meter(stream=False, content_type="application/json")
        assert meter.usage_final is not metered
    assert NAME not in {dialect.name for dialect in DIALECTS}
