"""A URL's scheme names a module, and nothing else does."""

import pytest

from proxy.ledger import sqlite
from proxy.quota import memory
from proxy.system.backends import backend


def test_a_scheme_names_its_module():
    assert backend("proxy.quota", "memory:", "connect") is memory
    assert backend("proxy.ledger", "sqlite:ledger.db", "connect_reader") is sqlite


@pytest.mark.parametrize("url", ["", "redis:", "re-dis:", "..memory:", "status:", ":memory:"])
def test_anything_else_names_none(url):
    assert backend("proxy.quota", url, "connect") is None


def test_a_missing_part_of_a_backend_is_no_unknown_backend(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "__init__.py").touch()
    (tmp_path / "store" / "half.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        backend("store", "half:", "connect")
