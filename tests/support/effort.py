"""How much a test tries: a part in the suite, all of it in the campaign."""

from __future__ import annotations

import os

FULL = os.environ.get("EXAMPLES") == "all"  # `make campaign` says so
_SHARE = 3
_FEWEST = 12  # no property is tried less often than that


def examples(full: int) -> int:
    """So many of the `full` number of examples of a property."""
    return full if FULL else max(full // _SHARE, min(full, _FEWEST))
