"""Opens the ledger for writing where no process runs: this command then holds its lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.config.settings import Settings
from proxy.ledger import Ledger, Reader, connect, connect_reader


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
