"""A real pgBouncer in between: one server connection for each of ours, or a clear refusal.

TLS and the login with a password are tested on it too: the server of the tests has no TLS.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from proxy.core.managed import TenantChange
from proxy.ledger import Batch, LedgerError, LedgerUnavailable, connect, connect_reader
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.pooling import check_pooling
from proxy.ledger.postgresql.sharing import PostgresSharing
from tests.ledger.samples import ALICE, deed, make_record, numbered
from tests.support.pgbouncer import PASSWORD, pgbouncer
from tests.support.postgres import postgres
from tests.support.tls import certificate

pytestmark = pytest.mark.whole


@pytest.fixture
def direct() -> str:
    """The URL of an empty database, without a pooler."""
    return postgres().database()


def through(url: str, port: int) -> str:
    """The same database by way of a pooler."""
    return url.replace(f":{postgres().port}/", f":{port}/")


async def test_a_session_is_kept_and_all_of_the_ledger_works(direct: str, tmp_path: Path) -> None:
    with pgbouncer(postgres().port) as port:
        url = through(direct, port)
        ledger = await connect(url, tmp_path)
        sharing = PostgresSharing(url)
        try:
            await sharing.arrive("tokyo", "home")
            before = await sharing.look()
            for n in range(3):
                await ledger.book(Batch("w0", numbered(make_record(n), after=n)))
            await ledger.change(TenantChange((ALICE,), (deed("key.create"),)))
            after = await sharing.look()
            assert (before.tenants, after.tenants) == (0, 1)
            assert [one.name for one in (await sharing.news(before)).tenants] == ["alice"]
        finally:
            await sharing.aclose()
            await ledger.aclose()
        reader = connect_reader(url, tmp_path)
        [row] = reader.usage(["key"], None, None, UTC)
        assert row["requests"] == 3
        assert [one.name for one in reader.tenants()] == ["alice"]
        assert reader.verify_step("records", None, tmp_path / "ledger.key").found == 0


@pytest.mark.parametrize("settings", [{}, {"default_pool_size": "1"}, {"server_round_robin": "1"}])
async def test_shared_server_connections_are_refused_with_what_to_set(
    direct: str, tmp_path: Path, settings: dict[str, str]
) -> None:
    with pgbouncer(postgres().port, pool_mode="transaction", **settings) as port:
        url = through(direct, port)
        # With one server connection the second one of ours waits for the first.
        errors = (LedgerError, LedgerUnavailable)
        with pytest.raises(errors, match=r"127\.0\.0\.1.*set pool_mode=session"):
            await connect(url, tmp_path)
        with psycopg.connect(direct) as plain:
            row = plain.execute("SELECT to_regclass('records')").fetchone()
        assert row == (None,), "nothing was made"


async def test_a_transaction_that_cannot_begin_is_no_ledger(direct: str, tmp_path: Path) -> None:
    refused = pytest.raises((LedgerError, LedgerUnavailable), match="pool")
    with pgbouncer(postgres().port, pool_mode="statement") as port, refused:
        await connect(through(direct, port), tmp_path)


def test_nothing_more_is_asked_where_nothing_stands_in_between(direct: str) -> None:
    with opened(direct, writes=True) as connection:
        check_pooling("postgresql://nowhere.invalid/x", connection, "x")  # no other is opened


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[int]:
    """The port of a pooler that wants TLS and a password by SCRAM."""
    key, cert = certificate(tmp_path)
    where = Path("/tmp") / f"tk-cert-{tmp_path.name}"
    where.mkdir()
    for path in (key, cert):
        shutil.copy(path, where)
        (where / path.name).chmod(0o644)
    settings = {
        "client_tls_sslmode": "require",
        "client_tls_key_file": str(where / key.name),
        "client_tls_cert_file": str(where / cert.name),
        "auth_type": "scram-sha-256",
    }
    with pgbouncer(postgres().port, **settings) as port:
        yield port
    shutil.rmtree(where)


async def test_tls_is_verified_and_the_password_is_proved_by_scram(
    direct: str, tmp_path: Path, encrypted: int
) -> None:
    database = direct.rpartition("/")[2]
    login = f"owner:{quote(PASSWORD, safe='')}@localhost:{encrypted}"
    root = quote(str(tmp_path / "cert.pem"), safe="")
    url = f"postgresql://{login}/{database}?sslmode=verify-full&sslrootcert={root}"
    ledger = await connect(url, tmp_path)
    await ledger.book(Batch("w0", numbered(make_record(0))))
    await ledger.aclose()
    with opened(url, writes=True) as connection:
        assert connection.pgconn.ssl_in_use
    wrong = url.replace(quote(PASSWORD, safe=""), "guessed")
    with pytest.raises((LedgerError, LedgerUnavailable)) as refused:
        await connect(wrong, tmp_path)
    assert "authentication failed" in str(refused.value) and "guessed" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "root", "said"),
    [("127.0.0.1", "cert.pem", "localhost"), ("localhost", "other.pem", "verif")],
    ids=["another name", "another authority"],
)
async def test_a_server_that_is_not_the_one_gets_no_password(
    direct: str, tmp_path: Path, encrypted: int, host: str, root: str, said: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificate(other)[1].rename(tmp_path / "other.pem")
    login = f"owner:{quote(PASSWORD, safe='')}@{host}:{encrypted}"
    path = quote(str(tmp_path / root), safe="")
    url = f"postgresql://{login}/x?sslmode=verify-full&sslrootcert={path}"
    with pytest.raises((LedgerError, LedgerUnavailable), match=said):
        await connect(url, tmp_path)
