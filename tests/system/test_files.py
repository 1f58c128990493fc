"""A directory's names are made durable, by the system call that does it."""

import os

import pytest

from proxy.system.files import sync_directory


def test_the_directory_itself_is_synced_and_closed(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def seen(descriptor):
        synced.append((descriptor, os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    sync_directory(tmp_path)
    [(descriptor, inode)] = synced
    assert inode == tmp_path.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_is_no_directory_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")
