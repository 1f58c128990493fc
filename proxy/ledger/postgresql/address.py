"""Reads `ledger.url`: what PostgreSQL's client is told, and what people are shown.

The client library would take a password with a `/` or an `@` in it for a host's name, and would
say it in its message. So such URLs are refused here, without quoting them.
"""

from __future__ import annotations

import re
from typing import Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from proxy.ledger import LedgerError

_EXAMPLE: Final = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
_URL: Final = re.compile(
    r"""postgresql://
    (?:(?P<user>[^:/?\#@\[\]\s]*)(?::(?P<password>[^/?\#@\[\]\s]*))?@)?
    (?P<hosts>(?:[^:/?\#@\[\]\s,]*|\[[0-9A-Fa-f:.%]+\])(?::[0-9]*)?
        (?:,(?:[^:/?\#@\[\]\s,]*|\[[0-9A-Fa-f:.%]+\])(?::[0-9]*)?)*)
    (?:/(?P<database>[^/?\#@\s]*))?
    (?:\?(?P<query>[^?\#\s]*))?""",
    re.VERBOSE,
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
# Of a connection on which nothing comes back, so that its end is noticed.
_LIVENESS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def read(url: str) -> dict[str, str]:
    """The parameters of a connection to this URL. Raises LedgerError, which does not quote it.

    Those that the URL names stand; `PGPASSWORD`, `.pgpass` and a service file work as with psql.
    """
    match = _URL.fullmatch(url)
    if match is None or _BAD_ESCAPE.search(url):
        raise LedgerError(
            f"ledger.url is not a URL such as {_EXAMPLE}. In the user's name and the password the "
            "signs @ / : ? # % [ ] and spaces are written with their number: %40 for @, %2F for /, "
            "%25 for %"
        )
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise LedgerError(
            f"ledger.url cannot be read: behind the ? stand parameters of PostgreSQL's client, "
            f"such as sslmode=verify-full. An example of the whole: {_EXAMPLE}?sslmode=require"
        ) from error
    texts = {name: str(value) for name, value in given.items() if value is not None}
    return {**_LIVENESS, **texts, "application_name": "tollkeeper", "client_encoding": "UTF8"}


def name(url: str) -> str:
    """The ledger's name in messages: host and database, without user and password."""
    parts = read(url)
    hosts = parts.get("host", "localhost").split(",")
    ports = parts.get("port", "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    where = ",".join(
        host if port in ("", "5432") else f"{host}:{port}"
        for host, port in zip(hosts, ports, strict=False)
    )
    return f"postgresql://{where}/{parts.get('dbname', '')}"
