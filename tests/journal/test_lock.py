"""Who holds a writer's directory; that somebody only looks keeps nobody out."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from proxy.journal.lock import (
    ADOPTION_S,
    claim_first,
    claim_named,
    claimable,
    is_adopted,
    is_locked,
    lock_to_adopt,
    stands,
    try_lock,
)


def test_a_directory_is_held_once_and_given_back(tmp_path: Path) -> None:
    directory, first = claim_first(tmp_path)
    other, second = claim_first(tmp_path)
    assert (directory.name, other.name) == ("w0", "w1")
    assert is_locked(directory)
    assert claimable(tmp_path) == []
    assert try_lock(directory) is None
    os.close(first)
    assert not is_locked(directory)
    assert claimable(tmp_path) == [directory]
    os.close(second)


def test_one_who_looks_only_delays(tmp_path: Path) -> None:
    held = try_lock(tmp_path)
    assert held is not None
    os.close(held)
    looking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    fd = try_lock(tmp_path, pause=lambda seconds_s: fcntl.flock(looking, fcntl.LOCK_UN))
    assert fd is not None
    os.close(fd)
    os.close(looking)


def test_an_owner_waits_for_one_who_only_books_what_it_left(tmp_path: Path) -> None:
    fd = lock_to_adopt(tmp_path / "a")
    assert fd is not None and is_adopted(tmp_path / "a")
    assert lock_to_adopt(tmp_path / "a") is None, "one adopter alone"
    waited: list[float] = []

    def pause(seconds_s: float) -> None:
        waited.append(seconds_s)
        if len(waited) == 3:
            os.close(fd)

    directory, mine = claim_named(tmp_path, "a", pause)
    assert len(waited) == 3 and directory == tmp_path / "a"
    assert not is_adopted(directory), "now it is its own"
    with pytest.raises(OSError, match="another process runs as 'a'"):
        claim_named(tmp_path, "a", pause)
    assert len(waited) == 3, "nobody waits for a living one"
    os.close(mine)


def test_an_owner_does_not_wait_for_ever(tmp_path: Path) -> None:
    fd = lock_to_adopt(tmp_path / "a")
    waited: list[float] = []
    with pytest.raises(OSError, match="another process runs as 'a'"):
        claim_named(tmp_path, "a", waited.append)
    assert ADOPTION_S <= sum(waited) < ADOPTION_S + 1
    assert fd is not None
    os.close(fd)


def test_a_directory_without_a_lock_was_never_a_writers(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").touch()
    assert claimable(tmp_path) == []
    assert not is_locked(tmp_path / "notes")


def test_a_file_stands_until_it_is_removed_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    assert stands(path, fd)
    aside = path.rename(tmp_path / "aside")
    assert not stands(path, fd)
    path.touch()
    assert not stands(path, fd)
    aside.replace(path)
    assert stands(path, fd)
    os.close(fd)
    assert not stands(path, fd), "what is closed holds nothing"
