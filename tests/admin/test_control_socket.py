"""The control socket's file: private, taken over from the dead and never from the living."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.admin.control_socket import (
    PATH_BYTES_MAX,
    ControlSocket,
    NoControlSocket,
    user_of,
)


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "control.sock"


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_only_its_owner_may_open_it_whatever_the_umask(
    path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    chmod = Path.chmod

    def watched(self: Path, mode: int) -> None:
        modes.append(
            stat.S_IMODE(self.stat().st_mode)
        )  # before it is mended: there is no moment at which others may connect
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", watched)
    with umask(mask):
        control = ControlSocket(path)
    assert (stat.S_IMODE(path.stat().st_mode), modes) == (0o600, [0o600])
    assert connects(path)
    control.socket.close()


def test_what_a_dead_process_left_is_taken_over(path: Path) -> None:
    ControlSocket(path).socket.close()
    assert path.exists() and not connects(path)
    control = ControlSocket(path)
    assert connects(path)
    control.socket.close()


def test_a_living_process_keeps_its_own(path: Path) -> None:
    control = ControlSocket(path)
    with pytest.raises(NoControlSocket, match="another process answers"):
        ControlSocket(path)
    assert connects(path)
    control.socket.close()


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("somebody's")
    with pytest.raises(NoControlSocket, match="is no socket"):
        ControlSocket(path)
    assert path.read_text() == "somebody's"


@pytest.mark.parametrize(("length", "fits"), [(PATH_BYTES_MAX, True), (PATH_BYTES_MAX + 1, False)])
def test_a_path_too_long_for_a_socket_is_named(path: Path, length: int, fits: bool) -> None:
    directory = path.parent / ("d" * (length - len(os.fsencode(path)) - 1))
    directory.mkdir()
    if fits:
        ControlSocket(directory / path.name).socket.close()
        return
    with pytest.raises(
        NoControlSocket, match=rf"{length} bytes.*{PATH_BYTES_MAX}.*shorter data_dir"
    ):
        ControlSocket(directory / path.name)


def test_a_directory_that_takes_no_socket_is_a_reason(path: Path) -> None:
    with pytest.raises(NoControlSocket, match="cannot be made: No such file"):
        ControlSocket(path.parent / "nowhere" / "control.sock")


def test_the_file_goes_at_the_end_and_another_ones_stays(path: Path) -> None:
    control = ControlSocket(path)
    control.remove()
    assert not path.exists()
    control.remove()  # already gone
    control.socket.close()
    first = ControlSocket(path)
    path.unlink()
    second = ControlSocket(path)
    first.remove()
    assert connects(path)
    for each in (first, second):
        each.socket.close()


async def test_who_asks_is_the_user_that_the_system_knows(path: Path) -> None:
    ended = asyncio.Event()

    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    made = ControlSocket(path)
    server = await asyncio.start_unix_server(until_the_end, sock=made.socket)
    _, writer = await asyncio.open_unix_connection(str(made.path))
    assert user_of(writer.transport) == getpass.getuser()
    assert user_of(None) == "socket"
    writer.close()
    await writer.wait_closed()
    await ended.wait()
    server.close()
    await server.wait_closed()
