"""What keeps the suite short: a part of what the campaign tries, and what a process can do
without."""

from __future__ import annotations

import os

FULL = os.environ.get("EXAMPLES") == "all"  # `make campaign` says so
# aiohttp reads the certificate of every authority at its import, 80 ms; no process of the tests
# meets a vendor, and what they meet has a certificate of its own.
NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull}
_SHARE = 3
_FEWEST = 12  # no property is tried less often than that


def examples(full: int) -> int:
    """So many of the `full` number of examples of a property."""
    return full if FULL else max(full // _SHARE, min(full, _FEWEST))
