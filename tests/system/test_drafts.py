"""A draft is one command's alone, and what a killed one left is begun anew."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.system.drafts import draft_of, write_whole

HELD = """
import sys
from pathlib import Path
from proxy.system.drafts import draft_of
with draft_of(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_draft_gets_the_name_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with draft_of(tmp_path / "a", 0o600) as draft:
        assert draft.stat().st_mode & 0o777 == 0o600
        draft.write_text("whole")
        draft.replace(tmp_path / "a")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "whole"


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(KeyboardInterrupt), draft_of(tmp_path / "a") as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "before"


def test_a_file_that_has_no_room_is_not_there(tmp_path: Path) -> None:
    small = """
import resource, sys
from pathlib import Path
from proxy.system.drafts import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_whole(Path(sys.argv[1]), bytes(101))
except OSError as error:
    print(error.strerror)
"""
    (tmp_path / "a").write_text("before")
    told = subprocess.check_output([sys.executable, "-c", small, tmp_path / "a"], text=True)
    assert told == "File too large\n"
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "before"


def test_a_second_command_is_refused_and_a_killed_one_leaves_the_way_free(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with subprocess.Popen(
        [sys.executable, "-c", HELD, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match="another command writes it now") as told:
            write_whole(target, b"mine")
        assert told.value.errno == errno.EBUSY
        assert (tmp_path / "a.part").read_text() == "half"
        other.kill()
    assert names(tmp_path) == ["a.part", "a.part.lock"]
    write_whole(target, b"mine")
    assert names(tmp_path) == ["a"] and target.read_bytes() == b"mine"


def test_a_file_system_without_locks_takes_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    write_whole(tmp_path / "a", b"whole")
    assert names(tmp_path) == ["a"]


def test_of_many_at_once_each_is_whole_or_refused(tmp_path: Path) -> None:
    """With the lock's file made and taken away all the time."""
    many = """
import sys
from pathlib import Path
from proxy.system.drafts import write_whole
mine = sys.argv[2].encode() * 100_000
done = 0
while done < 30:
    try:
        write_whole(Path(sys.argv[1]), mine)
        done += 1
    except OSError as error:
        assert error.errno == 16, error
    found = Path(sys.argv[1]).read_bytes() if Path(sys.argv[1]).exists() else b""
    assert len(found) in (0, 100_000) and len(set(found)) < 2, "half a file"
"""
    running = [
        subprocess.Popen([sys.executable, "-c", many, tmp_path / "a", sign]) for sign in "xyz"
    ]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert names(tmp_path) == ["a"]
