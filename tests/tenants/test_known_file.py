"""The file of keys and teams: what is read from it, what is refused, and who may replace it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from proxy.core.managed import KeySecret, Managed, State, TenantKind
from proxy.tenants.known_file import FILE, KnownFile, SnapshotRefused

KEY = b"k" * 32
LEDGER = "db.internal/tollkeeper"
AT_MS = 1_800_000_000_000
ROWS = (
    Managed(kind=TenantKind.KEY, name="bob", secrets=(KeySecret("ab" * 32, AT_MS),)),
    Managed(kind=TenantKind.KEY, name="eve", state=State.REVOKED, says=msgspec.Raw(b'{"a":"\\n"}')),
)


def made(directory: Path, version: int = 7) -> KnownFile:
    file = KnownFile(directory, KEY, LEDGER)
    file.write(version, ROWS, AT_MS, anew=False)
    return file


def test_what_was_written_is_read_and_only_its_owner_may(tmp_path: Path) -> None:
    os.umask(0)
    made(tmp_path)
    known = KnownFile(tmp_path, KEY, LEDGER).read()
    assert (known.version, known.heard_at_ms, known.rows) == (7, AT_MS, ROWS)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_word_that_it_is_still_so_makes_it_younger(tmp_path: Path) -> None:
    file = made(tmp_path)
    assert file.heard(7, AT_MS + 5000)
    assert KnownFile(tmp_path, KEY, LEDGER).read().heard_at_ms == AT_MS + 5000
    assert not file.heard(8, AT_MS + 9000), "of another version nothing is said"
    assert KnownFile(tmp_path, KEY, LEDGER).read().heard_at_ms == AT_MS + 5000


def test_a_torn_word_leaves_the_time_at_which_it_was_written(tmp_path: Path) -> None:
    made(tmp_path).heard(7, AT_MS + 5000)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data.replace(b"1800000005000 ", b"1800000009000 ", 1))
    assert KnownFile(tmp_path, KEY, LEDGER).read().heard_at_ms == AT_MS


def test_the_word_of_another_file_does_not_fit(tmp_path: Path) -> None:
    """Else an old file with a new word would look young, as after a restored backup."""
    file = made(tmp_path)
    old = (tmp_path / FILE).read_bytes()
    file.write(8, ROWS[:1], AT_MS + 60_000, anew=False)
    new = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(new[:64] + old[64:])
    assert KnownFile(tmp_path, KEY, LEDGER).read().heard_at_ms == AT_MS


def test_a_newer_one_of_another_process_stays(tmp_path: Path) -> None:
    one, two = made(tmp_path, 7), KnownFile(tmp_path, KEY, LEDGER)
    two.write(8, ROWS[:1], AT_MS + 1, anew=False)
    one.write(7, ROWS, AT_MS + 2, anew=False)
    assert one.read().version == 8
    assert one.heard(8, AT_MS + 3), "it was heard here, too"
    one.write(7, ROWS, AT_MS + 4, anew=True)
    assert two.read().version == 7
    one.close()
    one.close()


@pytest.mark.parametrize("cut", [0, 10, 20, 64, 65, 200, -1, -66])
def test_a_torn_one_is_refused(tmp_path: Path, cut: int) -> None:
    made(tmp_path)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[:cut])
    with pytest.raises(SnapshotRefused, match=r"damaged|no snapshot|format"):
        KnownFile(tmp_path, KEY, LEDGER).read()


def test_no_byte_of_what_is_said_can_be_changed(tmp_path: Path) -> None:
    made(tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    for place in range(65, len(data)):
        data[place] ^= 1
        (tmp_path / FILE).write_bytes(data)
        with pytest.raises(SnapshotRefused):
            KnownFile(tmp_path, KEY, LEDGER).read()
        data[place] ^= 1


def wide(path: Path) -> None:
    path.chmod(0o640)


def newer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"keys 1 ", b"keys 2 ", 1))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def away(path: Path) -> None:
    path.unlink()


def other(path: Path) -> None:
    path.write_text("{}")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (wide, "open to other users .mode 640"),
        (newer, "has the format '2', and this program reads 1"),
        (linked, "cannot be opened"),
        (away, "there is no "),
        (other, "is no snapshot of keys"),
        (directory, "is no file"),
        (pipe, "is no file"),
    ],
)
def test_what_a_start_must_not_go_by_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    made(tmp_path)
    change(tmp_path / FILE)
    with pytest.raises(SnapshotRefused, match=said):
        KnownFile(tmp_path, KEY, LEDGER).read()


def test_one_of_another_ledger_or_key_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(SnapshotRefused, match=r"another ledger\.key"):
        KnownFile(tmp_path, b"x" * 32, LEDGER).read()
    with pytest.raises(SnapshotRefused, match=r"is of the ledger db\.internal/tollkeeper, and the"):
        KnownFile(tmp_path, KEY, "other/tollkeeper").read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    os.chown(tmp_path / FILE, 65534, 65534)
    with pytest.raises(SnapshotRefused, match="another user"):
        KnownFile(tmp_path, KEY, LEDGER).read()


def test_one_that_cannot_be_replaced_is_removed(tmp_path: Path) -> None:
    """Else a start would bring back a key that was revoked since."""
    file = made(tmp_path)
    (tmp_path / f"{FILE}.new").mkdir()  # stands for a full disk
    with pytest.raises(OSError, match="directory"):
        file.write(8, ROWS, AT_MS, anew=False)
    with pytest.raises(SnapshotRefused, match="there is no"):
        file.read()
