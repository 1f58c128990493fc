"""The price table that ships with the package, for upstreams that name it (`price_source`).

`tools/prices.py` makes it: `proxy/data/prices.json.gz`.
"""

from __future__ import annotations

import gzip
import zlib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from proxy.config.price_tables import Table, TableError

FILE = resources.files("proxy") / "data" / "prices.json.gz"
BYTES_MAX = 64 * 2**20  # unpacked; ten times today's


def load(file: Traversable | Path = FILE) -> Table:
    """The table. Raises TableError if it is not there or damaged: reinstall the package."""
    try:
        with file.open("rb") as packed, gzip.open(packed) as unpacked:
            data = unpacked.read(BYTES_MAX)
        return msgspec.json.decode(data, type=Table)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TableError(
            f"the bundled price table {file} cannot be read: {error}; reinstall the package"
        ) from error


def store(table: Table, path: Path) -> None:
    """Writes it, the same bytes for the same table."""
    path.write_bytes(gzip.compress(msgspec.json.encode(table, order="deterministic"), 9, mtime=0))
