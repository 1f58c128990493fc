"""A URL is read as psql reads it, and nothing of a password is ever quoted."""

from __future__ import annotations

import pytest

from proxy.ledger import LedgerError
from proxy.ledger.postgresql.address import name, read


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://app:pw@db:6000/tk",
            {"user": "app", "password": "pw", "host": "db", "port": "6000", "dbname": "tk"},
        ),
        ("postgresql://app:a%40b%2Fc%25%20@db/tk", {"password": "a@b/c% ", "host": "db"}),
        ("postgresql://%C3%BCser:p%3Aw@db/tk", {"user": "üser", "password": "p:w"}),
        ("postgresql://app@a:1,b:2/tk", {"host": "a,b", "port": "1,2"}),
        ("postgresql://app@[::1]:5433/tk", {"host": "::1", "port": "5433"}),
        ("postgresql:///tk?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "tk"}),
        ("postgresql://db/tk?sslmode=verify-full", {"sslmode": "verify-full"}),
        ("postgresql://db/tk?connect_timeout=3", {"connect_timeout": "3"}),
        ("postgresql://db/tk?options=-csearch_path%3Dbook", {"options": "-csearch_path=book"}),
        ("postgresql://db", {"host": "db", "connect_timeout": "10", "client_encoding": "UTF8"}),
    ],
)
def test_a_url_names_the_parameters(url: str, said: dict[str, str]) -> None:
    assert said.items() <= read(url).items()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:geh@eim@db/tk",
        "postgresql://app:geh/eim@db/tk",
        "postgresql://app:geh#eim@db/tk",
        "postgresql://app:geh?eim@db/tk",
        "postgresql://app:geh%zzeim@db/tk",
        "postgresql://app:geh%00eim@db/tk",
        "postgresql://app:geh eim@db/tk",
        "postgresql://app:geh[eim@db/tk",
        "postgresql://app:geheim@db/tk#eim",
        "postgresql://app:geheim@db:eim/tk",
        "postgresql:app:geheim@db/tk",
        "postgresql://app:geheim@db/tk?nosuch=eim",
        "postgresql://app:geheim@db/tk?eim",
        "postgresql://app:geheim@db/tk\n",
    ],
)
def test_a_wrong_url_is_refused_with_an_example_and_not_quoted(url: str) -> None:
    with pytest.raises(LedgerError, match=r"postgresql://USER:PASSWORD@HOST") as refused:
        read(url)
    assert "geh" not in str(refused.value) and "eim" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:pw@db/tk", "postgresql://db/tk"),
        ("postgresql://app:pw@db:5432/tk", "postgresql://db/tk"),
        ("postgresql://app:pw@a:1,b/tk?password=x", "postgresql://a:1,b/tk"),
        ("postgresql:///tk", "postgresql://localhost/tk"),
    ],
)
def test_a_ledger_is_named_by_host_and_database(url: str, shown: str) -> None:
    assert name(url) == shown
