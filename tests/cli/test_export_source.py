"""Where an export is read from; what answers is tried in `test_key_import.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli import export_source
from proxy.cli.common import Failed


def test_a_file_is_its_bytes_and_no_more_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    assert export_source.texts_of(str(file)) == [(str(file), b"abc")]
    monkeypatch.setattr(export_source, "FILE_BYTES_MAX", 2)
    with pytest.raises(Failed, match="split it"):
        export_source.texts_of(str(file))


def test_what_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(export_source.TOKEN, "sk-master")
    with pytest.raises(Failed, match=r"127\.0\.0\.1:9 does not answer") as failed:
        export_source.texts_of("http://127.0.0.1:9/")
    assert "sk-master" not in str(failed.value)
