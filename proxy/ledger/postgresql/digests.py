"""The digests that rows with long names are found by."""

from __future__ import annotations

import hashlib

import msgspec


def digest(*names: str | None) -> bytes:
    """A digest of these names in their order; None is no name, and not an empty one."""
    return hashlib.sha256(msgspec.json.encode(names)).digest()
