"""Merkle trees as RFC 6962 defines them: by its recursion, and by another's library."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from proxy.core.records.merkle import EMPTY_ROOT, followed, leaf_hash, node_hash, path_of, root_of


def by_recursion(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = by_recursion(leaves[:k]), by_recursion(leaves[k:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", [*range(1, 18), 31, 32, 33, 100])
def test_roots_and_paths_are_those_of_the_rfc(size: int) -> None:
    leaves = [b"%d" % n for n in range(size)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    root = root_of(hashes)
    assert root == by_recursion(leaves)
    for index in range(size):
        assert followed(hashes[index], path_of(hashes, index)) == root


def test_an_empty_tree_has_a_root() -> None:
    assert root_of([]) == EMPTY_ROOT == by_recursion([])


@given(size=st.integers(1, 300), data=st.data())
def test_a_tree_is_the_tree_of_its_chunks(size: int, data: st.DataObject) -> None:
    chunk = data.draw(st.sampled_from([1, 2, 8, 64]))
    index = data.draw(st.integers(0, size - 1))
    hashes = [leaf_hash(b"%d" % n) for n in range(size)]
    parts = [hashes[n : n + chunk] for n in range(0, size, chunk)]
    roots = [root_of(part) for part in parts]
    assert root_of(roots) == root_of(hashes)
    path = [*path_of(parts[index // chunk], index % chunk), *path_of(roots, index // chunk)]
    assert path == path_of(hashes, index)


def test_another_library_makes_the_same_tree() -> None:
    tree = InmemoryTree(algorithm="sha256")
    hashes = []
    for n in range(37):
        tree.append_entry(b"%d" % n)
        hashes.append(leaf_hash(b"%d" % n))
        assert tree.get_root() == root_of(hashes)


def test_a_node_is_no_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)
