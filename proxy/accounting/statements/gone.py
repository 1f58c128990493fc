"""What no statement can count any more, as its records left the ledger before it was closed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import msgspec

from proxy.core.calendar import Per, window
from proxy.ledger.archives import Archive


class Gone(msgspec.Struct, frozen=True):
    """The records up to the seq `through`, and all months that began before `until_ms`.

    `until_ms` is the start of a month, in Unix ms; None: nothing is gone.
    """

    through: int = 0
    until_ms: int | None = None


def gone(archives: Sequence[Archive], zone: tzinfo) -> Gone:
    """What the archived months took along. A month of the zone is gone where a record of it is."""
    if not archives:
        return Gone()
    last_ms = max(archive.last_start_ms for archive in archives)
    until_ms = window(Per.MONTH, last_ms, zone).end_ms
    return Gone(max(archive.last_seq for archive in archives), until_ms)
