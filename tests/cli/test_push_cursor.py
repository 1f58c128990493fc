"""How far a receiver is: kept whole, by one command at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.common import Failed
from proxy.cli.push_cursor import Sent, cursor_path, held


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = cursor_path(tmp_path, "https://user:geheim@there/x")
    assert "geheim" not in path.name and path != cursor_path(tmp_path, "https://there/x")
    with held(path) as cursor:
        assert cursor.read() is None
        cursor.write(Sent(1, "a"))
        cursor.write(Sent(2, "b"))
        assert cursor.read() == Sent(2, "b")
    with held(path) as cursor:
        assert cursor.read() == Sent(2, "b")
    assert {one.suffix for one in tmp_path.iterdir()} == {".json", ".lock"}


def test_two_commands_do_not_push_at_once(tmp_path: Path) -> None:
    with (
        held(tmp_path / "a.json"),
        pytest.raises(Failed, match="Another command"),
        held(tmp_path / "a.json"),
    ):
        raise AssertionError
    with held(tmp_path / "a.json"), held(tmp_path / "b.json"):
        pass


@pytest.mark.parametrize("text", [b"", b"{}", b'{"seq": "1", "id": "a"}', b"\xff"])
def test_a_damaged_cursor_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with held(tmp_path / "a.json") as cursor, pytest.raises(Failed, match="--after"):
        cursor.read()


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cannot be kept"), held(tmp_path / "none" / "a.json"):
        raise AssertionError


def test_a_cursor_that_cannot_be_kept_says_what_the_receiver_has(tmp_path: Path) -> None:
    (tmp_path / "a.json.part").mkdir()
    with held(tmp_path / "a.json") as cursor, pytest.raises(Failed, match="up to seq 7, and"):
        cursor.write(Sent(7, "g"))
