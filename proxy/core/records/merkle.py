"""Merkle trees of RFC 6962 (2.1): roots and inclusion paths, with SHA-256.

Leaves and inner nodes are hashed apart: SHA-256(0x00 + leaf), SHA-256(0x01 + left + right). So no
inner node can be passed off as a leaf. A tree of n leaves is split at the largest power of two
below n. A tree is therefore also the tree of the roots of its chunks of CHUNK leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeAlias

CHUNK: Final = 4096  # leaves; a power of two
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

# A sibling on the way up, and whether it stands on the left.
Sibling: TypeAlias = tuple[bytes, bool]


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root of the tree over these hashes of leaves, or of chunks."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        # The last node of an odd level goes up as it is: the same as splitting at powers of two.
        paired = [node_hash(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def path_of(hashes: Sequence[bytes], index: int) -> list[Sibling]:
    """The siblings from one of these hashes up to the root, the lowest first."""
    path: list[Sibling] = []
    level = list(hashes)
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append((level[beside], beside < index))
        paired = [node_hash(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
        level, index = paired + level[len(paired) * 2 :], index // 2
    return path


def followed(start: bytes, path: Sequence[Sibling]) -> bytes:
    """The root that a path leads to."""
    for sibling, on_the_left in path:
        start = node_hash(sibling, start) if on_the_left else node_hash(start, sibling)
    return start
