"""Works on the ledger where no process runs: this command then holds its lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from proxy.cli import admin_client, common
from proxy.config.settings import Settings
from proxy.ledger import Ledger, Reader, connect, connect_reader

_Answer = TypeVar("_Answer")


def done(
    config_path: Path | None,
    path: str,
    type: type[_Answer],
    directly: Callable[[Ledger, Settings], Awaitable[_Answer]],
    body: object = None,
) -> _Answer:
    """What the running process answers to a POST; without one, what `directly` does here.

    Raises Failed.
    """
    process = admin_client.elsewhere()
    if process is None:
        settings = common.load_here(config_path).settings
        process = admin_client.here(settings)
        if process is None:
            with common.told():
                return asyncio.run(on_own(settings, directly))
    # Over millions of records it takes minutes, and an answer that is given up is not undone.
    return admin_client.ask(process, "POST", path, body, type=type, patient=True)


@asynccontextmanager
async def own_ledger(settings: Settings) -> AsyncIterator[tuple[Ledger, Reader]]:
    """The ledger that the config names, closed at the end. Raises what `connect` does.

    Where there is none, none is made: LedgerError.
    """
    reader = connect_reader(settings.ledger.url, settings.data_dir)
    await asyncio.to_thread(reader.head)
    ledger = await connect(
        settings.ledger.url, settings.data_dir, settings.data_dir / settings.ledger.key_file
    )
    try:
        yield ledger, reader
    finally:
        await ledger.aclose()


async def on_own(
    settings: Settings, directly: Callable[[Ledger, Settings], Awaitable[_Answer]]
) -> _Answer:
    """What `directly` does on the ledger of these settings. Raises what `connect` does."""
    async with own_ledger(settings) as (ledger, _):
        return await directly(ledger, settings)
