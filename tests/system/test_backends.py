"""A URL's scheme names a module, and nothing else does."""

import pytest

from proxy.ledger import sqlite
from proxy.quota import memory
from proxy.system.backends import backend, masked


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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:s3cret@db/tk", "postgresql://app:***@db/tk"),
        ("postgresql://app:a@b/c:d@db:5432/tk?x=1", "postgresql://app:***@db:5432/tk?x=1"),
        ("postgresql://app@db/tk?sslmode=require", "postgresql://app@db/tk?sslmode=require"),
        ("postgresql://db/tk?password=pw&user=a", "postgresql://db/tk?password=***&user=a"),
        ("postgresql://db/tk?user=a&sslpassword=pw", "postgresql://db/tk?user=a&sslpassword=***"),
        ("valkey://:pw@host:6379/0", "valkey://:***@host:6379/0"),
        ("postgresql://app:line\nbreak@db/tk", "postgresql://app:***@db/tk"),
        ("sqlite:ledger.db", "sqlite:ledger.db"),
        ("sqlite:a:b@c.db", "sqlite:a:b@c.db"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_passwords(url, shown):
    assert masked(url) == shown
    assert masked(url, r"\1") == shown.replace("***", r"\1")
