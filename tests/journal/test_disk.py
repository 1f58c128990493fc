"""The system's disk calls, and a journal on a file system that really refuses: a file size limit,
which needs no privilege."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.journal import recover
from proxy.journal.disk import SystemDisk
from tests.journal.builders import all_closes

LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from tests.journal.builders import SMALL, marked, opened, record, running, until
from proxy.journal import JournalUnavailable

async def main(root, offset):
    async with running(root) as journal:
        await until(lambda: journal.bytes_on_disk == 2 * SMALL.segment_bytes_used)
        journal.open(opened("before"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal._appender.segment.position + offset, hard))  # in the midst of a frame, of any segment
        try:
            journal.open(opened("refused", end_user="u" * 5000))
        except JournalUnavailable as error:
            print("refused:", error)
        journal.close(record("before"))
        print("position", journal.position, "ready", journal.ready)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await until(lambda: journal.ready)
        journal.open(opened("after"))
        print("position", journal.position, "ready", journal.ready)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def _refuses(number: int) -> object:
    def fallocate(fd: int, offset: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    return fallocate


@pytest.mark.parametrize("fallocate", [os.posix_fallocate, None, _refuses(errno.EOPNOTSUPP)])
@pytest.mark.parametrize("size", [1, 65536, 3 * 2**20 + 5])
def test_allocated_space_is_there(tmp_path: Path, fallocate: object, size: int) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        SystemDisk(fallocate).allocate(fd, size)  # type: ignore[arg-type]
        state = os.fstat(fd)
        assert state.st_size == size
        assert state.st_blocks * 512 >= size, "no hole"
        assert (tmp_path / "file").read_bytes() == bytes(size)
    finally:
        os.close(fd)


def test_a_full_disk_is_not_papered_over(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="No space left"):
            SystemDisk(_refuses(errno.ENOSPC)).allocate(fd, 100)  # type: ignore[arg-type]
    finally:
        os.close(fd)


@pytest.mark.parametrize("offset", [1, 30, 700])
def test_a_real_short_write_is_undone_and_its_entry_refused(tmp_path: Path, offset: int) -> None:
    """RLIMIT_FSIZE cuts a write at a byte and then refuses all beyond; nothing of the cut entry may
    be found, all others must."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(offset)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("refused:"), lines
    found = recover(tmp_path / "w0")
    assert [exchange.id for exchange, _ in found.unresolved] == ["after"]
    assert found.skipped_bytes == 0
    assert [closed.id for _, closed in all_closes(tmp_path / "w0", 10**9)] == ["before"]
