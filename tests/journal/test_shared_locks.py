"""Mounts on which a lock holds on one host alone are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.journal import shared_locks
from proxy.journal.shared_locks import doubt, mount_of

LINE = "36 35 98:0 / {point} rw,noatime shared:1 - {kind} server:/export {options}"
ROOT = LINE.format(point="/", kind="ext4", options="rw")
NFS = "rw,vers=4.2,rsize=1048576,hard,proto=tcp,clientaddr=10.0.0.2,local_lock={},addr=10.0.0.1"


def mounts(point: Path, kind: str, options: str) -> str:
    return "\n".join(
        (ROOT, LINE.format(point=str(point).replace(" ", "\\040"), kind=kind, options=options))
    )


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("ext4", "rw", None),
        ("overlay", "rw,lowerdir=/a", None),
        ("nfs4", NFS.format("none"), None),
        ("nfs", NFS.format("none"), None),
        ("nfs", NFS.format("posix"), None),
        ("nfs4", NFS.format("all"), "local_lock=all"),
        ("nfs", NFS.format("flock"), "local_lock=flock"),
        ("nfs", "rw,vers=3,nolock," + NFS.format("none"), "nolock"),
        ("lustre", "rw,localflock", "localflock"),
    ],
)
def test_what_locks_on_this_host_alone_is_sure(
    tmp_path: Path, kind: str, options: str, said: str | None
) -> None:
    shared = tmp_path / "with a space"
    shared.mkdir()
    found = doubt(shared, mounts(shared, kind, options))
    if said is None:
        assert found is None
    else:
        assert found is not None and found.is_sure and said in found.why


@pytest.mark.parametrize("kind", ["fuse.s3fs", "virtiofs", "9p", "cifs", "fakeowner"])
def test_of_others_it_is_not_known(tmp_path: Path, kind: str) -> None:
    found = doubt(tmp_path, mounts(tmp_path, kind, "rw"))
    assert found is not None and not found.is_sure and kind in found.why


def test_the_innermost_mount_counts_and_of_two_at_one_place_the_later(tmp_path: Path) -> None:
    inner = tmp_path / "var"
    inner.mkdir()
    told = mounts(tmp_path, "nfs4", "rw") + "\n" + LINE.format(point=inner, kind="xfs", options="x")
    found = mount_of(inner, told)
    assert found is not None and (found.point, found.kind) == (str(inner), "xfs")
    beside = mount_of(tmp_path / "variant", told)
    assert beside is not None and beside.kind == "nfs4"
    covered = mount_of(inner, told + "\n" + LINE.format(point=inner, kind="tmpfs", options="x"))
    assert covered is not None and covered.kind == "tmpfs"
    assert mount_of(inner, "not a mount") is None
    (tmp_path / "link").symlink_to(inner)
    linked = mount_of(tmp_path / "link", told)
    assert linked is not None and linked.kind == "xfs"


def test_this_machine_tells_nothing_that_breaks_it(tmp_path: Path) -> None:
    assert doubt(tmp_path) is None or not doubt(tmp_path).is_sure  # type: ignore[union-attr]
    assert [*tmp_path.iterdir()] == [], "nothing stays behind"


def test_a_file_system_that_grants_every_lock_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_locks.fcntl, "flock", lambda fd, how: None)
    found = doubt(tmp_path, ROOT)
    assert found is not None and found.is_sure and "at once" in found.why


def test_a_system_that_tells_no_mounts_is_not_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_locks, "MOUNTS", tmp_path / "missing")
    assert doubt(tmp_path) is None
