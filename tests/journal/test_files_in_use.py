"""A file that is taken away under the process is noticed once, and so is its return."""

from __future__ import annotations

from pathlib import Path

from proxy.journal.files_in_use import FilesInUse


def test_a_file_that_is_gone_replaced_or_cut_is_named_until_it_is_back(tmp_path: Path) -> None:
    files, path, aside = FilesInUse(), tmp_path / "1.seg", tmp_path / "aside"
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        look = [(path, file.fileno(), 3)]
        files.look(look)
        assert (files.gone, files.losses) == (None, 0)
        path.rename(aside)
        for _ in range(2):
            files.look(look)
            assert files.gone is not None and files.gone.startswith("1.seg of the journal")
            assert files.losses == 1
        path.write_bytes(b"abc")
        files.look(look)
        assert files.gone is not None, "another file of that name"
        aside.rename(path)
        files.look(look)
        assert (files.gone, files.losses) == (None, 1)
        path.write_bytes(b"ab")
        files.look(look)
        assert files.losses == 2
