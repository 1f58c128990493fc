"""Outside of fault tests a named place does nothing."""

from __future__ import annotations

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.server.failpoints import NAMES


def test_no_fault_passes_every_named_place() -> None:
    fail: FaultPoint = no_fault
    for name in NAMES:
        fail(name)
