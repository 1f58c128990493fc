"""A whole ledger is copied into another database, or nothing of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy.ledger import LedgerError, connect_reader
from proxy.ledger.copying import COMPARED_BY, copy, totals
from proxy.ledger.reading import GROUPED_BY


@pytest.mark.parametrize(
    ("from_url", "to_url"),
    [
        ("sqlite:ledger.db", "sqlite:other.db"),
        ("postgresql://app:s3cret@host/db", "sqlite:ledger.db"),
        ("sqlite:ledger.db", "nothing"),
    ],
)
def test_what_cannot_be_copied_is_told_without_a_password(
    from_url: str, to_url: str, tmp_path: Path
) -> None:
    with pytest.raises(LedgerError, match=r"from sqlite:FILE to postgresql://") as told:
        copy(from_url, tmp_path, to_url, None)
    assert "s3cret" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "missing", [ModuleNotFoundError("No module", name="psycopg"), ImportError("no pq wrapper")]
)
def test_without_the_driver_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: ImportError
) -> None:
    for name in [name for name in sys.modules if name.startswith("proxy.ledger.postgresql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("proxy.ledger.postgresql", raising=False)

    class Hidden:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "proxy.ledger.postgresql":
                raise missing

    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    for work in (
        lambda: copy("sqlite:ledger.db", tmp_path, "postgresql://host/db", None),
        lambda: connect_reader("postgresql://host/db", tmp_path),
    ):
        with pytest.raises(LedgerError, match=r"pip install 'tollkeeper\[postgres\]'"):
            work()


def test_the_totals_are_by_currency() -> None:
    assert set(COMPARED_BY) < set(GROUPED_BY)
    rows = [
        {"requests": 2, "charge_nano": 5, "currency": "USD"},
        {"requests": 1, "charge_nano": None, "currency": None},
        {"requests": 3, "charge_nano": 7, "currency": "USD"},
    ]
    assert totals(rows) == (6, {"USD": 12})  # type: ignore[arg-type]
