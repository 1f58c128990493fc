"""Asks the admin API about keys, teams and the audit: of the running process, or of this one.

Where no process runs, this command answers the same routes itself, on the ledger of the config.
"""

from __future__ import annotations

import asyncio
import getpass
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, quote, unquote

import click
import msgspec

from proxy.cli import admin_client, common
from proxy.cli.lazy import later
from proxy.config.settings import Settings
from proxy.core.errors import ProxyError
from proxy.core.managed import Carried
from proxy.ledger import Ledger, Reader, connect, connect_reader

if TYPE_CHECKING:
    from proxy.admin import auth, imports, tenants
    from proxy.admin.endpoint import AdminEndpoint
    from proxy.tenants import directory, orders
else:
    auth, tenants = map(later, ("proxy.admin.auth", "proxy.admin.tenants"))
    directory = later("proxy.tenants.directory")
    orders = later("proxy.tenants.orders")
    imports = later("proxy.admin.imports")

_Answer = TypeVar("_Answer")


def ask(
    config_path: Path | None,
    method: str,
    path: str,
    body: object = None,
    *,
    type: type[_Answer],
) -> _Answer:
    """One answer of the admin API. Raises Failed with its refusal."""
    with common.told():
        process = admin_client.elsewhere()
        if process is None:
            settings = common.load_here(config_path).settings
            process = admin_client.here(settings)
            if process is None:
                return asyncio.run(_answer(settings, method, path, body, type))
        return admin_client.ask(process, method, path, body, type=type)


def path(base: str, *parts: str) -> str:
    """The path of one key or team. Raises a usage error for a name that is none."""
    for part in parts:
        # A path that has such a part is another path.
        if part in ("", ".", ".."):
            raise click.UsageError(f"{part!r} is no name: `list` names all.")
    return "/".join((base, *(quote(part, safe="") for part in parts)))


async def _answer(
    settings: Settings, method: str, path: str, body: object, type: type[_Answer]
) -> _Answer:
    key_file = settings.data_dir / settings.ledger.key_file
    reader = connect_reader(settings.ledger.url, settings.data_dir)
    if method == "GET":
        rows = await asyncio.to_thread(reader.tenants)
        return await _of(
            _Here(directory.Directory(settings, rows), None, reader), method, path, body, type
        )
    ledger = await connect(settings.ledger.url, settings.data_dir, key_file)
    try:
        here = _Here(directory.Directory(settings, await ledger.tenants()), ledger, reader)
        return await _of(here, method, path, body, type)
    finally:
        await ledger.aclose()


async def _of(here: _Here, method: str, path: str, body: object, type: type[_Answer]) -> _Answer:
    routes = (
        *tenants.tenant_routes(here, here.change),
        imports.import_route(here, here.change),
        tenants.audit_route(here),
    )
    target, _, query = path.partition("?")
    route, places = _found(routes, method, target)
    try:
        asked = route.request(
            auth.Asker(getpass.getuser(), "admin"),
            parse_qsl(query, keep_blank_values=True),
            msgspec.json.encode({} if body is None else body),
            places,
            "command line",
        )
        answered = await route.answer(asked)
    except ProxyError as error:
        raise common.Failed(f"{error.message} ({error.code})") from error
    assert isinstance(answered, type), "each route answers in its own shape"
    return answered


class _Here:
    """Keys and teams without a process: a change is written, and the next start reads it."""

    def __init__(self, known: directory.Directory, ledger: Ledger | None, reader: Reader) -> None:
        self.directory = known
        self.reader = reader
        self._ledger = ledger

    def now_ms(self) -> int:
        return time_ns() // 1_000_000

    async def change(self, order: tenants.Order, *, cut: bool = False) -> Carried:
        assert self._ledger is not None, "only a reading command opens no ledger for writing"
        what = order(self.directory)
        if cut:  # processes on other machines may share the ledger
            what = orders.cutting(what, self.now_ms())
        await self._ledger.change(what)
        self.directory = self.directory.with_rows(what.rows)
        return Carried(what)


def _found(
    routes: Sequence[AdminEndpoint], method: str, target: str
) -> tuple[AdminEndpoint, Mapping[str, str]]:
    for route in routes:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)
        places = re.fullmatch(pattern, target)
        if route.method == method and places is not None:
            return route, {name: unquote(value) for name, value in places.groupdict().items()}
    raise AssertionError(f"no route {method} {target}")
